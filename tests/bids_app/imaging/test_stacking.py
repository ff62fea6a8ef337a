import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import ImageError
from bids_app.imaging.stacking import (
    SIGMA_PER_FWHM,
    Grid,
    box_of,
    part_of,
    region_grid,
    sample,
    stack,
    to_grid,
    transform_points,
    whole_grid,
)


def turn(degrees, shift=(0, 0, 0), scale=(1, 1, 1)):
    a, b = np.radians(degrees), np.radians(degrees / 2)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_x @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


def positions(grid):
    return transform_points(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))


def ball(grid, radius, centre=None):
    """A ball of soft edge (0.25 mm), as a network's probability is."""
    distance = np.linalg.norm(positions(grid) - (grid.centre if centre is None else centre), axis=-1)
    return (1 / (1 + np.exp((distance - radius) / 0.25))).astype(np.float32)


@pytest.fixture
def ramp(tmp_path):
    """An image whose value is linear in the world: x + 2y - z, on an odd grid."""
    grid = Grid((30, 34, 20), turn(20, (-20, -25, -14)) @ np.diag([1.2, 1.1, 1.7, 1]))
    values = positions(grid) @ [1, 2, -1]
    path = tmp_path / "ramp.nii"
    nib.save(nib.Nifti1Image(values.astype(np.float32), grid.affine), path)
    return path


def test_region_grid_is_centred_on_the_place():
    matrix = turn(15, (3, -4, 9), (0.9, 1.1, 1.05))
    grid = region_grid(matrix, (0, -26, 2), 32, 0.5)
    assert grid.shape == (64, 64, 64)
    np.testing.assert_allclose(grid.centre, transform_points(matrix, (0, -26, 2)), atol=1e-9)


def test_region_grid_voxel_is_true_to_size_whatever_the_scale_of_the_head():
    grid = region_grid(turn(15, (3, -4, 9), (0.8, 1.2, 1.1)), (0, -26, 2), 32, 0.5)
    assert grid.voxel_volume == pytest.approx(0.125)
    np.testing.assert_allclose(grid.affine[:3, :3].T @ grid.affine[:3, :3], np.eye(3) * 0.25, atol=1e-12)


def test_region_grid_refuses_a_mirror():
    with pytest.raises(ImageError, match="mirrors"):
        region_grid(np.diag([-1.0, 1, 1, 1]), (0, 0, 0), 32, 0.5)


def test_whole_grid_covers_the_image():
    native = Grid((40, 50, 60), turn(10, (4, 5, 6)))
    grid = whole_grid(turn(25), native, 1.0)
    index = transform_points(np.linalg.inv(grid.affine), native.corners())
    assert (index > -0.51).all()
    assert (index < np.array(grid.shape) - 0.49).all()


def test_whole_grid_adds_nothing_around_an_image():
    grid = whole_grid(np.eye(4), Grid((40, 50, 60), np.eye(4)), 1.0, margin_mm=9)
    assert grid.shape == (40, 50, 60)
    np.testing.assert_allclose(grid.affine, np.eye(4), atol=1e-12)


def test_a_gaussian_is_half_as_high_half_its_full_width_away():
    assert np.exp(-0.5 * (0.5 / SIGMA_PER_FWHM) ** 2) == pytest.approx(0.5)


def test_whole_grid_covers_the_mask_only():
    native = Grid((40, 50, 60), np.eye(4))
    mask = np.zeros(native.shape)
    mask[10:20, 10:20, 10:20] = 1
    assert whole_grid(np.eye(4), native, 1.0, mask=mask, margin_mm=2).shape == (13, 13, 13)


def test_a_linear_image_is_sampled_exactly(ramp):
    grid = Grid((6, 6, 6), turn(-30, (-2, -1, 0)) @ np.diag([0.7, 0.7, 0.7, 1]))
    to_image = turn(5, (1, 0.5, -0.5))
    expected = transform_points(to_image, positions(grid)) @ [1, 2, -1]
    np.testing.assert_allclose(sample(ramp, to_image, grid), expected, atol=1e-3)


def test_a_warp_moves_the_positions(ramp):
    grid = Grid((6, 6, 6), turn(0, (-2, -1, 0)))
    warp = np.zeros((6, 6, 6, 3), np.float32)
    warp[..., 1] = 1.5
    np.testing.assert_allclose(sample(ramp, np.eye(4), grid, warp=warp), sample(ramp, np.eye(4), grid) + 3, atol=1e-3)


def test_a_missing_sequence_is_zero_and_flagged(ramp):
    grid = Grid((6, 6, 6), turn(0, (-2, -1, 0)))
    stacked, present = stack([ramp, None], [np.eye(4), None], grid)
    assert present.tolist() == [1, 0]
    assert stacked[0].any()
    assert not stacked[1].any()
    assert stacked.dtype == np.float32


def test_a_grid_outside_the_image_is_zero(ramp):
    assert not sample(ramp, np.eye(4), Grid((4, 4, 4), turn(0, (500, 0, 0)))).any()


def test_noise_is_averaged_when_the_grid_is_coarser(tmp_path):
    noise = np.random.default_rng(0).standard_normal((60, 60, 60)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / "noise.nii")
    coarse = sample(tmp_path / "noise.nii", np.eye(4), Grid((12, 12, 12), np.diag([4.0, 4, 4, 1])))
    assert coarse.std() < 0.2


@pytest.mark.parametrize("spacing", [(0.87, 0.87, 1), (1, 1, 1), (2, 2, 2), (0.7, 0.7, 4), (0.4, 0.4, 0.4)])
def test_volume_survives_the_way_back_to_the_native_grid(spacing):
    source = Grid((64, 64, 64), turn(12, (-11, -18, -16)) @ np.diag([0.5, 0.5, 0.5, 1]))
    probability = np.stack([ball(source, 1.6, source.centre + d) for d in ([-3, 0.2, 0.1], [3, 0, -0.3])])
    steps = np.diag([*spacing, 1.0])
    native = Grid(np.ceil(80 / np.array(spacing)).astype(int), turn(-7, (-40, -40, -40)) @ steps)
    back = to_grid(probability, source, native)
    before = probability.sum((1, 2, 3)) * source.voxel_volume
    after = back.sum((1, 2, 3), dtype=float) * native.voxel_volume
    np.testing.assert_allclose(after, before, rtol=0.02)


def test_to_grid_keeps_the_number_of_axes():
    grid = Grid((8, 8, 8), np.eye(4))
    values = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(to_grid(values, grid, grid), values, atol=1e-6)


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (0.4, 3.0, 1.0), (2.5, 2.5, 2.5)])
def test_grids_that_run_alike_give_the_same_by_products_of_matrices(spacing, monkeypatch):
    from bids_app.imaging import stacking

    maps = np.random.default_rng(0).random((2, 9, 12, 7))
    source, target = Grid((9, 12, 7), np.eye(4)), Grid((11, 8, 13), np.diag([*spacing, 1.0]))
    target = target.moved((-1.3, 0.2, -0.4))
    quick = to_grid(maps, source, target)
    monkeypatch.setattr(stacking, "_along_axes", lambda *args: None)
    np.testing.assert_allclose(quick, to_grid(maps, source, target), atol=1e-6)
    assert quick.any()


def test_a_box_holds_what_is_true_and_its_part_of_the_grid_lies_where_it_lay():
    inside = np.zeros((8, 9, 10), bool)
    inside[2:5, 0, 6:9] = True
    assert box_of(inside) == (slice(2, 5), slice(0, 1), slice(6, 9))
    assert box_of(inside, 2) == (slice(0, 7), slice(0, 3), slice(4, 10))
    assert box_of(inside, (0, 1, 9)) == (slice(2, 5), slice(0, 2), slice(0, 10))
    assert box_of(np.zeros((4, 4, 4), bool), 2) == (slice(0, 0),) * 3
    whole = Grid(inside.shape, turn(30, (1, 2, 3), (1, 2, 3)))
    part = part_of(whole, box_of(inside))
    assert part.shape == (3, 1, 3)
    np.testing.assert_allclose(positions(part), positions(whole)[2:5, :1, 6:9])


def test_a_grid_knows_its_voxels_and_its_middle_however_it_is_turned():
    grid = Grid((5, 9, 4), turn(20, (7, -3, 11)) @ np.diag([1.2, 1.1, 1.7, 1]))
    np.testing.assert_allclose(grid.spacing, [1.2, 1.1, 1.7])
    assert grid.voxel_volume == pytest.approx(1.2 * 1.1 * 1.7)
    np.testing.assert_allclose(grid.centre, grid.corners().mean(0))
    np.testing.assert_allclose(grid.centre, positions(grid).reshape(-1, 3).mean(0))


@pytest.mark.parametrize(
    ("shape", "affine"), [((4, 4), np.eye(4)), ((4, 4, 4), np.eye(3)), ((4, 4, 4), np.diag([1, 0, 1, 1]))]
)
def test_a_grid_that_is_none_is_refused(shape, affine):
    with pytest.raises(ImageError, match="invertible 4x4"):
        Grid(shape, affine)


@pytest.mark.parametrize("factor", [(2, 3, 1), (4, 2.5, 3), (1.5, 1, 2)])
def test_a_linear_image_stays_exact_where_the_grid_is_coarser(tmp_path, factor):
    grid = Grid((40, 44, 36), np.diag([1.2, 1.1, 1.7, 1]))
    path = tmp_path / "ramp.nii"
    nib.save(nib.Nifti1Image((positions(grid) @ [1, 2, -1]).astype(np.float32), grid.affine), path)
    coarse = np.diag([*(np.array([1.2, 1.1, 1.7]) * factor), 1.0])
    coarse[:3, 3] = [12.3, 11.9, 14.2]
    target = Grid((5, 4, 5), coarse)
    np.testing.assert_allclose(sample(path, np.eye(4), target), positions(target) @ [1, 2, -1], atol=0.02)


def test_a_part_of_a_grid_gets_what_the_whole_gets(tmp_path):
    own = Grid((40, 42, 38), np.eye(4))
    path = tmp_path / "noise.nii"
    nib.save(nib.Nifti1Image(np.random.default_rng(1).normal(size=own.shape).astype(np.float32), own.affine), path)
    grid = Grid((16, 15, 14), turn(12, (4, 5, 3)) @ np.diag([2.2, 2.4, 1.3, 1]))
    box = (slice(5, 9), slice(6, 9), slice(4, 8))
    np.testing.assert_allclose(
        sample(path, np.eye(4), part_of(grid, box)), sample(path, np.eye(4), grid)[box], atol=1e-5
    )


@pytest.mark.parametrize("degrees", [0, 14])
def test_linear_maps_come_through_to_any_grid_of_any_shape(degrees):
    source = Grid((22, 26, 18), turn(degrees, (-3, 2, 5)) @ np.diag([1.0, 1.3, 0.9, 1]))
    inner = turn(0, (4, 5, 3)) @ np.diag([2.0, 1.3, 1.8, 1])
    target = Grid((5, 7, 4), turn(degrees, (-3, 2, 5)) @ turn(0 if degrees == 0 else 9) @ inner)
    values = (positions(source) @ [1, 2, -1]).astype(np.float32)
    np.testing.assert_allclose(to_grid(values, source, target), positions(target) @ [1, 2, -1], atol=1e-3)


def test_a_map_or_a_warp_of_another_shape_is_refused(ramp):
    grid = Grid((4, 5, 6), np.eye(4))
    with pytest.raises(ImageError, match="its grid"):
        to_grid(np.zeros((4, 5, 5), np.float32), grid, grid)
    with pytest.raises(ImageError, match="the warp has shape"):
        sample(ramp, np.eye(4), grid, warp=np.zeros((4, 5, 6), np.float32))
