import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging.brain import brain_mask, detect_stripped
from bids_app.imaging.conform import conform
from tests.bids_app.imaging.heads import draw, grid_of, save
from tests.data import real

STRIPPED = [
    "depression/sub-01/anat/sub-01_T1w.nii.gz",
    "depression/sub-56/anat/sub-56_T1w.nii.gz",
    "ms/sub-07/anat/sub-07_T1w.nii.gz",
    "ms/sub-26/anat/sub-26_FLAIR.nii.gz",
    "stroke/sub-dwi01/dwi/sub-dwi01_trace.nii.gz",
    "stroke/sub-t2w01/anat/sub-t2w01_T2w.nii.gz",
]
WHOLE = [
    "heads/sub-t1a/anat/sub-t1a_T1w.nii.gz",
    "heads/sub-t2/anat/sub-t2_T2w.nii.gz",
    "heads/sub-flair/anat/sub-flair_FLAIR.nii.gz",
    "heads/sub-ixi012/anat/sub-ixi012_T1w.nii.gz",
    "restingstate/sub-001/anat/sub-001_T1w.nii.gz",
    "ms_two_visits/sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz",
    "tumour/sub-01/anat/sub-01_T1w.nii.gz",
]


@pytest.mark.parametrize(("name", "stripped"), [(n, True) for n in STRIPPED] + [(n, False) for n in WHOLE])
def test_stripped_brains_are_told_from_heads(name, stripped):
    image = nib.load(real(name))
    answer, why = detect_stripped(np.asarray(image.dataobj), image.affine)
    assert answer is stripped, why


def test_a_constant_image_has_no_brain():
    with pytest.raises(ImageError, match="same everywhere"):
        detect_stripped(np.ones((10, 10, 10)), np.eye(4))


def test_mask_of_a_stripped_brain_is_its_content(tmp_path):
    grid = grid_of(2.5)
    clean = draw(grid)
    clean[clean < 2] = 0
    save(tmp_path / "brain.nii", clean, grid)
    facts = brain_mask(tmp_path / "brain.nii", tmp_path / "mask.nii")
    mask = nib.load(tmp_path / "mask.nii").get_fdata() > 0
    assert facts["stripped"]
    assert (mask == (clean > 0)).mean() > 0.995
    assert facts["volume_ml"] == pytest.approx((clean > 0).sum() * 2.5**3 / 1000, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [(WHOLE[0], 1400, 1650), (WHOLE[1], 1150, 1400), (WHOLE[3], 1450, 1750), (WHOLE[4], 1300, 1550)],
)
def test_brains_of_whole_heads_have_the_size_that_was_seen_to_be_right(tmp_path, name, low, high):
    conform(real(name), tmp_path / "head.nii")
    facts = brain_mask(tmp_path / "head.nii", tmp_path / "mask.nii")
    assert not facts["stripped"]
    assert low < facts["volume_ml"] < high
    assert facts["warnings"] == []
