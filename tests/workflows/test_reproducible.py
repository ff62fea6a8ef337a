"""The options that a run kept give the same masks; with ``--reproducible`` every image has the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.__main__ import main
from tests.workflows.heads import small_heads

pytestmark = pytest.mark.slow


def images(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("sub-*/**/*.nii.gz")}


def test_a_run_from_its_own_record_gives_the_same_bytes(tmp_path):
    bids, out = small_heads(tmp_path / "bids", ["01"], spacing=2.0), tmp_path / "out"
    words = [str(bids), str(out), "participant", "-w", str(tmp_path / "work"), "--sloppy", "--reproducible"]
    assert main([*words, "--nprocs", "2", "--mem", "8G"]) == 0
    (kept,) = (out / "logs" / "runs").glob("*.toml")
    again = tmp_path / "again"
    other = [str(bids), str(again), "participant", "-w", str(tmp_path / "other_work")]
    assert main(["--config-file", str(kept), *other]) == 0
    first, second = images(out), images(again)
    assert any("dseg" in name for name in first)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
