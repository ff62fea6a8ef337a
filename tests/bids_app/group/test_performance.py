"""Targets' answers against the truth, from an output folder."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from bids_app.bids.record import Scores
from bids_app.bids.record_file import read_session, write_record
from bids_app.errors import DataError
from bids_app.group.predictions import Given, target_of
from bids_app.group.tables import write_group
from tests.bids_app.group.test_tables import session_with


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def answers(sick: float, age: float, abstained: bool) -> dict:
    both = {"members": 1, "abstained": abstained, "reason": "unlike the training" if abstained else None}
    levels = None if abstained else {"no": round(1 - sick, 4), "yes": round(sick, 4)}
    value = None if abstained else age
    return {
        "sick": {**both, "column": "dx", "kind": "binary", "levels": levels, "set": ["no", "yes"], "coverage": 0.95},
        "age": {**both, "kind": "continuous", "value": value, "unit": "years", "low": None, "high": None},
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("scores"), np.random.default_rng(0)
    lines = ["participant_id\tdx\tage\tsite"]
    for i in range(40):
        key, sick, age = f"sub-{i:02d}", i % 2, 30 + i
        session_with(root, key, 20.0)
        record = read_session(root, key)
        logit = 2 * (sick - 0.5) + rng.normal()
        given = answers(1 / (1 + np.exp(-logit)), age + 3 * rng.normal(), i == 39)
        record.recipes["habenula"].scores = Scores(recipe="habenula", targets=given)
        write_record(root, record)
        lines.append(f"{key}\t{'yes' if sick else 'no'}\t{age if i else 'n/a'}\t{'ab'[i // 20]}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    write_group(root)
    return root


def test_every_answer_has_a_row_and_abstention_its_reason(cohort):
    rows = rows_of(cohort / "group_predictions.tsv")
    assert len(rows) == 80
    last = rows[-2]
    assert (last["answer"], last["abstained"], last["truth"]) == ("n/a", "unlike the training", "yes")
    assert rows[0]["levels"].startswith("no 0.")


def test_measures_have_intervals_and_are_also_by_site(cohort):
    rows = rows_of(cohort / "group_performance.tsv")
    auc = next(r for r in rows if r["measure"] == "auc" and r["who"] == "everybody")
    assert 0.7 < float(auc["value"]) < 1
    assert float(auc["low"]) < float(auc["value"]) < float(auc["high"])
    assert auc["n"] == "39"
    assert {"site a", "site b"} <= {r["who"] for r in rows}
    counts = [float(r["value"]) for r in rows if r["measure"].startswith("count:")]
    assert sum(counts) == 39
    mae = next(r for r in rows if r["target"] == "age" and r["measure"] == "mae")
    assert mae["n"] == "38"
    assert 1 < float(mae["value"]) < 5


def test_page_draws_them(cohort):
    page = (cohort / "group.html").read_text()
    for text in ("ROC, precision and recall", "decision curve", "calibration", "age (habenula)"):
        assert text in page


def test_a_value_that_is_no_number_is_told(cohort, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(cohort, copy)
    table = (copy / "participants.tsv").read_text().replace("\t45\t", "\told\t")
    (copy / "participants.tsv").write_text(table)
    with pytest.raises(DataError, match="age of sub-15"):
        write_group(copy)


def test_no_target_where_all_abstained():
    assert target_of([Given("k", "sub-1", "n/a", "r", "t", {"kind": "binary", "abstained": True})]) is None
