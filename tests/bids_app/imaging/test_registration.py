import numpy as np
import pytest

from bids_app.errors import ImageError, UsageError
from bids_app.imaging.registration import Fit, Image, register, working_grid
from bids_app.imaging.similarity import turned
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.imaging.transforms import read_matrix
from tests.bids_app.imaging.heads import draw, grid_of, save

POINTS = np.random.default_rng(0).uniform(-45, 45, (200, 3))


def error_mm(found, truth):
    return np.linalg.norm(transform_points(found, POINTS) - transform_points(truth, POINTS), axis=1).mean()


@pytest.fixture
def pair(tmp_path):
    """A phantom, and the same one turned, moved, in another contrast and on thick slices; and the truth."""

    def make(truth, spacing=(2.0, 2.0, 5.0), **options):
        fixed, moving = grid_of(3.0), grid_of(spacing)
        save(tmp_path / "fixed.nii", draw(fixed), fixed)
        save(tmp_path / "moving.nii", draw(moving, truth, **options), moving)
        return Image(tmp_path / "moving.nii"), Image(tmp_path / "fixed.nii")

    return make


def test_rigid_finds_a_thick_slice_image_of_another_contrast(pair, tmp_path):
    truth = turned((6, -4, 3), np.zeros(3), np.array([4.0, -6, 5]))
    found = register(*pair(truth, contrast=0.5), Fit("rigid", spacing=3), tmp_path / "x")
    assert error_mm(found.matrix, truth) < 0.7
    np.testing.assert_allclose(np.linalg.det(found.matrix[:3, :3]), 1, atol=1e-4)


def test_affine_finds_a_brain_turned_by_35_degrees_far_from_the_origin(pair, tmp_path):
    truth = turned((35, 5, -10), np.zeros(3), np.array([10.0, 20, -15])) @ np.diag([1.1, 1.05, 1.15, 1])
    found = register(*pair(truth, 3.0), Fit("affine", spacing=3, brains=True), tmp_path / "x")
    assert error_mm(found.matrix, truth) < 2
    assert found.plausible
    assert found.dice > 0.9


def test_files_say_the_same_as_the_matrix(pair, tmp_path):
    found = register(*pair(np.eye(4), 4.0), Fit("rigid", spacing=4), tmp_path / "x")
    np.testing.assert_allclose(read_matrix(found.forward[0]), found.matrix, atol=1e-9)
    np.testing.assert_allclose(read_matrix(found.inverse[0]), np.linalg.inv(found.matrix), atol=1e-9)


def test_two_runs_are_identical_and_leave_only_transforms(pair, tmp_path):
    images = pair(turned((3, 0, 0), np.zeros(3), np.zeros(3)), 5.0)
    found = [register(*images, Fit(spacing=5, seed=5), tmp_path / f"run{n}/x").matrix for n in range(2)]
    np.testing.assert_array_equal(*found)
    assert sorted(p.name for p in (tmp_path / "run0").iterdir()) == ["x_affine.txt", "x_affineinverse.txt"]


def test_images_of_different_things_are_doubted(tmp_path):
    grid = grid_of(4.0)
    save(tmp_path / "a.nii", draw(grid), grid)
    noise = np.random.default_rng(0).random(grid.shape).astype(np.float32)
    save(tmp_path / "b.nii", noise, grid)
    found = register(
        Image(tmp_path / "b.nii"), Image(tmp_path / "a.nii"), Fit(spacing=6, initial=np.eye(4)), tmp_path / "x"
    )
    assert not found.plausible
    assert "b.nii" in found.warnings[0]


def test_a_lesion_has_no_say(pair, tmp_path):
    moving, fixed = pair(np.eye(4), 4.0)
    grid = Grid.of(moving.path)
    lesion = np.zeros(grid.shape, np.float32)
    lesion[8:22, 8:22, 8:22] = 1
    save(tmp_path / "lesion.nii", lesion, grid)
    spoiled = draw(grid)
    spoiled[lesion > 0] = 300
    save(moving.path, spoiled, grid)
    found = register(Image(moving.path, lesion=tmp_path / "lesion.nii"), fixed, Fit(spacing=4), tmp_path / "x")
    assert error_mm(found.matrix, np.eye(4)) < 0.5


def test_working_grid_covers_the_image_and_has_right_angles():
    affine = np.diag([0.5, 0.6, 4.0, 1.0])
    affine[0, 2] = 0.4  # sheared, as after gantry tilt
    native = Grid((100, 90, 20), affine)
    grid = working_grid(native, 2.0)
    index = transform_points(np.linalg.inv(grid.affine), native.corners())
    assert (index > -0.6).all()
    assert (index < np.array(grid.shape) - 0.4).all()
    product = grid.affine[:3, :3].T @ grid.affine[:3, :3]
    assert np.abs(product - np.diag(np.diag(product))).max() < 1e-9


def test_an_unknown_kind_is_refused():
    with pytest.raises(UsageError, match="rigid"):
        Fit("bspline")


def test_an_empty_image_is_named(tmp_path):
    grid = grid_of(8.0)
    for name in ("a.nii", "b.nii"):
        save(tmp_path / name, np.zeros(grid.shape, np.float32), grid)
    with pytest.raises(ImageError, match=r"b\.nii"):
        register(Image(tmp_path / "a.nii"), Image(tmp_path / "b.nii"), Fit(), tmp_path / "x")


def test_another_program_can_take_the_place_of_ants(pair, tmp_path):
    truth, asked = turned((0, 0, 0), np.zeros(3), np.array([3.0, 0, 0])), []

    class Knows:
        def linear(self, fixed, moving, begin, kind, *, seed, folder):
            asked.append((kind, seed))
            return truth

    found = register(*pair(truth, 4.0), Fit(spacing=4, seed=9), tmp_path / "x", program=Knows())
    assert asked == [("rigid", 9)]
    assert error_mm(found.matrix, truth) < 1
