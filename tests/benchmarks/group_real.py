"""The group level on real people: normative models against published scores, ComBat on three scanners.

``python -m tests.benchmarks.group_real DATA``. DATA is the folder with ``oracles/fcon1000`` (536 people to fit, 507
with published z-scores, schizophrenia and controls of a further site) and ``tables`` (IXI: three scanners).
Prints: agreement with the published z-scores; AUC of schizophrenia from z-scores (the site is taken in by the controls
of the training side alone), from published ones and from raw measures, in the same folds; of IXI the part of variance
between sites before and after ComBat with the effects of age and sex; and the z-scores of held-out people of sites that
the normative model has seen, and of one that it has not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bids_app.group.harmonise import differences, fit_combat
from bids_app.group.normative import Normative, fit_normative
from bids_app.group.normative_scores import score

SUFFIX = "_Z_predict"


def scores(model: Normative, table: pd.DataFrame, own: np.ndarray | None = None) -> pd.DataFrame:
    """z of every measure of a model."""
    taught = None if own is None else pd.Series(own, index=table.index)
    found = {m: score(model, table, m, site=table["site"], own=taught).z for m in model.curves}
    return pd.DataFrame(found, index=table.index)


def fcon(folder: Path) -> None:
    """Against the published z-scores."""
    fit, new, told = (pd.read_csv(folder / f"fcon1000_{name}.csv.gz").copy() for name in ("tr", "te", "te_Z"))
    measures = [c.removesuffix(SUFFIX) for c in told if c.endswith(SUFFIX)]
    model, left_out, _ = fit_normative(fit, measures, "age", covariates={"sex": fit["sex"]}, site=fit["site"])
    seen = told[told["site"] != "COBRE"].reset_index(drop=True)
    own = scores(model, new.set_index("sub_id").loc[seen["sub_id"]].reset_index())
    r = [np.corrcoef(own[m], seen[m + SUFFIX])[0, 1] for m in measures]
    error = [np.sqrt(np.mean((own[m] - seen[m + SUFFIX]) ** 2)) for m in measures]
    print(f"fcon1000: {len(fit)} people fitted, {len(seen)} new ones of the same sites, {len(measures)} measures")
    print(
        f"  with the published z-scores: median r {np.median(r):.4f} (least {min(r):.3f}), RMSE {np.median(error):.4f}"
    )
    print(f"  new people: SD of z {own.std().median():.3f}; left out one by one: {left_out.std().median():.3f}")
    cobre = told[told["site"] == "COBRE"].reset_index(drop=True)
    sick = (cobre["group"] != "Control").to_numpy(int)
    columns = {
        "age and sex": cobre[["age", "sex"]].to_numpy(float),
        "raw measures": cobre[measures].to_numpy(float),
        "published z": cobre[[m + SUFFIX for m in measures]].to_numpy(float),
    }
    areas: dict[str, list[float]] = {name: [] for name in [*columns, "our z"]}
    for repeat in range(5):
        answers = {name: np.zeros(len(sick)) for name in areas}
        folds = StratifiedKFold(5, shuffle=True, random_state=repeat)
        for train, test in folds.split(sick, sick):
            taught = np.zeros(len(sick), bool)
            taught[train] = sick[train] == 0
            made = {**columns, "our z": scores(model, cobre, taught).to_numpy()}
            for name, x in made.items():
                ridge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=3000))
                answers[name][test] = ridge.fit(x[train], sick[train]).decision_function(x[test])
        for name, said in answers.items():
            areas[name].append(roc_auc_score(sick, said))
    for name, values in areas.items():
        print(f"  schizophrenia (61) and controls (63), 5 x 5 folds, {name}: AUC {np.mean(values):.3f}")


def ixi(folder: Path) -> None:
    """Three scanners."""
    people, volumes = pd.read_csv(folder / "ixi_demographics.csv"), pd.read_csv(folder / "ixi_roi_volumes.csv")
    names = [c for c in volumes if c not in people and pd.api.types.is_numeric_dtype(volumes[c])]
    names = [c for c in names if volumes[c].std() > 0]
    key = next(c for c in people if c in volumes)
    table = people.merge(volumes, on=key)
    table["site"] = table[key].astype(str).str.split("-").str[1]
    lower = {c.lower(): c for c in table}
    age, sex = table[lower["age"]].astype(float), table[lower["sex"]].astype(str)
    table["age"], table["male"] = age, (sex.str[0] == "M").astype(float)
    covariates = table[["age", "male"]] - table[["age", "male"]].mean()
    combat = fit_combat(table[names], table["site"], covariates)
    clean = combat.apply(table[names], table["site"], covariates)
    design = np.column_stack([np.ones(len(table)), covariates])
    print(f"IXI: {len(table)} people, sites {table['site'].value_counts().to_dict()}, {len(names)} volumes")
    for title, part in (("as measured", table[names]), ("after ComBat", clean)):
        beta, *_ = np.linalg.lstsq(design, part.to_numpy(float), rcond=None)
        left = pd.DataFrame(part.to_numpy(float) - design @ beta, columns=names)
        between = differences(left, table["site"]).median()
        sd = left.std().to_numpy()
        print(
            f"  {title}: median part of variance between sites {between:.4f}; median abs effect of age "
            f"{np.median(np.abs(beta[1]) / sd) * 10:.3f} SD per decade, of sex {np.median(np.abs(beta[2]) / sd):.3f} SD"
        )
    normative(table, names, "IOP")


def normative(table: pd.DataFrame, names: list[str], new_site: str) -> None:
    """Two sites fitted on half of their people; the other half, and the third site without and with controls."""
    seen, third = table[table["site"] != new_site], table[table["site"] == new_site].reset_index(drop=True)
    fit, held = train_test_split(seen, test_size=0.5, random_state=0, stratify=seen["site"])
    fit, held = fit.reset_index(drop=True), held.reset_index(drop=True)
    model, _, _ = fit_normative(fit, names, "age", covariates={"male": fit["male"]}, site=fit["site"])
    taught = np.zeros(len(third), bool)
    taught[np.random.default_rng(0).permutation(len(third))[:10]] = True
    parts = {
        f"held-out people of seen sites ({len(held)})": scores(model, held),
        f"{new_site}, never seen ({len(third)})": scores(model, third),
        f"{new_site}, by 10 controls, the others": scores(model, third, taught)[~taught],
    }
    for title, z in parts.items():
        mean, typical, spread = z.mean().mean(), z.mean().abs().median(), z.std().median()
        print(f"  z of {title}: mean {mean:+.3f} (median abs {typical:.3f}), SD {spread:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    fcon(data / "oracles" / "fcon1000")
    ixi(data / "tables")


if __name__ == "__main__":
    main()
