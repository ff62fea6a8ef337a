"""Work files are reused only by the code that made them, and nothing else is ever deleted."""

from __future__ import annotations

from workflows.scratch import GRAPH, MARKER, clear_work, prepare_work


def test_work_of_the_same_code_is_taken_up(tmp_path):
    prepare_work(tmp_path / "sub-01")
    (tmp_path / "sub-01" / GRAPH).mkdir()
    prepare_work(tmp_path / "sub-01")
    assert (tmp_path / "sub-01" / GRAPH).is_dir()


def test_work_of_other_code_is_thrown_away(tmp_path):
    prepare_work(tmp_path / "sub-01")
    (tmp_path / "sub-01" / GRAPH).mkdir()
    (tmp_path / "sub-01" / MARKER).write_text("another version")
    prepare_work(tmp_path / "sub-01")
    assert not (tmp_path / "sub-01" / GRAPH).exists()


def test_what_somebody_else_put_there_stays(tmp_path):
    scans = tmp_path / "sub-01" / "anat"
    scans.mkdir(parents=True)
    (scans / "sub-01_T1w.nii.gz").write_bytes(b"precious")
    (tmp_path / "sub-01" / GRAPH).mkdir()
    clear_work(tmp_path / "sub-01")
    prepare_work(tmp_path / "sub-01")
    assert (scans / "sub-01_T1w.nii.gz").read_bytes() == b"precious"
    assert not (tmp_path / "sub-01" / GRAPH).exists()


def test_an_empty_folder_goes_too(tmp_path):
    prepare_work(tmp_path / "sub-01")
    clear_work(tmp_path / "sub-01")
    assert not (tmp_path / "sub-01").exists()
