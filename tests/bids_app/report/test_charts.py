"""Chart geometry."""

from __future__ import annotations

import pytest

from bids_app.report import charts
from bids_app.report.group import group_order, side_pairs


def test_dots_do_not_overlap():
    heights = [100.0, 100.5, 101.0, 101.0, 102.0]
    shifts = charts.swarm(heights, 30)
    places = list(zip(shifts, heights, strict=True))
    for i, a in enumerate(places):
        for b in places[:i]:
            assert abs(a[0] - b[0]) >= 2 * charts.RADIUS * 0.99 or abs(a[1] - b[1]) >= 2 * charts.RADIUS


def test_places_are_the_same_every_time():
    assert charts.swarm([5.0] * 20, 30) == charts.swarm([5.0] * 20, 30)


def test_dots_stay_in_their_column():
    assert max(map(abs, charts.swarm([5.0] * 200, 30))) <= 30


@pytest.mark.parametrize(("low", "high"), [(0, 17.3), (0.0, 0.0), (-3, 2), (1000, 1e6)])
def test_ticks_cover_the_range(low, high):
    marks = charts.ticks(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 9


def test_summary_of_few_numbers():
    assert charts.summary([])["n"] == 0
    assert charts.summary([3.0]) == {"n": 1, "median": 3.0, "q1": None, "q3": None}
    assert charts.summary([1.0, 2.0, 3.0])["q1"] == 1.5


@pytest.mark.parametrize(
    ("left", "right"), [("Left habenula", "Right habenula"), ("habenula_L", "habenula_R"), ("lh-insula", "rh-insula")]
)
def test_sides_are_paired_by_name(left, right):
    assert side_pairs([("a", right), ("a", left)]) == [(("a", left), ("a", right))]


def test_names_without_sides_are_not_paired():
    assert side_pairs([("a", "cleft"), ("a", "bright"), ("a", "lesion"), ("a", "Left thalamus")]) == []


def test_unknown_group_comes_last():
    assert group_order(["n/a", "b", "a", "b"]) == ["a", "b", "n/a"]
