"""The normative model as a person asks for it: fitted in one folder, used in another, told on the page."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest

from bids_app.errors import DataError
from bids_app.group.normative_answers import COLUMNS, SUMMARY, answer_normative, summarise
from bids_app.group.performance import PERFORMANCE
from bids_app.group.plan import GroupPlan
from bids_app.group.results import Answers
from bids_app.group.tables import write_group
from tests.bids_app.group.test_tables import session_with


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def make(root, n: int, seed: int, groups: str, site: str = "ab") -> None:
    """Volumes fall with age; group p has 4 mm³ less; one p is far off."""
    rng = np.random.default_rng(seed)
    lines = ["participant_id\tgroup\tage\tsex\tsite"]
    for i in range(n):
        group, age, sex = groups[i % len(groups)], 20 + (i * 7) % 50, "FM"[i // 2 % 2]
        volume = 40 - 0.2 * age + 2 * (sex == "M") - 4 * (group == "p") + rng.normal() - 15 * (i == 1)
        session_with(root, f"sub-{i:03d}", volume)
        lines.append(f"sub-{i:03d}\t{group}\t{age}\t{sex}\t{site[i % 3 % len(site)]}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")


PLAN = GroupPlan("group", "c", ("sex",), "site", normative="fit")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    root = tmp_path_factory.mktemp("fitted")
    make(root, 80, 0, "cp")
    write_group(root, PLAN)
    return root


def test_patients_lie_below_and_controls_are_standard(fitted):
    rows = {(r["measure"], r["group"]): r for r in rows_of(fitted / "group_normative_summary.tsv")}
    control, patient = rows["habenula_left_soft_mm3", "c"], rows["habenula_left_soft_mm3", "p"]
    assert float(control["mean_z"]) == pytest.approx(0, abs=0.1)
    assert float(control["sd_z"]) == pytest.approx(1, abs=0.1)
    assert float(patient["mean_z"]) < -2
    assert float(patient["auc_high"]) < 0.2
    assert control["auc"] == "n/a"


def test_every_row_is_consistent_and_says_how(fitted):
    rows = [r for r in rows_of(fitted / "group_normative.tsv") if r["measure"] == "habenula_left_soft_mm3"]
    assert {r["scored"] for r in rows} == {"leave-one-out", "new"}
    for r in rows:
        z = (float(r["value"]) - float(r["expected"])) / float(r["deviation"])
        assert float(r["z"]) == pytest.approx(z, rel=1e-3, abs=1e-3)
    assert set(rows[0]) == set(COLUMNS) == set(json.loads((fitted / "group_normative.json").read_text()))


def test_page_names_who_stands_out(fitted):
    page = (fitted / "group.html").read_text()
    assert "Against people of the same age" in page
    assert "40 participants of the group c" in page
    assert "cubic B-spline of age, sex, and a shift per site" in page


def test_model_is_used_in_another_folder_with_a_new_site(fitted, tmp_path):
    make(tmp_path, 30, 1, "cp", site="xab")
    model = fitted / "group_normative_model.json"
    write_group(tmp_path, GroupPlan("group", "c", site="site", normative=str(model)))
    rows = {(r["measure"], r["group"]): r for r in rows_of(tmp_path / "group_normative_summary.tsv")}
    assert float(rows["habenula_left_soft_mm3", "c"]["mean_z"]) == pytest.approx(0, abs=0.5)
    assert "has not seen the site x" in (tmp_path / "group.html").read_text()
    assert not (tmp_path / "group_normative_model.json").exists()


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (GroupPlan("group", normative="fit"), "--control-group"),
        (GroupPlan("group", "nobody", normative="fit"), "control group .nobody."),
        (GroupPlan("group", "c", normative="fit", age="years"), "no column 'years'"),
        (GroupPlan("group", "c", ("group2",), normative="fit"), "no column 'group2'"),
        (GroupPlan("group", "c", normative="none.json"), "cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_told_and_nothing_written(fitted, tmp_path, plan, says):
    make(tmp_path, 6, 2, "cp")
    with pytest.raises(DataError, match=says):
        write_group(tmp_path, plan)
    assert not (tmp_path / "group_normative.tsv").exists()


def test_without_groups_everybody_is_scored_without_themselves():
    rng = np.random.default_rng(0)
    wide = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(40)], "session_id": "n/a"})
    wide = wide.assign(age=rng.uniform(20, 60, 40).astype(str), v=rng.normal(100, 5, 40))
    answers = Answers()
    answer_normative(wide, ["v"], GroupPlan(normative="fit"), answers)
    assert set(answers.tables["group_normative.tsv"]["scored"]) == {"leave-one-out"}
    assert answers.tables["group_normative_summary.tsv"]["group"].tolist() == ["all"]


def test_unknown_group_has_a_row_of_its_own_and_columns_are_explained():
    long = pd.DataFrame({"measure": "v", "participant_id": list("abc"), "z": [0.0, 3.0, np.nan]})
    found = summarise(long, np.array(["c", None, "c"], object), "c")
    assert found["group"].tolist() == ["c", "n/a"]
    assert set(found) == set(SUMMARY)
    assert PERFORMANCE["measure"]
