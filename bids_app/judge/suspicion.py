"""What is too good to be believed: figures above what the literature supports, or that age, sex and site explain.

Whoever splits by slice, session or family, or compares people of two scanners, gets figures that no new site confirms:
schizophrenia with an AUC of 0.96 in a random split and 0.71 to 0.90 elsewhere (Oh 2020, Front Psychiatry 11:16),
depression with a balanced accuracy of 0.62, and 0.52 with sites harmonised (Sci Rep 2024 14:1084).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_app.cohort.split import Split
from bids_app.judge.answers import Evaluation
from bids_app.judge.baselines import COVARIATES, answer_with
from bids_app.judge.compare import difference
from bids_app.judge.connectivity import KNOWN
from bids_app.judge.rows import TITLES
from bids_app.judge.statistics import DRAWS, bootstrap
from bids_app.judge.target_answers import TargetAnswers, answers_of
from bids_app.judge.wording import called, number
from bids_app.recipes.recipe import Recipe, Target
from bids_app.scans.scan import Scan

#: Age, sex and site, whether the recipe names them as covariates or not.
CONFOUNDS = "age-sex-site"
#: Baselines that know nothing of the image but how it was taken and of whom.
KNOW_NO_ANATOMY = (CONFOUNDS, COVARIATES, KNOWN)


def answer_confounds(scans: Sequence[Scan], split: Split, recipe: Recipe, folder: Path) -> list[Path]:
    """As `bids_app.judge.baselines.answer_baseline`, from age, sex and site; never from what is the target itself."""
    learning = recipe.learning
    sexes, sites = (sorted({getattr(scan, name) or "" for scan in scans}) for name in ("sex", "site"))

    def row(scan: Scan, target: Target) -> list[float]:
        age = [] if target.source == learning.age else [scan.age]
        sex = [] if target.source == learning.sex else [float(scan.sex == one) for one in sexes]
        site = [] if target.source == learning.site else [float(scan.site == one) for one in sites]
        return [*age, *sex, *site]

    def columns(train: Sequence[Scan], new: Sequence[Scan], target: Target) -> tuple[np.ndarray, np.ndarray]:
        mine, other = (np.array([row(scan, target) for scan in some], float) for some in (train, new))
        return mine, other

    return answer_with(columns, scans, split, recipe, folder)


def suspicions(
    own: Evaluation, baselines: Mapping[str, Evaluation], recipe: Recipe, seed: int = 0, *, draws: int = DRAWS
) -> list[str]:
    """A sentence for each figure that a reader should doubt, with the likely reasons; none where there is nothing.

    Args:
        own: answers of the recipe's own arm, out of fold.
        baselines: on the same folds, by name; those of `KNOW_NO_ANATOMY` count.
        recipe: with its targets.
        seed, draws: of the intervals.
    """
    found = []
    for target in recipe.targets:
        mine = answers_of(target, own.targets)
        if not mine.keys:
            continue
        found += _too_good(mine)
        known = {name: answers_of(target, baselines[name].targets) for name in KNOW_NO_ANATOMY if name in baselines}
        found += _explained(mine, known, seed, draws)
    return found


def _too_good(mine: TargetAnswers) -> list[str]:
    limit, auc = mine.target.suspicious_above, mine.scores().values.get("auc", float("nan"))
    if limit is None or not auc > limit:
        return []
    return [
        f"The AUC for {mine.target.name} is {auc:.3f}, more than the literature supports (about {limit:g}): look for "
        "slices or sessions of one person, or relatives, on both sides of the split, for a site, scanner, sequence or "
        "quality that differs between the levels, and for motion, before anything is concluded."
    ]


def _explained(mine: TargetAnswers, known: Mapping[str, TargetAnswers], seed: int, draws: int) -> list[str]:
    """The best of the models without anatomy, where it is above chance and the network is not shown to be above it."""
    measure = mine.target.behaviour.controlled[0]
    better, best = [], float("-inf")
    for name, theirs in known.items():
        one, other = (answers.statistics().get(measure) for answers in (mine, theirs))
        if one is None or other is None or theirs.keys != mine.keys:
            continue
        alone = bootstrap(other, theirs.participants, seed=seed, draws=draws)
        apart = bootstrap(difference(one, other), mine.participants, seed=seed, draws=draws)
        chance = mine.target.behaviour.chance(measure, mine.truth)
        if not alone.low > chance or not apart.low <= 0 or alone.value <= best:
            continue
        best = alone.value
        figures = f"{number(alone.value)} against {number(alone.value + apart.value)}"
        interval = f"difference {number(apart.value)}, 95 % interval {number(apart.low)} to {number(apart.high)}"
        better = [
            f"For {mine.target.name}, {called(name)} do as well as the network as far as was shown "
            f"({TITLES[measure][0]} {figures}; {interval}): what the network found may be age, sex, site, scanner or "
            "motion, and not what the target stands for; balance the levels, or leave each site out once."
        ]
    return better
