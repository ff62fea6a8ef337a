import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging.bias import coarse_grid, correct_bias, denoise, upsample_log_field
from bids_app.imaging.stacking import Grid, transform_points
from tests.bids_app.imaging.heads import draw, grid_of, save


def shading(grid):
    x, y, z = np.moveaxis(transform_points(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1)) / 60, -1, 0)
    return 0.25 * x - 0.2 * y * z + 0.15 * (y**2 - 0.4)


@pytest.fixture
def shaded(tmp_path):
    grid = grid_of(2.5)
    clean = np.choose(np.digitize(draw(grid), [4, 45, 65]), [0, 30, 60, 90]).astype(np.float32)  # three tissues
    save(tmp_path / "shaded.nii", (clean * np.exp(shading(grid))).astype(np.float32), grid)
    return tmp_path / "shaded.nii", clean, grid


def test_a_known_shading_is_found(shaded, tmp_path):
    path, clean, grid = shaded
    facts = correct_bias(path, tmp_path / "out.nii")
    brain = clean > 20
    removed = np.log(nib.load(path).get_fdata()[brain] / nib.load(tmp_path / "out.nii").get_fdata()[brain])
    assert np.corrcoef(removed, shading(grid)[brain])[0, 1] > 0.95
    assert facts["field_min"] < 0.9 < 1.1 < facts["field_max"]


def test_background_stays_zero(shaded, tmp_path):
    path, clean, _ = shaded
    correct_bias(path, tmp_path / "out.nii", sloppy=True)
    assert np.abs(nib.load(tmp_path / "out.nii").get_fdata()[clean == 0]).max() == 0


def test_two_runs_are_identical(shaded, tmp_path):
    for name in ("a.nii", "b.nii"):
        correct_bias(shaded[0], tmp_path / name, sloppy=True)
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii").get_fdata(), nib.load(tmp_path / "b.nii").get_fdata())


def test_an_empty_mask_is_said(shaded, tmp_path):
    path, clean, grid = shaded
    save(tmp_path / "mask.nii", np.zeros(clean.shape, np.uint8), grid)
    with pytest.raises(ImageError, match="mask"):
        correct_bias(path, tmp_path / "out.nii", mask=tmp_path / "mask.nii")


def test_a_smooth_field_survives_the_coarse_grid():
    native = Grid((40, 44, 31), np.diag([0.9, 0.9, 1.2, 1]))
    coarse = coarse_grid(native, 4.0)
    values = transform_points(coarse.affine, np.moveaxis(np.indices(coarse.shape), 0, -1)) @ [0.01, -0.02, 0.005]
    wanted = transform_points(native.affine, np.moveaxis(np.indices(native.shape), 0, -1)) @ [0.01, -0.02, 0.005]
    inner = (slice(3, -3),) * 3
    found = upsample_log_field(values.astype(np.float32), coarse, native)
    np.testing.assert_allclose(found[inner], wanted[inner], atol=1e-4)


def test_denoising_brings_an_image_nearer_to_the_one_without_noise(tmp_path):
    grid = grid_of(4.0)
    clean = np.choose(np.digitize(draw(grid), [4, 45, 65]), [0, 300, 600, 900]).astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 40, clean.shape) * (clean > 0)
    save(tmp_path / "noisy.nii", np.maximum(clean + noise, 0).astype(np.float32), grid)
    denoise(tmp_path / "noisy.nii", tmp_path / "out.nii")
    inside = clean > 0
    before = np.abs(nib.load(tmp_path / "noisy.nii").get_fdata() - clean)[inside].mean()
    after = np.abs(nib.load(tmp_path / "out.nii").get_fdata() - clean)[inside].mean()
    assert after < 0.95 * before
