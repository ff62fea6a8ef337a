"""A session that cannot be run: a clear reason, the right exit code, a page, and an input nobody touched."""

from __future__ import annotations

import errno
import json
import re

import pytest

from bids_app.bids.status import read_status
from bids_app.settings import Settings
from tests.phantoms import DAMAGES, checksums, damage, tiny_dataset
from workflows.run_session import run_session

pytestmark = pytest.mark.faults
FATAL = sorted(set(DAMAGES) - {"no_affine"})  # without an affine the voxel sizes still stand; that is a warning
IMAGE = "sub-01/anat/sub-01_T1w.nii.gz"


def settings_for(bids, tmp_path, **more) -> Settings:
    return Settings(bids, tmp_path / "out", work_dir=tmp_path / "work", recipe=("anatomical",), **more)


@pytest.mark.parametrize("how", FATAL)
def test_a_damaged_image_ends_its_session_with_the_file_named(tmp_path, how):
    bids = tiny_dataset(tmp_path / "bids", [IMAGE])
    damage(bids / IMAGE, how)
    before = checksums(bids)
    settings = settings_for(bids, tmp_path)
    code = run_session(settings, "01", None, threads=1)
    status = read_status(settings.output_dir, "sub-01")
    assert code == status.exit_code
    assert code in (65, 66)
    assert status.state == "failed"
    assert "sub-01_T1w" in status.reason
    assert "sub-01_T1w" in (settings.output_dir / "sub-01.html").read_text()
    assert checksums(bids) == before
    assert not list((settings.output_dir).rglob("*.nii.gz"))


def test_a_missing_sequence_is_said_in_words(tmp_path):
    bids = tiny_dataset(tmp_path / "bids", ["sub-01/anat/sub-01_FLAIR.nii.gz"])
    settings = settings_for(bids, tmp_path)
    assert run_session(settings, "01", None, threads=1) == 66
    assert "no T1w" in read_status(settings.output_dir, "sub-01").reason


def test_a_filter_that_leaves_no_reference_has_its_own_code(tmp_path):
    bids = tiny_dataset(tmp_path / "bids", [IMAGE])
    (tmp_path / "filter.json").write_text(json.dumps({"t1w": {"acquisition": "mprage"}}))
    settings = settings_for(bids, tmp_path, bids_filter_file=tmp_path / "filter.json")
    assert run_session(settings, "01", None, threads=1) == 18


def test_a_participant_named_with_shell_characters_hurts_nobody(tmp_path):
    name = "01;touch pwned $(id)"
    bids = tiny_dataset(tmp_path / "bids", [f"sub-{name}/anat/sub-{name}_T1w.nii.gz"])
    settings = settings_for(bids, tmp_path)
    assert run_session(settings, name, None, threads=1) != 0
    assert not list(tmp_path.rglob("pwned"))
    assert read_status(settings.output_dir, f"sub-{name}").state == "failed"


def test_no_space_left_is_said_as_such(tmp_path, monkeypatch):
    from bids_app.imaging import conform

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(conform, "conform", full)
    bids = tiny_dataset(tmp_path / "bids", [IMAGE])
    settings = settings_for(bids, tmp_path)
    assert run_session(settings, "01", None, threads=1) == 74
    reason = read_status(settings.output_dir, "sub-01").reason
    assert re.search(r"no space is left.*disk of the .*mounted at /.* MB left; make room there and run", reason)


def test_little_free_space_is_noticed_before_any_work(tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    bids = tiny_dataset(tmp_path / "bids", [IMAGE])
    settings = settings_for(bids, tmp_path)
    assert run_session(settings, "01", None, threads=1) == 74
    assert "1 MB free" in read_status(settings.output_dir, "sub-01").reason


def test_an_unknown_defect_keeps_its_traceback_for_the_report(tmp_path, monkeypatch):
    from bids_app.imaging import conform

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom <b>")

    monkeypatch.setattr(conform, "conform", broken)
    bids = tiny_dataset(tmp_path / "bids", [IMAGE])
    settings = settings_for(bids, tmp_path)
    assert run_session(settings, "01", None, threads=1) == 1
    page = (settings.output_dir / "sub-01.html").read_text()
    assert "boom &lt;b&gt;" in page
    assert "boom <b>" not in page
