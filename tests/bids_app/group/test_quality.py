"""Which sessions are to be looked at, and what answers are without them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from bids_app.errors import DataError
from bids_app.group.collect import Session, collect
from bids_app.group.plan import GroupPlan
from bids_app.group.quality import FAIL, PASS, WARN, judge, quality_table, sensitivity
from bids_app.group.results import Answers
from bids_app.group.tables import write_group
from tests.bids_app.group.test_tables import rows_of, session_with
from tests.bids_app.report.fake import write_failed

DONE = Session("sub-1", "sub-1", "n/a", "habenula", "done", "", None, 1.0, 4, "")


@pytest.mark.parametrize(
    ("change", "numbers", "verdict"),
    [
        ({}, {"worst_z": 3.4, "worst_region": "a"}, PASS),
        ({}, {}, PASS),
        ({}, {"worst_z": -3.6, "worst_region": "a"}, WARN),
        ({}, {"worst_z": 7.1, "worst_region": "a"}, FAIL),
        ({}, {"not_found": 1}, WARN),
        ({"rating": "usable"}, {}, WARN),
        ({"rating": "bad"}, {}, FAIL),
        ({"warnings": "look at the mask"}, {}, WARN),
        ({"state": "failed", "reason": "no T1w", "warnings": "x"}, {}, FAIL),
    ],
)
def test_the_rules_are_those_that_the_dictionary_states(change, numbers, verdict):
    found, reasons = judge(Session(**{**DONE.__dict__, **change}), numbers)
    assert found == verdict
    assert bool(reasons) == (verdict != PASS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty sessions, of which one patient's volume is absurd and one ended with an error."""
    root = tmp_path_factory.mktemp("quality")
    lines = ["participant_id\tgroup"]
    for i in range(30):
        session_with(root, f"sub-{i:02d}", 90.0 if i == 29 else 20 + i % 7 / 3)
        lines.append(f"sub-{i:02d}\t{'cp'[i % 2]}")
    write_failed(root, "sub-30", reason="no T1w")
    (root / "ratings").mkdir()
    (root / "ratings/one.tsv").write_text(
        "participant_id\tsession_id\trecipe\trating\tcomment\nsub-03\tn/a\thabenula\tusable\tblurred\n"
    )
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    write_group(root, GroupPlan("group", "c"))
    return root


def test_every_session_has_a_verdict_with_its_reason(folder):
    rows = {r["participant_id"]: r for r in rows_of(folder / "group_quality.tsv")}
    assert rows["sub-29"]["verdict"] == "fail"
    assert float(rows["sub-29"]["worst_z"]) > 7
    assert rows["sub-30"]["reasons"] == "no T1w"
    assert (rows["sub-03"]["verdict"], rows["sub-03"]["rating"]) == ("warn", "usable")
    assert rows["sub-05"]["verdict"] == "pass"
    assert set(rows["sub-05"]) == set(json.loads((folder / "group_quality.json").read_text()))


def test_contrasts_are_asked_again_without_the_sessions_in_doubt(folder):
    rows = rows_of(folder / "group_sensitivity.tsv")
    one = next(r for r in rows if r["measure"] == "habenula_left_soft_mm3" and r["kind"] == "difference")
    assert (one["n"], one["n_without"]) == ("30", "28")
    assert abs(float(one["estimate"])) > 3 > abs(float(one["estimate_without"]))
    page = (folder / "group.html").read_text()
    assert "Without the 2 sessions in doubt" in page
    assert "Quality: " in page


def test_a_folder_of_failures_has_a_table_of_quality_too(tmp_path):
    write_failed(tmp_path, "sub-30", reason="no T1w")
    (row,) = quality_table(collect(tmp_path)).to_dict("records")
    assert row["verdict"] == FAIL


def test_what_changes_is_named():
    table = pd.DataFrame({"v": range(4)}, index=list("abcd"))
    rows = pd.DataFrame(
        {"measure": "v", "kind": "difference", "contrast": "p-c", "n": 4, "estimate": [1.0], "p": [0.01]}
    )
    answers = Answers()
    sensitivity(rows, {"d"}, table, lambda part: rows.assign(n=len(part), estimate=-1.0, p=0.4), answers)
    (row,) = answers.tables["group_sensitivity.tsv"].to_dict("records")
    assert row["changes"] == "significance, direction"
    assert row["n_without"] == 3
    assert answers.shown["sensitivity"] == {"sessions": 1, "rows": 1, "changed": 1}


def test_nothing_in_doubt_is_no_table_and_too_few_left_is_a_warning():
    table = pd.DataFrame({"v": range(4)}, index=list("abcd"))
    rows = pd.DataFrame({"measure": ["v"], "kind": "side", "contrast": "x", "n": 4, "estimate": 1.0, "p": 0.01})
    answers = Answers()
    sensitivity(rows, set(), table, lambda part: rows, answers)
    assert not answers.tables

    def refuse(part: pd.DataFrame) -> pd.DataFrame:
        raise DataError("one group only")

    sensitivity(rows, {"a"}, table, refuse, answers)
    assert "one group only" in answers.warnings[0]
    assert not answers.tables
