"""Sessions that repeat: sessions.tsv is read, years are counted, reliability and change per year are answered."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest

from bids_app.group.participants import Participants
from bids_app.group.plan import GroupPlan
from bids_app.group.reliability import reliability_table, years_of
from bids_app.group.sessions import add_sessions
from bids_app.group.tables import write_group
from tests.bids_app.group.test_tables import session_with


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """24 participants with two sessions a year apart, 2 mm³ less in the second; one table has CRLF and a BOM."""
    root, rng = tmp_path_factory.mktemp("repeated"), np.random.default_rng(0)
    lines = ["participant_id\tgroup\tage"]
    (root / "logs").mkdir()
    for i in range(24):
        own = 30 + 4 * rng.normal()
        for visit in (1, 2):
            session_with(root, f"sub-{i:02d}_ses-{visit:02d}", own - 2 * (visit - 1) + 0.3 * rng.normal())
        lines.append(f"sub-{i:02d}\t{'ab'[i % 2]}\t{30 + i}")
        table = "session_id\tacq_time\tscore\nses-01\t2020-01-01T10:00:00\t5\nses-02\t2021-01-01T10:00:00\t7\n"
        if i == 3:
            table = "\ufeff" + table.replace("\n", "\r\n")
        (root / "logs" / f"sub-{i:02d}_sessions.tsv").write_text(table, encoding="utf-8", newline="")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    write_group(root, GroupPlan("group", "a", ("age",)))
    return root


def test_columns_of_sessions_stand_beside_the_numbers(answered):
    rows = rows_of(answered / "group_volumes_wide.tsv")
    assert [r["score"] for r in rows[:2]] == ["5", "7"]
    assert rows[0]["age"] == rows[1]["age"] == "30"


def test_change_per_year_is_found(answered):
    found = rows_of(answered / "group_contrasts.tsv")
    one = next(r for r in found if r["kind"] == "change per year" and r["measure"] == "habenula_left_soft_mm3")
    assert float(one["low"]) < -2 < float(one["high"])
    assert float(one["high"]) < 0


def test_reliability_is_high_and_knows_the_change(answered):
    one = rows_of(answered / "group_reliability.tsv")[0]
    assert float(one["icc_3_1"]) > 0.95 > float(one["icc_2_1"])
    assert float(one["mean_change"]) == pytest.approx(-2, abs=0.3)
    assert float(one["years"]) == pytest.approx(1, abs=0.01)
    assert "Repeated sessions" in (answered / "group.html").read_text()


def test_a_session_goes_before_its_participant(tmp_path):
    people = Participants(["age"], {"sub-1": {"age": "50"}})
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "sub-1_sessions.tsv").write_text("session_id\tage\nses-1\t51\nses-1\t52\nses-2\tn/a\n")
    add_sessions(people, tmp_path, [("sub-1", "ses-1"), ("sub-1", "ses-2"), ("sub-2", "n/a")])
    assert [people.value("sub-1", s, "age") for s in ("ses-1", "ses-2")] == ["51", "50"]
    assert "more than once" in people.warnings[0]
    assert people.columns == ["age"]


def test_table_without_session_id_is_told(tmp_path):
    people = Participants()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "sub-1_sessions.tsv").write_text("a\tb\n1\t2\n")
    add_sessions(people, tmp_path, [("sub-1", "ses-1")])
    assert any("session_id" in text for text in people.warnings)


def test_years_from_ages_or_times_or_not_at_all():
    table = pd.DataFrame(
        {"participant_id": ["a", "a", "b"], "age": ["40", "41.5", "60"], "acq_time": ["2020-01-01", "x", ""]}
    )
    assert years_of(table, GroupPlan(), ["age"]).tolist() == [0, 1.5, 0]
    assert years_of(table, GroupPlan(), []) is None
    assert years_of(table, GroupPlan(), ["acq_time"]) is None  # one time only is readable


def test_too_few_or_missing_pairs_have_no_row():
    wide = pd.DataFrame({"participant_id": ["a", "a", "b", "b"], "v": [1.0, 2, 3, np.nan]})
    assert reliability_table(wide, ["v"], {}, None).empty
