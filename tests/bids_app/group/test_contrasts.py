"""Planted differences, slopes, interactions and correlations come out; what cannot be asked gives a sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_app.errors import DataError
from bids_app.group.contrasts import COLUMNS, analyse
from bids_app.group.plan import GroupPlan

BASE = GroupPlan(group="group", control_group="control", covariates=("age", "sex"))


def cohort(n=300, seed=0, repeats=1):
    """left_soft_mm3: -2 in patients, -0.1 a year, in patients -0.2 a year, 1 in men; right_soft_mm3: severity."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), repeats)
    patient, age, man = rng.random(n) < 0.5, rng.uniform(20, 60, n), rng.random(n) < 0.5
    severity = rng.normal(20, 5, n)
    site = rng.integers(0, 3, n)
    left = 20 - 2 * patient - (0.1 + 0.1 * patient) * (age - 40) + man + site + rng.normal(size=n)
    right = 20 - 0.2 * (severity - 20) + rng.normal(size=n)
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{i}" for i in range(n)],
            "left_soft_mm3": left,
            "right_soft_mm3": right,
            "group": np.where(patient, "patient", "control"),
            "age": [f"{a:.2f}" for a in age],
            "sex": np.where(man, "m", "f"),
            "score": [f"{s:.2f}" for s in severity],
            "site": site.astype(str),
        }
    ).iloc[who]
    table.index = pd.RangeIndex(len(table))
    return table.astype(dict.fromkeys(("group", "age", "sex", "score", "site"), object))


def row(found, **where):
    for name, value in where.items():
        found = found[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def found():
    plan = GroupPlan(
        "group", "control", ("age", "sex"), "site", ("patient-control", "group:age", "group:sex"), ("score",)
    )
    return analyse(cohort(), ["left_soft_mm3", "right_soft_mm3"], plan, units={"left_soft_mm3": "mm3"})


@pytest.mark.parametrize(
    ("kind", "contrast", "truth"),
    [
        ("difference", "patient-control", -2.0),
        ("slope", "age", -0.15),
        ("category", "sex[m]", 1.0),
        ("interaction", "group:age", -0.1),
        ("interaction", "group:sex", 0.0),
    ],
)
def test_what_was_planted_lies_in_the_interval(found, kind, contrast, truth):
    one = row(found, measure="left_soft_mm3", kind=kind, contrast=contrast)
    assert one["low"] < truth < one["high"]
    assert (one["p"] < 0.001) == (truth != 0)
    assert one["n"] == 300
    assert one["test"].startswith("t test; least squares")
    assert one["unit"] == "mm3"


def test_a_scale_is_correlated_over_everybody_and_in_each_group(found):
    every = row(found, measure="right_soft_mm3", kind="correlation", contrast="score")
    assert every["low"] < -np.sqrt(0.5) < every["high"]
    names = found.loc[found["kind"] == "correlation", "contrast"].unique()
    assert set(names) == {"score", "score in control", "score in patient"}


def test_every_column_is_defined_and_every_p_names_its_test(found):
    assert set(found.columns) == set(COLUMNS)
    assert found.loc[found["p"].notna(), "test"].notna().all()
    assert (found["p_holm"] >= found["p_fdr"]).all()
    assert (found["p_fdr"] >= found["p"]).all()


def test_asymmetry_is_held_against_zero_at_the_means_of_covariates():
    table = cohort()
    rng = np.random.default_rng(1)
    table["left_asymmetry"] = 0.05 + 0.01 * rng.normal(size=len(table))
    one = row(analyse(table, ["left_asymmetry"], BASE), kind="side")
    assert one["estimate"] == pytest.approx(0.05, abs=0.002)


def test_three_groups_are_compared_in_pairs_and_at_once():
    table = cohort()
    table.loc[:60, "group"] = "other"
    found = analyse(table, ["left_soft_mm3"], BASE)
    pairs = found.loc[found["kind"] == "difference", "contrast"].tolist()
    assert pairs == ["other-control", "patient-control", "patient-other"]
    assert row(found, kind="groups")["test"].startswith("Wald F test")


def test_repeated_sessions_get_a_mixed_model_and_a_change_per_year():
    table = cohort(n=60, repeats=2)
    rng = np.random.default_rng(5)
    years = pd.Series(np.tile([0.0, 2.0], 60))
    patient = (table["group"] == "patient").to_numpy()
    table["left_soft_mm3"] += rng.normal(size=120) * 0.3 - years * (0.2 + 0.5 * patient)
    found = analyse(table, ["left_soft_mm3"], BASE, years=years)
    assert "mixed model" in row(found, kind="difference")["test"]
    change = row(found, kind="change per year", contrast="patient-control")
    assert change["low"] < -0.5 < change["high"]
    assert row(found, kind="change per year", contrast="control")["estimate"] == pytest.approx(-0.2, abs=0.1)
    assert row(found, kind="difference")["participants"] == 60


def test_permutation_agrees_with_the_t_test():
    table = cohort(n=60)
    table["left_soft_mm3"] = np.random.default_rng(2).normal(size=60)
    one = row(analyse(table, ["left_soft_mm3"], GroupPlan("group", permutations=2000)), kind="difference")
    assert one["p_permutation"] == pytest.approx(one["p"], abs=0.05)


def test_missing_values_and_the_only_session_of_a_site_are_left_out():
    table = cohort(n=60)
    table.loc[0, "left_soft_mm3"] = np.nan
    table.loc[1, "age"] = None
    table.loc[2, "site"] = "elsewhere"
    one = row(analyse(table, ["left_soft_mm3"], GroupPlan("group", None, ("age",), "site")), kind="difference")
    assert one["n"] == 57
    assert "site[elsewhere]" in one["note"]


@pytest.mark.parametrize(
    ("change", "plan", "says"),
    [
        ({}, GroupPlan("diagnosis"), "--group-column: there is no column 'diagnosis'.*there are: participant_id"),
        ({}, GroupPlan("group", None, ("ages",)), "no column 'ages' .is it age"),
        ({"group": "one"}, GroupPlan("group"), "the one level 'one'"),
        ({"age": "40"}, BASE, "the column age is the same"),
        ({"age": None}, BASE, "the column age is not known for anybody"),
        ({}, GroupPlan("group", "healthy"), "'healthy' is no level of group; those are control, patient"),
        ({}, GroupPlan("group", contrasts=("patient-healthy",)), "write A-B for two levels of group"),
        ({}, GroupPlan("group", None, ("age",), contrasts=("group:bmi",)), "those are group, age"),
        ({}, GroupPlan("group", scales=("sex",)), "column sex: '[fm]' is no number"),
        ({"twin": "group"}, GroupPlan("group", None, ("twin",)), "determine each other"),
    ],
)
def test_what_cannot_be_asked_gives_a_sentence(change, plan, says):
    table = cohort(n=40)
    for name, value in change.items():
        table[name] = table.get(value, value)
    with pytest.raises(DataError, match=says):
        analyse(table, ["left_soft_mm3"], plan)


def test_a_measure_that_is_a_covariate_is_refused_and_a_copy_of_one_is_said():
    table = cohort(n=40)
    with pytest.raises(DataError, match="left_soft_mm3 is a covariate and a measure at once"):
        analyse(table, ["left_soft_mm3"], GroupPlan("group", None, ("left_soft_mm3",)))
    table["copy"] = table["age"].astype(float) * 3
    found = analyse(table, ["copy"], BASE)
    assert found["p"].isna().all()
    assert found["note"].str.contains("to the last digit").all()


def test_too_few_sessions_give_a_row_that_says_so():
    table = cohort(n=40)
    table.loc[4:, "left_soft_mm3"] = np.nan
    found = analyse(table, ["left_soft_mm3"], BASE)
    assert found["p"].isna().all()
    assert found["note"].str.contains("too few|usable session").all()
