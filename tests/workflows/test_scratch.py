"""Work files are reused only by the code that made them, and nothing else is ever deleted."""

from __future__ import annotations

import pytest

from bids_app.bids.files import check_private
from bids_app.errors import CannotWrite
from workflows.scratch import GRAPH, MARKER, clear_work, close_pickles, prepare_work


def test_work_of_the_same_code_is_taken_up(tmp_path):
    prepare_work(tmp_path / "sub-01")
    (tmp_path / "sub-01" / GRAPH).mkdir()
    prepare_work(tmp_path / "sub-01")
    assert (tmp_path / "sub-01" / GRAPH).is_dir()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_sessions_folder_that_others_can_write_is_refused(tmp_path, mode):
    work = tmp_path / "sub-01"
    work.mkdir()
    work.chmod(mode)
    with pytest.raises(CannotWrite, match="chmod go-w"):
        prepare_work(work)


def test_a_sessions_folder_is_closed_to_others_and_so_are_its_pickles(tmp_path):
    work = tmp_path / "work" / "sub-01"
    prepare_work(work)
    assert work.stat().st_mode & 0o777 == 0o700
    (work / "node").mkdir()
    (work / "node" / "result_node.pklz").write_bytes(b"x")
    close_pickles(work)
    assert (work / "node" / "result_node.pklz").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("mode", "fine"), [(0o755, True), (0o1777, True), (0o775, True), (0o777, False)])
def test_a_work_folder_that_everybody_can_write_is_refused(tmp_path, mode, fine):
    tmp_path.chmod(mode)
    if fine:
        check_private(tmp_path)
    else:
        with pytest.raises(CannotWrite, match="everybody may write"):
            check_private(tmp_path)


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
