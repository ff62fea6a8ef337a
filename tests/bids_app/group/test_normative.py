"""Normative models: planted curves come back, scores are what they should be, files go round, bad input is told."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bids_app.errors import DataError
from bids_app.group.normative import fit_normative, knots_of, spline
from bids_app.group.normative_scores import from_plain, read_normative, score, to_plain, unseen


def people(n: int, seed: int, sites: str = "abc", bent: float = 0.0) -> pd.DataFrame:
    """A volume that falls with age, more so in the old, with sites apart; its spread may double over the ages."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 80, n)
    sex = rng.choice(["F", "M"], n)
    site = rng.choice(list(sites), n)
    shift = pd.Series(site).map({"a": -3.0, "b": 0.0, "c": 4.0, "d": 8.0}).to_numpy()
    spread = 2 * np.exp(bent * (age - 50) / 60)
    volume = 100 - 0.01 * (age - 20) ** 2 + 5 * (sex == "M") + shift + spread * rng.normal(size=n)
    return pd.DataFrame({"age": age, "sex": sex, "site": site, "volume": volume})


def fitted(table: pd.DataFrame, **more):
    return fit_normative(table, ["volume"], "age", covariates={"sex": table["sex"]}, site=table["site"], **more)


def test_spline_has_as_many_columns_as_asked_and_sums_to_one_with_its_first():
    age = np.linspace(20, 80, 50)
    columns = spline(age, 20, 80, knots_of(age, 5))
    assert columns.shape == (50, 5)
    assert columns[0].sum() == pytest.approx(0)  # all of it in the column that the intercept stands for
    assert columns[-1].sum() == pytest.approx(1)


def test_new_people_have_mean_zero_and_deviation_one():
    model, _, _ = fitted(people(400, 0))
    new = people(4000, 1)
    z = score(model, new, "volume", site=new["site"]).z
    assert abs(z.mean()) < 0.1
    assert abs(z.std() - 1) < 0.07
    assert abs(z[new["age"] > 65].mean()) < 0.2  # the bend is followed


def test_leave_one_out_equals_fitting_without_the_person():
    table = people(60, 2)
    model, z, expected = fitted(table)
    curve = model.curves["volume"]
    sites = [(table["site"] == s).to_numpy()[:, None] for s in "abc"]
    x = np.concatenate([model.scale.columns(table["age"].to_numpy(), table), *sites], 1)
    ratio = curve.between / np.exp(2 * curve.spread[0])
    penalty = np.diag([0.0] * (x.shape[1] - 3) + [1 / ratio] * 3)
    keep = np.arange(60) != 7
    solution = np.linalg.solve(x[keep].T @ x[keep] + penalty, x[keep].T @ table["volume"].to_numpy()[keep])
    assert expected["volume"][7] == pytest.approx(x[7] @ solution, abs=1e-4)
    assert z["volume"].std() == pytest.approx(1, abs=0.1)


def test_spread_that_grows_with_age_is_seen_and_a_steady_one_left_alone():
    bent, _, _ = fitted(people(600, 3, bent=1.2))
    steady, _, _ = fitted(people(600, 3))
    assert bent.curves["volume"].spread[1] == pytest.approx(1.2, abs=0.35)
    assert steady.curves["volume"].spread[1] == 0
    new = people(6000, 4, bent=1.2)
    z = score(bent, new, "volume", site=new["site"]).z
    for part in (new["age"] < 35, new["age"] > 65):
        assert z[part].std() == pytest.approx(1, abs=0.12)


def test_new_site_is_taken_in_by_its_controls():
    model, _, _ = fitted(people(400, 5))
    new = people(300, 6, sites="d")
    assert unseen(model, new["site"]) == ["d"]
    without = score(model, new, "volume", site=new["site"])
    own = pd.Series(np.arange(300) < 20)
    adapted = score(model, new, "volume", site=new["site"], own=own)
    assert without.z.std() < 0.8  # the spread between sites is added
    assert np.nanmean(adapted.z[20:]) == pytest.approx(0, abs=0.4)
    assert abs(np.nanmean(adapted.z[20:])) < abs(np.nanmean(without.z[20:]))


def test_ages_outside_are_set_to_the_nearer_end():
    model, _, _ = fitted(people(200, 7))
    young = pd.DataFrame({"age": [5.0, model.scale.low], "sex": "F", "site": "a", "volume": 90.0})
    found = score(model, young, "volume", site=young["site"])
    assert found.expected[0] == found.expected[1]


def test_what_is_not_known_has_no_score():
    model, _, _ = fitted(people(200, 8))
    odd = people(4, 9)
    odd.loc[0, "age"], odd.loc[1, "sex"], odd.loc[2, "volume"] = np.nan, "X", np.nan
    found = score(model, odd, "volume", site=odd["site"])
    assert np.isnan(found.z[:3]).all()
    assert np.isfinite(found.z[3])


def test_file_goes_round(tmp_path):
    model, _, _ = fitted(people(200, 10), fitted_on="us")
    path = tmp_path / "model.json"
    path.write_text(json.dumps(to_plain(model)))
    again, new = read_normative(path), people(20, 11, sites="abcd")
    assert again.fitted_on == "us"
    assert again.needs == ["age", "sex", "site"]
    one, other = (score(m, new, "volume", site=new["site"]).z for m in (model, again))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "x"}, "no normative model"),
        ({"version": 99}, "version 99"),
        ({"scale": {}}, "damaged"),
        ({"curves": {"volume": {}}}, "damaged"),
    ],
)
def test_wrong_files_are_told(change, says):
    plain = to_plain(fitted(people(100, 12))[0])
    with pytest.raises(DataError, match=says):
        from_plain(plain | change, "file.json")


def test_no_json_is_told(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match="no JSON"):
        read_normative(tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_normative(tmp_path / "b.json")


def test_too_few_or_equal_controls_are_refused():
    with pytest.raises(DataError, match="needs 20 controls"):
        fitted(people(10, 13))
    same = people(50, 14).assign(age=40.0)
    with pytest.raises(DataError, match="different age"):
        fitted(same)
