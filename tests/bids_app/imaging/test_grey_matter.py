"""Grey matter carried to a template: no volume is lost, and it arrives where the warp says."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging import grey_matter
from bids_app.imaging.grey_matter import carried, grey_matter_map, map_grid, smoothed, tissues
from bids_app.imaging.registration import Image
from bids_app.imaging.stacking import Grid
from bids_app.imaging.warping import pull


def head(radii, spacing=6.0, shape=(27, 32, 27)):
    """White matter in cortex in fluid, as ellipsoids about the origin: labels, affine."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    depth = np.linalg.norm(place / np.array(radii), axis=-1)
    return np.select([depth < 0.65, depth < 0.9, depth < 1], [2, 3, 24], 0).astype(np.int16), affine


def saved(path, values, affine):
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("spacing", [1.0, 2.0, 4.0])
def test_no_volume_is_lost(spacing):
    rng = np.random.default_rng(0)
    affine = np.diag([-spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (10, -20, 5)
    grid, inside = Grid((20, 20, 20), affine), rng.random((20, 20, 20)) < 0.4
    turned = np.eye(4)
    turned[:3, :3] = [[0.9, 0.1, 0], [-0.1, 1.1, 0.05], [0, 0, 1.2]]
    density = carried(inside, grid, [np.linalg.inv(turned)], map_grid())
    ml = inside.sum() * spacing**3
    assert density.sum() * 8 == pytest.approx(ml, rel=1e-5)
    assert smoothed(density, map_grid(), 8.0).sum() * 8 == pytest.approx(ml, rel=1e-4)


def test_what_arrives_is_the_jacobian_times_what_was_there():
    """A sphere, stretched by known factors: inside it, volume per volume is the determinant of the way back."""
    grid = Grid((60, 60, 60), np.array([[1.0, 0, 0, -30], [0, 1, 0, -30], [0, 0, 1, -30], [0, 0, 0, 1]]))
    place = np.stack(np.meshgrid(*3 * [np.arange(60)], indexing="ij"), -1) - 30.0
    inside = np.linalg.norm(place, axis=-1) < 28
    stretch = np.diag([1.25, 1.1, 0.9, 1.0])
    density = smoothed(carried(inside, grid, [np.linalg.inv(stretch)], map_grid()), map_grid(), 8.0)
    read_back = pull(inside.astype(np.float32), grid, map_grid(), [np.linalg.inv(stretch)])
    by_jacobian = smoothed(read_back / np.linalg.det(stretch), map_grid(), 8.0)
    deep = smoothed(read_back, map_grid(), 8.0) > 0.98
    assert deep.sum() > 1000
    np.testing.assert_allclose(density[deep], by_jacobian[deep], rtol=0.02)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A smaller head with thinner cortex on a larger one, by ANTs."""
    folder = tmp_path_factory.mktemp("grey")
    labels, affine = head((60, 74, 58))
    other, _ = head((68, 82, 64))
    picture = saved(folder / "template.nii", tissues(other), affine)
    path = saved(folder / "labels.nii", labels, affine)
    scale = np.diag([68 / 60, 82 / 74, 64 / 58, 1.0])
    return labels, affine, grey_matter_map(path, Image(picture), scale, folder / "out")


def test_a_registered_head_keeps_its_amount(mapped):
    labels, _, found = mapped
    assert found.grey_ml == pytest.approx((labels == 3).sum() * 0.216)
    assert found.inside_ml == pytest.approx((labels > 0).sum() * 0.216)
    assert found.density.sum() * 0.008 == pytest.approx(found.grey_ml, rel=0.01)
    assert found.dice > 0.9
    assert found.seconds > 0
    assert not found.warnings


def test_it_arrives_in_the_templates_cortex(mapped):
    _, affine, found = mapped
    other, _ = head((68, 82, 64))
    target = pull((other == 3).astype(np.float32), Grid(other.shape, affine), map_grid(), [])
    expected = smoothed(target, map_grid(), 8.0)
    there = expected > 0.3
    assert np.corrcoef(found.density[there], expected[there])[0, 1] > 0.9
    assert found.density[there].sum() / found.density.sum() > 0.85
    assert found.density[there].sum() < 0.9 * expected[there].sum()  # of a smaller head there is less


def test_labels_without_grey_matter_and_a_head_elsewhere(tmp_path):
    labels, affine = head((60, 74, 58))
    path = saved(tmp_path / "none.nii", np.where(labels == 3, 0, labels).astype(np.int16), affine)
    with pytest.raises(ImageError, match=r"none.nii holds no grey matter"):
        grey_matter_map(path, Image(path), np.eye(4), tmp_path / "out")

    class Still:
        """A program that deforms nothing."""

        def deform(self, fixed, moving, affine, *, seed, prefix):
            return affine, affine

    shifted = np.eye(4)
    shifted[0, 3] = 40
    path = saved(tmp_path / "labels.nii", labels, affine)
    picture = saved(tmp_path / "template.nii", tissues(labels), affine)
    found = grey_matter_map(path, Image(picture), shifted, tmp_path / "far", program=Still())
    assert "overlap poorly" in found.warnings[0]
    assert found.dice < grey_matter.PLAUSIBLE_DICE
