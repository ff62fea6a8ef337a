from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.geometry import check_geometry
from bids_app.errors import ImageError

PATH = Path("sub-01_T1w.nii.gz")
SHAPE = (80, 96, 80)


def header(qform: np.ndarray | None = None, sform: np.ndarray | None = None, codes=(1, 1)) -> nib.Nifti1Header:
    """Of a head at 2 mm, axes left, anterior, superior."""
    affine = np.array([[-2.0, 0, 0, 80], [0, 2, 0, -96], [0, 0, 2, -80], [0, 0, 0, 1]])
    made = nib.Nifti1Header()
    made.set_data_shape(SHAPE)
    made.set_zooms((2.0, 2.0, 2.0))
    made.set_qform(affine if qform is None else qform, codes[0])
    made.set_sform(affine if sform is None else sform, codes[1])
    return made


def shifted(mm: float) -> np.ndarray:
    return np.array([[-2.0, 0, 0, 80 + mm], [0, 2, 0, -96], [0, 0, 2, -80], [0, 0, 0, 1]])


def test_a_usual_head_gives_its_voxels_and_axes_and_no_warning():
    assert check_geometry(header(), SHAPE, PATH) == ((2.0, 2.0, 2.0), "LAS", [])


def test_forms_that_differ_are_said_where_they_claim_other_spaces_and_refused_where_they_claim_one():
    _, _, told = check_geometry(header(sform=shifted(5.0), codes=(1, 2)), SHAPE, PATH)
    assert "5.0 mm apart; the sform is used" in told[0]
    with pytest.raises(ImageError, match="claim the same space"):
        check_geometry(header(sform=shifted(5.0)), SHAPE, PATH)


def test_forms_that_swap_sides_are_refused_whatever_they_claim():
    mirrored = np.diag([-1.0, 1, 1, 1]) @ shifted(0.0)
    with pytest.raises(ImageError, match="swaps left and right"):
        check_geometry(header(sform=mirrored, codes=(1, 2)), SHAPE, PATH)


def test_no_form_at_all_is_said():
    _, _, told = check_geometry(header(codes=(0, 0)), SHAPE, PATH)
    assert "left and right are guessed" in told[0]


@pytest.mark.parametrize("shape", [(80, 96, 3), (400, 96, 80)])
def test_what_is_no_head_is_refused_unless_a_part_is_expected(shape):
    with pytest.raises(ImageError, match="no head"):
        check_geometry(header(), shape, PATH)
    assert check_geometry(header(), shape, PATH, head=False)[1] == "LAS"


def test_a_sheared_or_far_image_is_said():
    sheared = shifted(0.0)
    sheared[0, 1] = 0.3
    assert any("right angles" in text for text in check_geometry(header(sform=sheared, codes=(0, 1)), SHAPE, PATH)[2])
    far = check_geometry(header(qform=shifted(5000.0), sform=shifted(5000.0)), SHAPE, PATH)[2]
    assert any("from the origin" in text for text in far)
