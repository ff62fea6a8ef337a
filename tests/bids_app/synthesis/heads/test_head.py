from __future__ import annotations

import sys

import numpy as np
import pytest

from bids_app.errors import InputMissing
from bids_app.synthesis.heads import head
from bids_app.synthesis.heads.head import Ellipsoid, draw_head, draw_pose, draw_volumes, load_tissue_maps


@pytest.fixture(scope="module")
def person():
    return draw_head(np.random.default_rng(3))


@pytest.fixture(scope="module")
def points():
    """Points throughout the brain, participant world, mm."""
    return np.random.default_rng(0).uniform((-65, -100, -55), (65, 65, 75), (500, 3))


def test_same_seed_gives_the_same_participant(person):
    again = draw_head(np.random.default_rng(3))
    assert np.array_equal(again.habenulae["left"].centre, person.habenulae["left"].centre)
    assert np.array_equal(again.deformation.coefficients, person.deformation.coefficients)


def test_habenulae_have_the_volume_that_was_asked_for():
    volumes = {"left": 12.5, "right": 21.0}
    person = draw_head(np.random.default_rng(0), volumes=volumes)
    assert {side: solid.volume for side, solid in person.habenulae.items()} == pytest.approx(volumes)


def test_volumes_are_drawn_as_measured_in_1001_people():
    rng = np.random.default_rng(0)
    drawn = [draw_volumes(rng) for _ in range(2000)]
    left, right = (np.array([d[side] for d in drawn]) for side in ("left", "right"))
    assert (left.mean() + right.mean()) / 2 == pytest.approx(17.2, abs=0.3)
    assert left.std() == pytest.approx(3.6, abs=0.2)
    assert np.corrcoef(left, right)[0, 1] == pytest.approx(0.455, abs=0.06)


def test_left_habenula_is_on_the_left(person):
    left, right = (person.deformation.to_template(person.habenulae[s].centre) for s in ("left", "right"))
    assert left[0] < -1 < 1 < right[0]


def test_habenulae_lie_where_the_atlas_has_them():
    for seed in range(6):
        person = draw_head(np.random.default_rng(seed))
        for side, expected in head.HABENULA_CENTRE_MM.items():
            found = person.deformation.to_template(person.habenulae[side].centre)
            assert np.linalg.norm(found - expected) < 2.5


def test_habenula_borders_on_the_third_ventricle(person):
    template = load_tissue_maps()
    for side, inward in (("left", 1), ("right", -1)):
        centre = person.deformation.to_template(person.habenulae[side].centre)
        index = np.round(centre + np.array([inward * 2.5, 0, 0]) - template.affine[:3, 3]).astype(int)
        assert template.fluid[tuple(index)] > 0.3


def test_deformation_can_be_inverted(person, points):
    there_and_back = person.deformation.to_participant(person.deformation.to_template(points))
    assert np.abs(there_and_back - points).max() < 1e-3


def test_deformation_does_not_fold(points):
    for seed in range(3):
        deformation = draw_head(np.random.default_rng(seed)).deformation
        steps = [deformation.to_template(points + step) - deformation.to_template(points) for step in 0.1 * np.eye(3)]
        jacobian = np.linalg.det(np.stack(steps, axis=-1) / 0.1)
        assert jacobian.min() > 0.2


def test_no_strength_leaves_the_template_as_it_is(points):
    person = draw_head(np.random.default_rng(1), strength=0, widening=0)
    assert person.deformation.to_template(points) == pytest.approx(points)


def test_halves_of_a_brain_differ(person, points):
    mirror = np.array([-1, 1, 1])
    other = person.deformation.to_template(points * mirror) * mirror
    assert np.abs(other - person.deformation.to_template(points)).mean() > 0.3


def test_mirroring_swaps_the_sides(person, points):
    mirror = np.array([-1, 1, 1])
    mirrored = person.mirrored()
    assert mirrored.habenulae["left"].volume == person.habenulae["right"].volume
    assert mirrored.habenulae["left"].centre == pytest.approx(person.habenulae["right"].centre * mirror)
    expected = person.deformation.to_template(points * mirror) * mirror
    assert mirrored.deformation.to_template(points) == pytest.approx(expected)


def test_ellipsoid_integrates_to_its_volume():
    solid = Ellipsoid(np.array([0.1, -0.2, 0.05]), np.array([1.25, 1.62, 2.03]), np.eye(3))
    axis = np.arange(-3, 3, 0.125)
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    assert solid.occupancy(cells, 0.125).sum() * 0.125**3 == pytest.approx(solid.volume, rel=0.005)


def test_pose_is_rigid():
    pose = draw_pose(np.random.default_rng(5))
    assert pose[:3, :3] @ pose[:3, :3].T == pytest.approx(np.eye(3))
    assert np.linalg.det(pose) == pytest.approx(1)


def test_template_without_its_own_habenulae_has_no_white_matter_there():
    template = load_tissue_maps()
    index = tuple(np.round(np.array([3.3, -23.5, 2.6]) - template.affine[:3, 3]).astype(int))
    assert template.white[index] == 0
    assert template.t1[index] <= 172


def test_template_is_read_without_importing_nilearn(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    load_tissue_maps.__wrapped__()


def test_missing_nilearn_is_named(monkeypatch):
    monkeypatch.setattr(head, "find_spec", lambda name: None)
    with pytest.raises(InputMissing, match="nilearn"):
        load_tissue_maps.__wrapped__()
