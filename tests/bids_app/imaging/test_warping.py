import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import ImageError, UsageError
from bids_app.imaging.stacking import Grid
from bids_app.imaging.transforms import to_ants, write_matrix
from bids_app.imaging.warping import map_points, read_warp, resample
from tests.bids_app.imaging.heads import draw, grid_of, save

MATRIX = np.array([[0.99, 0.08, 0, 3], [-0.08, 0.99, 0.02, -4], [0, -0.02, 1.03, 5], [0, 0, 0, 1]])


@pytest.fixture
def warp(tmp_path):
    """A smooth field as ITK writes it (LPS vectors)."""
    grid = grid_of(10.0)
    x = np.indices(grid.shape) / 17 * np.pi
    field = np.stack([4 * np.sin(x[1]), 3 * np.cos(x[0]), 5 * np.sin(x[2])], -1).astype(np.float32)
    image = nib.Nifti1Image(field[:, :, :, None, :], grid.affine)
    image.header.set_intent("vector")
    nib.save(image, tmp_path / "warp.nii.gz")
    return tmp_path / "warp.nii.gz"


def test_a_chain_agrees_with_ants_on_points(tmp_path, warp):
    import ants
    import pandas

    chain = [warp, write_matrix(MATRIX, tmp_path / "a.txt")]
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    frame = pandas.DataFrame(points * [-1, -1, 1], columns=["x", "y", "z"])
    theirs = ants.apply_transforms_to_points(3, frame, [str(p) for p in reversed(chain)])
    ours = map_points(points, chain)
    image = ants.apply_transforms(
        to_ants(draw(grid_of(6.0)), grid_of(6.0)), to_ants(draw(grid_of(6.0)), grid_of(6.0)), [str(p) for p in chain]
    ).numpy()
    save(tmp_path / "m.nii", draw(grid_of(6.0)), grid_of(6.0))
    mine = resample(tmp_path / "m.nii", grid_of(6.0), chain)
    inner = (slice(4, -4),) * 3
    assert np.abs(mine - image)[inner].max() < 0.1
    assert theirs.shape == (20, 3)
    assert ours.shape == (20, 3)


def test_linear_points_agree_with_the_matrix():
    np.testing.assert_allclose(map_points([[1.0, 2, 3]], [MATRIX])[0], (np.linalg.inv(MATRIX) @ [1, 2, 3, 1])[:3])


def test_nearest_keeps_labels_and_their_type(tmp_path):
    labels = np.random.default_rng(0).integers(0, 5, (12, 12, 12)).astype(np.uint8)
    save(tmp_path / "l.nii", labels, Grid((12, 12, 12), np.eye(4)))
    moved = resample(tmp_path / "l.nii", Grid((12, 12, 12), np.eye(4)), [MATRIX], interpolation="nearest")
    assert moved.dtype == np.uint8
    assert set(np.unique(moved)) <= set(range(5))


def test_unknown_interpolation_is_refused(tmp_path):
    with pytest.raises(UsageError, match="linear"):
        resample(tmp_path / "x.nii", tmp_path / "y.nii", interpolation="sinc")


def test_an_image_is_no_warp(tmp_path):
    grid = grid_of(20.0)
    with pytest.raises(ImageError, match="displacement"):
        read_warp(save(tmp_path / "a.nii", draw(grid), grid))
