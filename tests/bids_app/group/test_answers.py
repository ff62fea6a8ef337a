"""The group level from a folder of sessions to its answers, as a person asks for them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from bids_app.errors import DataError
from bids_app.group.answers import unit_of
from bids_app.group.plan import GroupPlan
from bids_app.group.tables import write_group
from tests.bids_app.group.test_tables import session_with


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """48 sessions: patients have 3 mm³ less, site two 5 mm³ more, one name is hostile."""
    root, rng = tmp_path_factory.mktemp("cohort"), np.random.default_rng(0)
    lines = ["participant_id\tgroup\tage\tsite\tnote"]
    for i in range(48):
        patient, site, age = i % 2, i // 2 % 2, 20 + i % 23
        session_with(root, f"sub-{i:02d}", 20 - 3 * patient + 5 * site - 0.05 * age + rng.normal())
        group = "=patients<b>" if patient else "controls"
        lines.append(f"sub-{i:02d}\t{group}\t{age}\t{'ab'[site]}\t=1+1")
    (root / "participants.tsv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    return root


PLAN = GroupPlan("group", "controls", ("age",), "site", harmonise="combat")


@pytest.fixture(scope="module")
def answered(cohort):
    write_group(cohort, PLAN)
    return cohort


def test_planted_difference_is_found_and_named(answered):
    found = rows_of(answered / "group_contrasts.tsv")
    one = next(r for r in found if r["kind"] == "difference" and r["measure"] == "habenula_left_soft_mm3")
    assert float(one["low"]) < -3 < float(one["high"])
    assert one["contrast"] == "'=patients<b>-controls"
    assert {"side", "slope"} <= {r["kind"] for r in found}
    assert any(r["measure"] == "habenula_asymmetry" for r in found)


@pytest.mark.parametrize("name", ["group_contrasts", "group_harmonisation"])
def test_every_column_of_an_answer_is_in_its_dictionary(answered, name):
    entries = json.loads((answered / f"{name}.json").read_text())
    assert set(rows_of(answered / f"{name}.tsv")[0]) <= set(entries)


def test_harmonised_volumes_stand_beside_the_measured_ones(answered):
    raw, clean = (rows_of(answered / f"group_volumes_{n}.tsv") for n in ("wide", "harmonised"))
    sides = [[float(r["habenula_left_soft_mm3"]) for r in t if r["site"] == s] for t in (raw, clean) for s in "ab"]
    means = [np.mean(side) for side in sides]
    assert means[1] - means[0] == pytest.approx(5, abs=1)
    assert means[3] - means[2] == pytest.approx(0, abs=0.5)
    one = rows_of(answered / "group_harmonisation.tsv")[0]
    assert float(one["site_before"]) > 0.3 > 0.05 > float(one["site_after"])


def test_a_table_of_the_groups_has_people_covariates_and_measures(answered):
    rows = {r["row"]: r for r in rows_of(answered / "group_table1.tsv")}
    assert rows["participants"]["controls"] == "24"
    assert rows["age"]["test"] == "Welch's t test"
    assert rows["site: a"]["controls"] == "12 (50 %)"
    assert rows["habenula_left_soft_mm3"]["difference"].startswith("−2")


def test_formulas_of_participants_are_not_run(answered):
    assert {r["note"] for r in rows_of(answered / "group_volumes_wide.tsv")} == {"'=1+1"}
    assert "patients<b>" not in (answered / "group.html").read_text()


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (GroupPlan(harmonise="combat"), "needs --site-column"),
        (GroupPlan("group", site="nowhere"), "--site-column: there is no column 'nowhere'"),
        (GroupPlan("group", measures=("habenula_lft*",)), "--measures: there is no column"),
        (GroupPlan("group", site="site", harmonise="combat", harmonise_on="controls"), "needs --group-column and"),
    ],
)
def test_what_cannot_be_done_leaves_all_files_as_they_are(answered, plan, says):
    plan = plan if plan.asks else GroupPlan(**{**plan.__dict__, "covariates": ("age",)})
    before = {p.name: p.read_bytes() for p in answered.glob("group*")}
    with pytest.raises(DataError, match=says):
        write_group(answered, plan)
    assert {p.name: p.read_bytes() for p in answered.glob("group*")} == before


def test_a_unit_is_read_off_the_end_of_a_name():
    assert [unit_of(n) for n in ("habenula_left_soft_mm3", "brain_mask_ml", "habenula_asymmetry")] == ["mm3", "ml", "1"]


def test_versions_that_differ_are_named_and_refused(tmp_path):
    for i in range(2):
        session_with(tmp_path, f"sub-{i}", 17.0)
        path = tmp_path / f"logs/sub-{i}/record.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": f"0.{i}"}))
    with pytest.raises(DataError, match=r"version: 0\.0, 0\.1"):
        write_group(tmp_path)
    write_group(tmp_path, GroupPlan(allow_mixed=True))
    assert "taken together as asked" in (tmp_path / "group.html").read_text()
