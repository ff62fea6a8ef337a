from dataclasses import replace

import pytest
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.heads.labelmaps import (
    LABELS,
    OUTSIDE,
    POSITION,
    LabelMap,
    brain_table,
    is_tissue,
    load_label_map,
)
from bids_app.synthesis.scanner.generator import (
    Ranges,
    draw_brightness,
    draw_scans,
    jittered,
    look_up,
    scan,
    scan_all,
    textured,
)
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

SHAPE = (32, 36, 28)
#: Nothing moves, nothing is left out, nothing is added.
STILL = Ranges(
    turn=0,
    scale=0,
    shear=0,
    bend_mm=0,
    mirror=0,
    near_brain=1,
    shift_mm=0,
    texture=0,
    bias=0,
    gamma=0,
    noise=0,
    stripped=0,
    thick=0,
    coarsest_mm=0.7,
    ghost=0,
)


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> LabelMap:
    return load_label_map(save_labels(tmp_path_factory.mktemp("maps") / "head.nii.gz", head_labels(), spacing=1.5))


def draw(head: LabelMap, *seeds: int, how: Ranges | None = None, shape=SHAPE, spacing: float = 1.5, **more):
    return draw_scans([head], seeds, shape=shape, spacing=spacing, how=how, **more)


def middle(labels: torch.Tensor, label: int) -> torch.Tensor:
    return torch.nonzero(labels == POSITION[label]).float().mean(0)


@pytest.mark.parametrize("spacing", [1.5, 3.0])
def test_a_seed_gives_the_same_scan_whatever_lies_beside_it(head, spacing):
    torch.manual_seed(0)
    together = draw(head, 4, 11, 7, spacing=spacing, sequences=2)
    torch.manual_seed(1)
    alone = draw(head, 11, spacing=spacing, sequences=2)
    for name in ("images", "labels", "at"):
        assert torch.equal(getattr(together, name)[1], getattr(alone, name)[0])


def test_another_seed_gives_another_scan(head):
    drawn = draw(head, 1, 2)
    assert not torch.equal(drawn.images[0], drawn.images[1])
    assert not torch.equal(drawn.labels[0], drawn.labels[1])


def test_all_sequences_of_a_scan_share_its_anatomy(head):
    one, four = draw(head, 3, 5), draw(head, 3, 5, sequences=4)
    assert four.images.shape == (2, 4, *SHAPE)
    assert torch.equal(one.labels, four.labels)
    assert torch.equal(one.at, four.at)
    for first in range(4):
        for second in range(first):
            assert not torch.equal(four.images[:, first], four.images[:, second])


def test_every_sequence_shows_the_edges_of_the_shared_anatomy(head):
    drawn = draw(head, 3, how=replace(STILL, turn=0.3, bend_mm=3.0), sequences=3, spacing=1.5)
    labels = drawn.labels[0].float()
    flat = torch.ones(SHAPE, dtype=torch.bool)
    for axis in range(3):
        for shift in (1, -1):
            flat &= labels == labels.roll(shift, axis)
    flat = flat[2:-2, 2:-2, 2:-2]
    for image in drawn.images[0]:
        inner = image[2:-2, 2:-2, 2:-2]
        edge = (image[1:] - image[:-1]).abs()[1:-2, 2:-2, 2:-2]
        assert edge[flat].mean() < 0.3 * edge[~flat].mean()
        assert inner.std() > 0.05


@pytest.mark.parametrize("spacing", [1.5, 3.0])
@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_left_is_on_the_left_in_a_mirror_image_too(head, mirror, spacing):
    drawn = draw(head, *range(4), how=Ranges(mirror=mirror, near_brain=1, shift_mm=0), spacing=spacing)
    for labels in drawn.labels:
        for left, right in ((3, 42), (2, 41), (17, 53)):
            assert middle(labels, left)[0] < middle(labels, right)[0]


def test_mirroring_moves_what_is_one_sided_to_the_other_side(head):
    as_is, mirrored = (draw(head, 0, how=replace(STILL, mirror=share)) for share in (0.0, 1.0))
    assert (as_is.labels == POSITION[10]).sum() > 1.5 * (as_is.labels == POSITION[49]).sum()
    assert (mirrored.labels == POSITION[49]).sum() == (as_is.labels == POSITION[10]).sum()
    assert torch.equal(mirrored.at, as_is.at.flip(2))


@pytest.mark.parametrize("spacing", [1.5, 3.0])
def test_an_image_is_mirrored_together_with_its_labels(head, spacing):
    """Brightness by label is the same on both sides, so that only places tell; the thalami do."""

    def paint(labels, at, generator):
        return (labels == POSITION[49]).float()[None]

    drawn = draw(head, 0, how=replace(STILL, mirror=1.0), spacing=spacing, paint=paint)
    where = torch.nonzero(drawn.images[0, 0] > 0.5).float().mean(0)
    assert torch.allclose(where, middle(drawn.labels[0], 49), atol=0.7)


def test_stripped_scans_are_zero_outside_and_lose_no_brain(head):
    how = Ranges(stripped=1.0, ghost=0.5, near_brain=1.0)
    drawn = draw(head, *range(8), how=how)
    inside, outside = brain_table(), is_tissue("air", *OUTSIDE)
    for image, labels in zip(drawn.images[:, 0], drawn.labels, strict=True):
        assert (image[inside[labels.long()]] > 0).all()
        far = outside[labels.long()]
        assert (image[far] == 0).float().mean() > 0.8
        assert 0.02 < (image == 0).float().mean() < 0.98


@pytest.mark.parametrize("stripped", [0.0, 1.0])
def test_all_sequences_are_stripped_alike_or_none(head, stripped):
    drawn = draw(head, *range(4), how=Ranges(stripped=stripped), sequences=3, shape=(20, 22, 18), spacing=3.0)
    for zero in drawn.images == 0:
        shares = zero.float().mean((1, 2, 3))
        if stripped:
            assert shares.min() > 0.02
            assert torch.equal(zero, zero[:1].expand_as(zero))
        else:
            assert shares.max() < 0.02


def test_images_lie_between_0_and_1_and_are_finite(head):
    drawn = draw(head, *range(30), shape=(20, 24, 16), spacing=3.5, sequences=2)
    assert torch.isfinite(drawn.images).all()
    assert drawn.images.min() >= 0
    assert drawn.images.max() <= 1
    assert drawn.images.dtype == torch.float32
    assert drawn.labels.dtype == torch.uint8
    assert (drawn.images.amax((2, 3, 4)) > 0.5).all()


def test_look_up_is_indexing_where_places_are_whole(head):
    grid = torch.stack(torch.meshgrid(*[torch.arange(n).float() for n in head.labels.shape], indexing="ij"))
    assert torch.equal(look_up(head.labels, grid), head.labels)
    assert torch.equal(look_up(head.labels, grid + 0.49), head.labels)
    assert torch.equal(look_up(head.labels, grid - 0.49), head.labels)
    assert torch.equal(look_up(head.labels, grid + 1)[:-1, :-1, :-1], head.labels[1:, 1:, 1:])


def test_look_up_takes_the_outermost_voxel_outside():
    labels = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
    at = torch.tensor([[-5.0, 9.0, 0.4], [0.0, 9.0, -9.0], [0.0, 9.0, 2.6]]).reshape(3, 3, 1, 1)
    assert look_up(labels, at).flatten().tolist() == [0, 23, 3]


def test_a_still_scan_is_a_window_of_the_label_map(head):
    middle_of_brain = head.brain.sum(0)
    shape = [47 - int(both) % 2 for both in middle_of_brain]  # places are whole voxels, and the brain has no room
    start = [(int(both) - n + 1) // 2 for both, n in zip(middle_of_brain, shape, strict=True)]
    window = head.labels[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))]
    assert list(window.shape) == shape
    assert torch.equal(draw(head, 0, how=STILL, shape=shape).labels[0], window)


def test_spacing_is_in_millimetres(head):
    near, far = (draw(head, 0, how=STILL, spacing=spacing).at[0, 0] for spacing in (1.5, 3.0))
    torch.testing.assert_close(2 * (near[-1] - near[0]), far[-1] - far[0])


def test_thick_slices_blur_along_one_axis_alone():
    image = torch.randn(32, 32, 32, generator=torch.Generator().manual_seed(9))
    how, axes, ratios = replace(STILL, thick=1.0, thickest_mm=8.0), set(), []
    for seed in range(6):
        result = scan(image, 1.0, how, torch.Generator().manual_seed(seed))
        rough = torch.stack([result.diff(dim=axis).abs().mean() for axis in range(3)])
        along, *across = rough.sort().values.tolist()
        assert across[1] == pytest.approx(across[0], rel=0.15)
        axes.add(int(rough.argmin()))
        ratios.append(along / across[0])
    assert sum(ratio < 0.5 for ratio in ratios) >= 3
    assert len(axes) == 3


def test_known_contrast_keeps_the_order_of_a_t1w(monkeypatch):
    monkeypatch.setattr("bids_app.synthesis.scanner.generator.CONTRASTS", {"T1w": (0.15, 0.55, 0.85)})
    rows = []
    for seed in range(400):
        mean, _ = draw_brightness(Ranges(known=1.0), torch.Generator().manual_seed(seed))
        rows.append([float(mean[POSITION[label]]) for label in (2, 3, 4)])
    white, cortex, fluid = torch.tensor(rows).T
    ordered = (white > cortex) & (cortex > fluid)
    # Four in ten take the only contrast, the others three random tissues, which are in order one time in six.
    assert 0.4 < ordered.float().mean() < 0.6


def test_both_sides_of_a_structure_look_alike():
    for seed in range(20):
        mean, spread = draw_brightness(Ranges(), torch.Generator().manual_seed(seed))
        for left, right in ((2, 41), (3, 42), (17, 53)):
            assert mean[POSITION[left]] == mean[POSITION[right]]
            assert spread[POSITION[left]] == spread[POSITION[right]]
        assert (spread >= 0).all()


def test_texture_varies_around_the_mean_of_a_label():
    labels = torch.zeros(30, 30, 30, dtype=torch.uint8)
    labels[15:] = 1
    mean, spread = torch.zeros(len(LABELS)), torch.zeros(len(LABELS))
    mean[1], spread[1] = 0.5, 0.1
    image = textured(labels, mean, spread, torch.Generator().manual_seed(0))
    assert (image[:15] == 0).all()
    assert image[15:].mean() == pytest.approx(0.5, abs=0.01)
    assert image[15:].std() == pytest.approx(0.1, rel=0.05)


def test_a_map_with_a_unit_keeps_its_numbers(head):
    def paint(labels, at, generator):
        return torch.stack([700.0 + 0 * at[0], (labels > 0) * 700.0])

    drawn = draw(head, 0, how=replace(STILL, bias=0.5, gamma=0.4), paint=paint, sequences=2, units=[True, False])
    torch.testing.assert_close(drawn.images[0, 0], torch.full(SHAPE, 700.0))
    assert drawn.images[0, 1].max() <= 1


def test_jitter_keeps_zeros():
    images = torch.randn(2, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    images[:, :4] = 0
    moved = jittered(images, Ranges(), torch.Generator().manual_seed(1))
    assert torch.equal(moved == 0, images == 0)
    for before, after in zip(images[:, 4:].flatten(1), moved[:, 4:].flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(moved, images)


def test_a_flat_image_stays_finite():
    result = scan_all(torch.full((1, 8, 8, 8), 3.0), torch.zeros(8, 8, 8).byte(), 1.0, STILL, torch.Generator())
    assert torch.isfinite(result).all()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (0, 8, 8)}, "needs 3 sides"),
        ({"shape": (-3, 8, 8)}, "needs 3 sides"),
        ({"shape": (8, 8)}, "needs 3 sides"),
        ({"spacing": 0.0}, "a spacing"),
        ({"spacing": -1.0}, "a spacing"),
        ({"spacing": float("nan")}, "a spacing"),
        ({"sequences": 0}, "a sequence"),
    ],
)
def test_nothing_to_draw_is_refused(head, change, message):
    with pytest.raises(UsageError, match=message):
        draw_scans([head], [1], **{"shape": (8, 8, 8), **change})


@pytest.mark.faults
def test_nothing_to_draw_from_is_refused(head):
    with pytest.raises(UsageError, match="at least one label map"):
        draw_scans([], [1], shape=(8, 8, 8))
    with pytest.raises(UsageError, match="at least one seed"):
        draw_scans([head], [], shape=(8, 8, 8))
