import pytest

from bids_app.report.render import duration, number, render


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(4.2, "4.2 s"), (65, "1 min 05 s"), (7800, "2 h 10 min"), (None, "–"), (float("nan"), "–")],
)
def test_durations_are_for_people(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(("value", "shown"), [(1.25, "1.2"), (-3, "−3.0"), ("x", "–"), (float("nan"), "–")])
def test_numbers_have_a_real_minus_or_a_dash(value, shown):
    assert number(value) == shown


def test_a_page_is_made_of_a_record_that_lacks_everything():
    assert "<html" in render("session.html.j2").lower()
