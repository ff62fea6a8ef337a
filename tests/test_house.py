"""The house as DESIGN draws it: imports go down, nothing below workflows knows Nipype, the style check is clean."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "cli": 4, "workflows": 3, "learning": 2, "group": 2, "report": 2, "synthesis": 2, "bids": 1, "imaging": 1,
    "networks": 1, "recipes": 1, "measure": 1, "settings": 0, "errors": 0,
}  # fmt: skip
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


def test_the_style_check_is_clean():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
