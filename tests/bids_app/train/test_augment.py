import math

import pytest
import torch

from bids_app.recipes.recipe import load_recipe
from bids_app.scans.scan import Batch
from bids_app.train.augment import Augmentation, apply, augmentation_of, draw, rotations
from bids_app.train.smooth import smooth_field

SHAPE = (24, 32, 20)
NOTHING = Augmentation().at(0)
EVERYTHING = Augmentation(swap=(1, 0)).at(1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(n: int = 3, sequences: int = 2, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Batch:
    """A textured ellipsoid in zeros; its halves along the first axis are the two regions."""
    places = torch.meshgrid(*[torch.linspace(-1, 1, size) for size in shape], indexing="ij")
    inside = sum(place**2 for place in places) < 0.6
    images = torch.randn(n, sequences, *shape, generator=seeded(seed)) * inside
    left, right = inside & (places[0] < 0), inside & (places[0] >= 0)
    labels = torch.stack([~inside, left, right]).float().expand(n, -1, *shape)
    flags = torch.ones(n, sequences)
    return Batch(images, flags, labels, torch.ones(n), torch.zeros(n, 0), torch.zeros(n, 0))


def changed(batch: Batch, how: Augmentation, seed: int = 0) -> Batch:
    return apply(batch, draw(batch, how, seeded(seed)))


def test_the_same_seed_gives_the_same_batch_and_another_another():
    batch = batch_of()
    once, again, other = (changed(batch, EVERYTHING, seed).images for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)


def test_a_drawing_can_be_replayed():
    batch = batch_of()
    drawn = draw(batch, EVERYTHING, seeded())
    assert torch.equal(apply(batch, drawn).images, apply(batch, drawn).images)


def test_the_batch_that_came_is_left_as_it_was():
    batch, before = batch_of(), batch_of()
    changed(batch, EVERYTHING)
    assert torch.equal(batch.images, before.images)
    assert torch.equal(batch.labels, before.labels)


def test_probabilities_of_zero_return_the_input():
    batch = batch_of()
    after = changed(batch, NOTHING)
    assert torch.equal(after.images, batch.images)
    assert torch.equal(after.labels, batch.labels)


@pytest.mark.parametrize("shape", [SHAPE, (32, 24)])
@pytest.mark.parametrize("seed", range(4))
def test_parts_still_sum_to_one_and_zero_stays_zero_outside(shape, seed):
    batch = batch_of(shape=shape)
    after = changed(batch, EVERYTHING, seed)
    assert after.images.isfinite().all()
    torch.testing.assert_close(after.labels.sum(1), torch.ones(3, *shape), atol=1e-5, rtol=0)
    assert after.labels.min() > -1e-5
    assert not after.images[:, :, 0, 0].any()  # a corner, far from the ellipsoid


@pytest.mark.parametrize(
    "name",
    ["bias", "noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "inverted_gamma"],
)
def test_brightness_changes_inside_alone_and_never_where_a_sequence_is_absent(name):
    batch = batch_of()
    batch.present[0, 1] = 0
    batch.images[0, 1] = 0
    after = changed(batch, Augmentation(**only(name)))
    assert not torch.equal(after.images[0, 0], batch.images[0, 0])
    assert not after.images[batch.images == 0].any()
    assert torch.equal(after.labels, batch.labels)


def only(*names: str) -> dict[str, float]:
    """Fields under which nothing but ``names`` happens, and that always."""
    return {key: float(key.removeprefix("p_") in names) for key in vars(NOTHING) if key.startswith("p_")}


def test_a_map_with_a_scale_keeps_its_brightness():
    batch = batch_of()
    how = Augmentation(**only("bias", "brightness", "contrast", "gamma", "inverted_gamma"), quantitative=(False, True))
    after = changed(batch, how)
    assert torch.equal(after.images[:, 1], batch.images[:, 1])
    assert not torch.allclose(after.images[:, 0], batch.images[:, 0])


@pytest.mark.parametrize("name", ["bias", "gamma", "inverted_gamma"])
def test_mean_and_spread_stay_as_standardisation_would_have_them(name):
    batch = batch_of(sequences=1)
    inside = batch.images != 0
    after = changed(batch, Augmentation(**only(name)))
    assert after.images[inside].mean().item() == pytest.approx(batch.images[inside].mean().item(), abs=1e-3)
    assert after.images[inside].std().item() == pytest.approx(batch.images[inside].std().item(), rel=1e-3)


def test_a_mirror_image_swaps_partner_regions_and_back_again():
    batch = batch_of()
    how = Augmentation(**only("mirror"), swap=(1, 0))
    once = changed(batch, how)
    assert torch.equal(once.images, batch.images.flip(2))
    assert torch.equal(once.labels[:, 1], batch.labels[:, 2].flip(1))
    twice = changed(once, how)
    assert torch.equal(twice.images, batch.images)
    assert torch.equal(twice.labels, batch.labels)


def test_a_quarter_turn_moves_a_voxel_where_it_should():
    batch = batch_of(1, 1, (17, 17, 17))
    batch.images[:] = 0
    batch.images[0, 0, 12, 8, 5] = 1  # 4 along x and -3 along z from the centre
    drawn = draw(batch, NOTHING, seeded())
    drawn.matrix[0] = rotations(torch.tensor([[0.0, 0.0, math.pi / 2]]))[0]
    drawn.moved[0] = True
    after = apply(batch, drawn).images[0, 0]
    # what is read at R p lies at p: the voxel goes to its place turned back by a quarter about z
    assert after[8, 4, 5] == pytest.approx(1, abs=1e-4)
    assert after.sum() == pytest.approx(1, abs=1e-3)


def test_a_scan_may_be_longer_than_wide_and_is_not_sheared_by_a_turn():
    batch = batch_of(1, 1, (11, 31, 11))
    batch.images[:] = 0
    batch.images[0, 0, 5, 18, 5] = 1
    drawn = draw(batch, NOTHING, seeded())
    drawn.matrix[0] = rotations(torch.tensor([[math.pi / 2, 0.0, 0.0]]))[0]
    drawn.moved[0] = True
    after = apply(batch, drawn).images[0, 0]
    assert after[5, 15, 5 - 3] == pytest.approx(1, abs=1e-4)


def test_a_size_above_one_makes_things_larger():
    batch = batch_of(1)
    after = changed(batch, Augmentation(**only("scaling"), scaling=(1.3, 1.3)))
    assert after.labels[:, 1:].sum() / batch.labels[:, 1:].sum() == pytest.approx(1.3**3, rel=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_image_and_labels_stay_aligned(seed):
    batch = batch_of(4, 1, (32, 32, 32))
    batch = batch._replace(images=batch.labels[:, 1:2].clone())
    after = changed(batch, Augmentation(**only("rotation", "scaling", "shift", "elastic")), seed)
    seen, told = after.images[:, 0] > 0.5, after.labels[:, 1] > 0.5
    assert told.any()
    assert 2 * (seen & told).sum() / (seen.sum() + told.sum()) > 0.999
    assert not torch.equal(told, batch.labels[:, 1] > 0.5)


def test_no_deformation_folds():
    coarse = 0.25 * (2 * torch.rand(1, 3, 8, 8, 8, generator=seeded()) - 1)
    moved = smooth_field(coarse, (40, 40, 40)) * 40 / 5
    slopes = [torch.gradient(moved[0], dim=axis + 1)[0] for axis in range(3)]
    jacobian = torch.stack(slopes, 1).movedim((0, 1), (-2, -1)) + torch.eye(3)
    assert torch.linalg.det(jacobian).min() > 0


def test_a_smooth_field_of_ones_is_one_everywhere():
    torch.testing.assert_close(smooth_field(torch.ones(2, 5, 5), (9, 12)), torch.ones(2, 9, 12))


def test_thick_slices_lose_detail_along_their_own_axis_alone():
    batch = batch_of(1, 1, (32, 32, 32))
    batch = batch._replace(images=torch.randn(1, 1, 32, 32, 32, generator=seeded()))
    drawn = draw(batch, NOTHING, seeded())
    drawn.resolution[0, 0, 2] = 0.25
    after = apply(batch, drawn).images[0, 0]
    rough = [float(after.diff(dim=axis).square().mean() / after.var()) for axis in range(3)]
    assert rough[2] < 0.2 * rough[0]
    assert rough[0] == pytest.approx(2, rel=0.1)  # neighbours stay unrelated


def test_something_is_always_left_of_a_scan():
    batch = batch_of(4, 3, (4, 4, 4))
    batch.present[1] = torch.tensor([0, 1, 0])
    how, generator = Augmentation(sequence_dropout=0.9).at(0), seeded()
    lost = torch.zeros(4, 3)
    for _ in range(1000):
        drawn = draw(batch, how, generator)
        left = drawn.kept & (batch.present > 0)
        assert left.any(1).all()
        lost += ~drawn.kept
    assert lost[0].min() > 500


def test_a_sequence_left_out_is_zero_and_says_so():
    batch = batch_of(8, 3)
    after = changed(batch, Augmentation(sequence_dropout=0.5, always=(0,)).at(0))
    assert (after.present[:, 0] == 1).all()
    assert (after.present == 0).any()
    there = after.images.flatten(2).any(2)
    assert torch.equal(there, after.present > 0)


def test_half_of_the_scans_are_mirrored_and_a_fifth_turned():
    batch = batch_of(64, 1, (4, 4, 4))
    generator = seeded()
    drawn = [draw(batch, Augmentation(), generator) for _ in range(20)]
    mirrored = torch.cat([d.flips[:, 0] for d in drawn]).float().mean()
    turned = torch.cat([(d.matrix[:, 0, 1] != 0) for d in drawn]).float().mean()
    assert mirrored == pytest.approx(0.5, abs=0.05)
    assert turned == pytest.approx(0.2, abs=0.05)
    assert not torch.cat([d.flips[:, 1:] for d in drawn]).any()


def test_a_recipe_names_the_partners_of_its_regions():
    recipe = load_recipe("habenula")
    assert augmentation_of(recipe).swap == (1, 0)
    assert augmentation_of(recipe).p_mirror == 0.5
    assert augmentation_of(recipe, sequence_dropout=0.3).sequence_dropout == 0.3
