"""ComBat against its published outputs, and where they would fail."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bids_app.errors import DataError
from bids_app.group.harmonise import Combat, differences, entangled, fit_combat, negative
from tests.data import real

BATCH = pd.Series(["1"] * 5 + ["2"] * 5)
GENDER = pd.DataFrame({"gender": [0.0, 1.0] * 5})


@pytest.fixture(scope="module")
def published():
    folder = real("oracles/combat")
    names = ("adjusted", "unadjusted", "adjusted_batchref")
    kinds = {f"parametric_{n}": f"parametric_{n}" for n in names} | {"nonparametric_adjusted": "nonparametric_adjusted"}
    found = {
        k: {
            lang: pd.read_csv(folder / f"{n}_{lang}.csv", header=0 if lang == "r" else None) for lang in ("r", "python")
        }
        for k, n in kinds.items()
    }
    return pd.read_csv(folder / "testdata.csv").T.reset_index(drop=True), found


@pytest.mark.parametrize(
    ("name", "covariates", "options"),
    [
        ("parametric_adjusted", GENDER, {}),
        ("parametric_unadjusted", None, {}),
        ("parametric_adjusted_batchref", GENDER, {"reference": "1"}),
        ("nonparametric_adjusted", GENDER, {"parametric": False}),
    ],
)
def test_equals_the_published_outputs(published, name, covariates, options):
    data, found = published
    data.columns = data.columns.astype(str)
    ours = fit_combat(data, BATCH, covariates, **options).apply(data, BATCH, covariates).to_numpy().T
    for theirs in found[name].values():
        assert np.abs(ours - theirs.to_numpy(float)).max() < 1e-10


def cohort(rng, n=60, features=8, sites=3):
    """Volumes with an effect of age, and sites that add and multiply."""
    site = pd.Series(np.array([f"site{s}" for s in rng.integers(0, sites, n)]))
    age = rng.uniform(20, 80, n)
    number = site.str[-1].astype(int).to_numpy()
    noise = rng.normal(size=(n, features)) * (1 + number)[:, None]
    values = 100 - 0.5 * age[:, None] + 10 * number[:, None] + noise
    return pd.DataFrame(values, columns=[f"v{i}" for i in range(features)]), site, pd.DataFrame({"age": age})


@pytest.fixture
def data():
    return cohort(np.random.default_rng(0))


def test_sites_go_and_age_stays(data):
    values, site, age = data
    clean = fit_combat(values, site, age).apply(values, site, age)
    rest, raw = (
        v.sub(np.polyval(np.polyfit(age["age"], v.mean(axis=1), 1), age["age"]), axis=0) for v in (clean, values)
    )
    assert differences(raw, site).mean() > 0.5
    assert differences(rest, site).mean() < 0.05
    assert np.polyfit(age["age"], clean.mean(axis=1), 1)[0] == pytest.approx(-0.5, abs=0.05)


def test_apply_to_new_rows_is_consistent_with_the_fit(data):
    values, site, age = data
    combat = Combat.from_plain(json.loads(json.dumps(fit_combat(values, site, age).to_plain())))
    every, some = combat.apply(values, site, age), combat.apply(values[:7], site[:7], age[:7])
    pd.testing.assert_frame_equal(every[:7], some)


def test_covariates_count_when_applied(data):
    values, site, age = data
    combat = fit_combat(values, site, age)
    assert not np.allclose(combat.apply(values, site, age), combat.apply(values, site, age + 10))
    with pytest.raises(DataError, match="covariate age"):
        combat.apply(values, site)


def test_a_missing_value_leaves_only_itself_out(data):
    values, site, age = data
    holed = values.copy()
    holed.iloc[3, 2] = np.nan
    clean, whole = (fit_combat(v, site, age).apply(v, site, age) for v in (holed, values))
    assert clean.isna().sum().sum() == 1
    assert np.abs(clean - whole).max(axis=None) < 1


def test_one_measure_is_not_drawn_to_others(data):
    values, site, age = data
    combat = fit_combat(values[["v0"]], site, age)
    clean = combat.apply(values[["v0"]], site, age)
    assert not combat.pooled
    assert clean["v0"].notna().all()


def test_measures_that_say_the_same_are_harmonised_all_the_same(data):
    values, site, age = data
    twice = values[["v0"]].assign(v1=values["v0"])
    clean = fit_combat(twice, site, age).apply(twice, site, age)
    pd.testing.assert_series_equal(clean["v0"], clean["v1"], check_names=False)
    assert clean.notna().all(axis=None)


def test_a_small_site_is_left_out_and_said(data):
    values, site, age = data
    site.iloc[0] = "tiny"
    combat = fit_combat(values, site, age)
    assert "tiny has 1 usable session" in combat.left_out["tiny"]
    assert combat.apply(values, site, age).iloc[0].isna().all()


def test_a_constant_measure_is_left_out_and_said(data):
    values, site, age = data
    values.loc[site == "site0", "v1"] = 3.0
    combat = fit_combat(values, site, age)
    assert "v1 is the same in all sessions of site0" in combat.left_out["v1"]
    assert combat.apply(values, site, age)["v1"].isna().all()


def test_an_unseen_site_is_refused_by_name(data):
    values, site, age = data
    combat = fit_combat(values, site, age)
    with pytest.raises(DataError, match=r"not seen the site elsewhere.*site0, site1, site2"):
        combat.apply(values[:1], pd.Series(["elsewhere"]), age[:1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v, s, a: (v, pd.Series(["one"] * len(v)), a), "two sites"),
        (lambda v, s, a: (v, pd.Series([str(i) for i in range(len(v))]), a), "two sites"),
        (lambda v, s, a: (v, s, a.assign(flat=1.0)), "flat is the same"),
        (lambda v, s, a: (v, s, a.assign(group=(s == "site0") * 1.0)), "group is determined by the site"),
        (lambda v, s, a: (v, s, a.assign(twice=2 * a["age"])), "determine each other"),
        (lambda v, s, a: (v * np.nan, s, a), "no measure"),
    ],
)
def test_what_cannot_be_estimated_is_refused_with_a_sentence(data, change, says):
    with pytest.raises(DataError, match=says):
        fit_combat(*change(*data))


def test_the_reference_site_stays_and_others_come_to_it(data):
    values, site, age = data
    clean = fit_combat(values, site, age, reference="site0").apply(values, site, age)
    own = site == "site0"
    pd.testing.assert_frame_equal(clean[own], values[own])
    with pytest.raises(DataError, match="'nowhere' is none of"):
        fit_combat(values, site, age, reference="nowhere")


def test_sites_estimated_in_controls_leave_what_patients_differ_by(data):
    values, site, age = data
    rng = np.random.default_rng(1)
    patient = rng.random(len(values)) < 0.5
    values[patient] += 20.0
    combat = fit_combat(values[~patient], site[~patient], age[~patient])
    clean = combat.apply(values, site, age) + 0.5 * age.to_numpy()
    assert clean[patient].mean().mean() - clean[~patient].mean().mean() == pytest.approx(20, abs=3)


def test_groups_that_sites_determine_are_flagged():
    site = pd.Series(["a"] * 20 + ["b"] * 20)
    assert "determines who is in the group x" in entangled(pd.Series(["x"] * 20 + ["y"] * 20), site)[0]
    assert not entangled(pd.Series(["x", "y"] * 20), site)


def test_volumes_below_zero_are_named():
    before, after = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]}), pd.DataFrame({"a": [-1.0, 2.0], "b": [1.0, 2.0]})
    assert negative(before, after) == [
        "a: 1 value below zero after ComBat, which no volume has; do not use this measure harmonised."
    ]
