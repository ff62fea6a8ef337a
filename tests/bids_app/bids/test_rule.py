from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.bids.rule import Seen, choose_image
from bids_app.bids.selection import Choice
from bids_app.recipes.recipe import SequenceSpec

HOME = Path("/data/sub-01")
T1W = SequenceSpec(name="T1w", suffix="T1w")


def choose(*names: str, seen: dict[str, Seen] | None = None, filters: dict | None = None) -> tuple[Choice, bool]:
    images = [HOME / "anat" / f"sub-01_{name}.nii.gz" for name in names]
    looks = {HOME / "anat" / f"sub-01_{name}.nii.gz": look for name, look in (seen or {}).items()}
    return choose_image(
        T1W, images, HOME, ("01", None), filters or {}, lambda path: looks.get(path, Seen(voxel=1.0, coverage=1.0))
    )


def taken(*names: str, **how) -> str | None:
    path = choose(*names, **how)[0].path
    return path and path.name.removeprefix("sub-01_").removesuffix(".nii.gz")


def test_the_first_run_is_taken_and_the_other_is_told():
    choice, _ = choose("run-2_T1w", "run-1_T1w")
    assert choice.path.name == "sub-01_run-1_T1w.nii.gz"
    assert [candidate.path.name for candidate in choice.rejected] == ["sub-01_run-2_T1w.nii.gz"]


def test_the_finer_image_goes_before_the_first_run():
    assert taken("run-1_T1w", "run-2_T1w", seen={"run-2_T1w": Seen(0.5, 1.0)}) == "run-2_T1w"


def test_the_whole_brain_goes_before_a_finer_slab():
    assert taken("acq-slab_T1w", "T1w", seen={"acq-slab_T1w": Seen(0.1, 0.3)}) == "T1w"


@pytest.mark.parametrize("name", ["ce-gadolinium_T1w", "part-phase_T1w", "space-MNI_T1w", "desc-preproc_T1w", "T2w"])
def test_what_nobody_asked_for_is_not_taken(name):
    assert taken(name) is None


def test_an_inversion_image_comes_last_however_fine_it_is():
    assert taken("acq-inv1_T1w", "T1w", seen={"acq-inv1_T1w": Seen(0.3, 1.0)}) == "T1w"
    assert taken("acq-inv1_T1w") == "acq-inv1_T1w"


def test_filters_that_leave_nothing_are_told_apart_from_nothing_there():
    assert choose("run-1_T1w", filters={"run": 2})[1] is True
    assert choose("T2w", filters={"run": 2})[1] is False


def test_an_image_of_another_session_is_not_taken():
    stray = HOME / "ses-2" / "anat" / "sub-01_ses-2_T1w.nii.gz"
    choice, _ = choose_image(T1W, [stray], HOME, ("01", None), {}, lambda path: Seen(1.0, 1.0))
    assert choice.path is None
