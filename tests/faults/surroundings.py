"""No terminal, no HOME, no locale, another user; bundles and templates that are not whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bids_app.imaging.templates import find_template
from tests.faults.bench import Bench, Lost, Outcome, finish, sentence
from tests.learned.small_bundle import write_small
from tests.workflows.heads import small_heads
from tests.workflows.interrupts import fresh

NOBODY = 65534


def no_terminal(bench: Bench) -> Outcome:
    """stdin is closed, nothing is a terminal, and the locale knows ASCII only."""
    bench.expected()
    bench.dataset()
    closed = ("sh", "-c", 'exec "$@" <&-', "sh")
    ascii_only = {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "TERM": "dumb"}
    finish(bench.run(before=closed, **ascii_only), 0)
    bench.check_complete()
    return Outcome("0: as ever")


def no_home(bench: Bench) -> Outcome:
    """A user without a name, whose HOME is not there and could not be made, with a read-only input."""
    bench.expected()
    root = bench.dataset()
    for path in (root, root / "bids", *(root / "bids").rglob("*"), bench.home):
        path.chmod(0o755 if path.is_dir() else 0o644)
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        for name in ("out", "work"):
            (root / name).mkdir(mode=0o755)
            os.chown(root / name, NOBODY, NOBODY)
        # it may read everything, for Python itself may lie in root's own folder, and write nothing
        reads = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        before = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reads)
    nowhere = {"HOME": "/proc/nowhere", "TMPDIR": "/proc/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}
    finish(bench.run(before=before, **nowhere), 0)
    bench.check_complete()
    return Outcome(f"0: as ever{' (as user 65534)' if before else ''}")


def corrupt_bundle(bench: Bench) -> Outcome:
    """Weights cut off, with a changed byte, or a pickle in their place; a manifest that is not JSON, or missing."""
    root = bench.dataset()
    whole = write_small(root / "whole").path
    harms = {
        "cut": lambda path: cut(path / "weights.safetensors"),
        "changed": lambda path: change(path / "weights.safetensors"),
        "pickled": lambda path: (path / "weights.safetensors").write_bytes(b"\x80\x04cposix\nsystem\n"),
        "no_json": lambda path: (path / "manifest.json").write_text("{"),
        "missing": lambda path: (path / "manifest.json").unlink(),
    }
    said = ""
    for name, harm in harms.items():
        harmed = Path(shutil.copytree(whole, root / name))
        harm(harmed)
        words = [str(root / "bids"), str(root / "out"), "participant", "-w", str(root / "work")]
        text = finish(bench.start([*words, "--recipe", str(harmed / "recipe.toml"), "--bundle", str(harmed)]), 65)
        said = said or sentence(text, str(harmed)).replace(str(root), "")
        if list((root / "out").glob("sub-*")):
            raise Lost(f"{name}: sessions began with a bundle that is not whole")
    return Outcome(f"65, before any work: {said}")


def truncated_template(bench: Bench) -> Outcome:
    """TemplateFlow's store holds half a template; then the whole one."""
    root = fresh(bench.root)
    fresh(bench.home)
    small_heads(root / "bids", ["01"], spacing=4.0)
    stored = root / "store" / "tpl-MNI152NLin2009cAsym" / "tpl-MNI152NLin2009cAsym_res-01_desc-brain_T1w.nii.gz"
    stored.parent.mkdir(parents=True)
    shutil.copy(find_template().image, stored)
    cut(stored)
    words = [str(root / "bids"), str(root / "out"), "participant", "-w", str(root / "work"), "--recipe", "anatomical"]
    words += ["--sloppy", "--nprocs", "1", "--mem", "8G"]
    said = sentence(finish(bench.start(words, TEMPLATEFLOW_HOME=str(root / "store")), 65), "template")
    if list((root / "out").glob("sub-*")):
        raise Lost("sessions began with a template that is not whole")
    shutil.copy(find_template().image, stored)
    finish(bench.start(words, TEMPLATEFLOW_HOME=str(root / "store")), 0)
    return Outcome(f"65, before any work: {said.replace(str(stored.parent), '...')}")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
