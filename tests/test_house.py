"""The house as DESIGN draws it: imports go down, nothing below workflows knows Nipype, the style check is clean."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import LONGEST

ROOT = Path(__file__).parents[1]
FLOORS = {
    "cli": 7,
    "workflows": 6,
    "judge": 5,
    "lessons": 5,
    "report": 5,
    "group": 5,
    "train": 4,
    "predict": 3,
    "cohort": 3,
    "bundle": 2,
    "scans": 2,
    "synthesis": 2,
    "bids": 1,
    "imaging": 1,
    "networks": 1,
    "recipes": 1,
    "measure": 1,
    "targets": 1,
    "settings": 0,
    "text": 0,
    "errors": 0,
}
#: Floors inside `synthesis`: a part imports from itself and from lower floors only.
SYNTHESIS = {"datasets": 5, "habenula": 4, "bold": 4, "pathology": 3, "scanner": 2, "heads": 1, "fields": 0}
#: Modules that no test imports, by how they are tested nevertheless. Keep it short: a new module has a test of its own.
UNNAMED = {
    "typed as commands in tests/bids_app/cli": (
        *("cli.again", "cli.bundle", "cli.hpc", "cli.options", "cli.option_kinds", "cli.group_options"),
    ),
    "read by every bundle in tests/bids_app/bundle": ("bundle.schema",),
    "bases and protocols, tested through what fills them": (
        "imaging.registrar",
        "targets.kind",
        "targets.levelled",
        "workflows.interfaces.base",
    ),
    "through their callers: records, brain masks, a bundle's evaluation, the export of the habenula": (
        "bids.record",
        "imaging.head",
        "judge.external",
        "lessons.export_habenula",
    ),
    "nodes and graphs, run by tests/workflows": (
        "workflows.diffusion",
        "workflows.interfaces.anatomy",
        "workflows.interfaces.outputs",
        "workflows.interfaces.prediction",
        "workflows.interfaces.training",
        "workflows.outputs",
        "workflows.plugin",
        "workflows.record",
        "workflows.stop",
    ),
}
FILES = sorted(p for package in ("bids_app", "workflows") for p in (ROOT / package).rglob("*.py"))


def room(module: str) -> str | None:
    first, *rest = module.split(".")
    return "workflows" if first == "workflows" else rest[0] if first == "bids_app" and rest else None


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_and_nipype_stays_upstairs(path):
    here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    modules = imported(path)
    climbing = {m for m in modules if FLOORS.get(room(m), 0) > FLOORS.get(here, 9)}
    assert not climbing
    if here != "workflows":
        assert not {m for m in modules if m.split(".")[0] == "nipype"}


def part(module: str) -> str | None:
    """Of `synthesis`."""
    first, second, third, *_ = (*module.split("."), "", "")
    return third or None if (first, second) == ("bids_app", "synthesis") else None


@pytest.mark.parametrize("path", [p for p in FILES if "synthesis" in p.parts], ids=lambda path: path.stem)
def test_parts_of_synthesis_import_from_lower_floors_only(path):
    here = part(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if here in (None, "__init__"):
        return
    others = {name: there for name in imported(path) if (there := part(name)) and there != here}
    assert not [name for name, there in others.items() if SYNTHESIS[there] >= SYNTHESIS[here]]


def test_no_circle_of_files_or_of_rooms():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    files = {name: imported(path) & modules.keys() - {name} for name, path in modules.items()}
    rooms: dict[str, set[str]] = {}
    for name, targets in files.items():
        if here := room(name):
            rooms.setdefault(here, set()).update(there for t in targets if (there := room(t)) and there != here)
    for graph in (files, rooms):
        TopologicalSorter(graph).prepare()  # raises CycleError


def test_no_room_holds_more_than_a_fifth_of_the_code():
    lines: dict[str, int] = {}
    for path in [*(ROOT / "bids_app").rglob("*.py"), *(ROOT / "workflows").rglob("*.py")]:
        parts = path.relative_to(ROOT).parts
        room = parts[1] if parts[0] == "bids_app" else parts[0]
        lines[room] = lines.get(room, 0) + len(path.read_text(encoding="utf-8").splitlines())
    assert max(lines.values()) < sum(lines.values()) / 5, lines


def test_every_module_is_imported_by_a_test_or_stands_on_the_list():
    tests = [path for path in (ROOT / "tests").rglob("*.py") if "benchmarks" not in path.parts]
    named = set().union(*(imported(path) for path in tests))
    listed = {name for names in UNNAMED.values() for name in names}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES if "__" not in path.stem}
    assert sorted(m for m in modules - named if m.removeprefix("bids_app.") not in listed) == []
    assert sorted(listed - {m.removeprefix("bids_app.") for m in modules}) == []  # the list names what is there


def test_the_style_check_is_clean():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, str(ROOT)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_longest_test_files_are_there():
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
