from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.heads.head import draw_head, draw_pose
from bids_app.synthesis.scanner import signal
from bids_app.synthesis.scanner.signal import PhantomScan, acquisition_grid, fractions, render, tissue_signal


@pytest.fixture(scope="module")
def person():
    return draw_head(np.random.default_rng(3))


@pytest.fixture(scope="module")
def pose():
    return draw_pose(np.random.default_rng(4))


def look_at(person, pose, sequence="T1w", spacing=(3.0, 3.0, 3.0), axes="RAS", **options):
    whole = options.get("whole_head", False)
    grid = acquisition_grid(person, pose, spacing=spacing, axes=axes, oblique_deg=(3, -2, 4), whole_head=whole)
    return PhantomScan(sequence, grid, pose, **options)


def volume(share, grid):
    return share[1].sum() * abs(np.linalg.det(grid.affine[:3, :3]))


@pytest.mark.parametrize(
    ("sequence", "darkest_first"),
    [
        ("T1w", ["fluid", "grey", "white", "fat"]),
        ("T2w", ["white", "grey", "fluid"]),
        ("FLAIR", ["fluid", "white", "grey"]),
    ],
)
def test_tissues_are_ordered_as_radiologists_know_them(sequence, darkest_first):
    levels = [tissue_signal(sequence, tissue) for tissue in darkest_first]
    assert levels == sorted(levels)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 1.2), (1.0, 1.0, 4.0), (0.5, 0.5, 0.5)])
def test_shares_add_up_to_the_drawn_volume(person, pose, spacing):
    scan = look_at(person, pose, spacing=spacing, axes="PSR")
    shares = fractions(person, scan)
    for side, solid in person.habenulae.items():
        assert volume(shares[side], scan.grid) == pytest.approx(solid.volume, rel=0.01)


@pytest.mark.parametrize("axes", ["RAS", "LIA", "PSR", "LPS"])
def test_arrays_are_oriented_as_asked(person, pose, axes):
    grid = acquisition_grid(person, pose, axes=axes)
    assert "".join(nib.aff2axcodes(grid.affine)) == axes


def test_left_stays_left_whatever_the_orientation(person, pose):
    for axes in ("RAS", "LIA", "PSR"):
        scan = look_at(person, pose, axes=axes, spacing=(0.5, 0.5, 0.5))
        box, share = fractions(person, scan)["left"]
        corner = [s.start for s in box]
        index = [(np.indices(share.shape)[k] * share).sum() / share.sum() + corner[k] for k in range(3)]
        world = scan.grid.affine @ [*index, 1]
        assert world[:3] == pytest.approx(person.habenulae["left"].moved(pose).centre, abs=0.05)


def test_field_of_view_holds_the_whole_brain(person, pose):
    scan = look_at(person, pose, noise=0.0)
    image = render(person, scan, np.random.default_rng(0)) > 0
    edges = [image.take(end, axis) for axis in range(3) for end in (0, -1)]
    assert not any(edge.any() for edge in edges)


def test_stripped_scan_is_zero_outside_the_brain_and_whole_head_is_not(person, pose):
    rng = np.random.default_rng(0)
    assert render(person, look_at(person, pose), rng)[0, 0, 0] == 0
    assert (render(person, look_at(person, pose, whole_head=True), rng) > 0).mean() > 0.98


def test_same_seed_gives_the_same_image(person, pose):
    first, second = (render(person, look_at(person, pose), np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first, second)


def test_habenula_is_a_little_brighter_than_the_thalamus_beside_it(person):
    scan = look_at(person, np.eye(4), spacing=(1.0, 1.0, 1.0), noise=0.0, bias=0.0)
    image = render(person, scan, np.random.default_rng(0))
    for side, outward in (("left", -1), ("right", 1)):
        box, share = fractions(person, scan)[side]
        habenula = image[box][share > 0.9].mean()
        beside = person.habenulae[side].centre + np.array([outward * 5.0, 0, 0])
        thalamus = image[tuple(np.round(np.linalg.solve(scan.grid.affine, [*beside, 1])[:3]).astype(int))]
        assert 1.0 < habenula / thalamus < 1.25


def test_sides_are_swapped_when_the_participant_is_mirrored(person):
    mirror = np.diag([-1.0, 1, 1, 1])
    scan = look_at(person, np.eye(4), axes="RAS")
    flipped = PhantomScan("T1w", signal.ScanGrid(scan.grid.shape, mirror @ scan.grid.affine), np.eye(4))
    original, mirrored = fractions(person, scan), fractions(person.mirrored(), flipped)
    assert mirrored["right"][0] == original["left"][0]
    assert mirrored["right"][1] == pytest.approx(original["left"][1], abs=1e-6)


def test_image_does_not_depend_on_the_number_of_threads(person, pose, monkeypatch):
    scan = look_at(person, pose)
    several = render(person, scan, np.random.default_rng(0))
    monkeypatch.setattr(signal, "THREADS", 1)
    assert np.array_equal(render(person, scan, np.random.default_rng(0)), several)


def test_the_coils_field_has_the_strength_asked_for_and_no_edges():
    shading = signal.draw_shading(0.1, np.random.default_rng(0))
    field = np.log(shading(torch.ones(40, 50, 30)).numpy())
    assert field.std() == pytest.approx(0.1, rel=0.1)
    assert np.abs(np.diff(field, 2, axis=1)).max() < 0.005


def test_unknown_sequence_is_refused(person, pose):
    with pytest.raises(UsageError, match="T1w, T2w, FLAIR"):
        render(person, look_at(person, pose, sequence="DWI"), np.random.default_rng(0))


@pytest.mark.parametrize("axes", ["RAA", "RA", "XYZ", "RLS"])
def test_impossible_axes_are_refused(person, pose, axes):
    with pytest.raises(UsageError, match="axes"):
        acquisition_grid(person, pose, axes=axes)
