"""Structures, age and sex of healthy people, together or apart: ``python -m tests.benchmarks.healthy_folds``.

Five folds of `ixi`, dealt by age. Per fold two networks from the same weights, scans, seed and steps: one learns the
structures alone, one also age and sex (recipe ``healthy``). Of each the heads are solved exactly on the training side
from amounts alone (what a volume tells: two-stage) and from all that heads read; a fold's other people are asked. Start
from weights that no person of `ixi` taught (``--start``), or the structures of those who are tested were seen.
Done folds are not trained again. Hours on a CPU.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_app.bundle.bundle import load_bundle
from bids_app.lessons.heads import HeadsLesson
from bids_app.lessons.people import People, PeopleLesson, head_view
from bids_app.lessons.train import fit_lesson, new_state, start_from
from bids_app.measure.overlap import dice
from bids_app.networks.standardise import standardise
from bids_app.recipes.recipe import load_recipe
from bids_app.targets.closed_form import fit_ridge
from bids_app.train.heads import read_scans
from tests.data import data_root, real

FOLDS = 5
ARMS = ("structures alone", "together")


def deal(ages: np.ndarray, names: list[str], seed: int = 0) -> list[list[str]]:
    """Names of each fold: of every five people next to one another in age, one goes to each fold."""
    known = [n for n in np.argsort(ages, kind="stable") if np.isfinite(ages[n])]
    rng, found = np.random.default_rng(seed), [[] for _ in range(FOLDS)]
    for start in range(0, len(known), FOLDS):
        for fold, n in zip(rng.permutation(FOLDS), known[start : start + FOLDS], strict=False):
            found[fold].append(names[n])
    return [sorted(one) for one in found]


@dataclass
class Alone(PeopleLesson):
    """The same lesson without the targets."""

    def judge(self, network: Any, images: Any, targets: Any, progress: float, step: int) -> Any:
        return HeadsLesson.judge(self, network, images, targets, progress, step)


def run_fold(
    work: Path, root: Path, everybody: People, out: list[str], arm: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Train one arm without ``out``; what its readings say of them, and Dice of their structures."""
    kept = work / "result.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    recipe = load_recipe("healthy")
    lesson = PeopleLesson.load(recipe, root, options.seed, leave_out=out)
    lesson = lesson if arm == ARMS[1] else Alone(**vars(lesson))
    state = new_state(recipe, lesson.plan, options.seed)
    start_from(state, load_bundle(options.start).network.state_dict())
    checkpoint = work / "checkpoint.pt"
    if checkpoint.is_file():
        state.load(checkpoint)
    work.mkdir(parents=True, exist_ok=True)
    fit_lesson(state, lesson, seed=options.seed, steps=options.steps, checkpoint=checkpoint, log_path=work / "log.csv")
    asked = only(everybody, out)
    network = state.mean.eval()
    train, test = (read_people(network, recipe, people) for people in (lesson.known, asked))
    found: dict[str, Any] = {
        "names": out,
        "truth": asked.targets.tolist(),
        "dice": structure_dice(network, lesson, asked),
    }
    blocks = network.shape.blocks_read
    for name, columns in {"amounts": blocks["amounts"], "all": slice(0, network.shape.readings)}.items():
        found[name] = [
            ridge(train[:, columns], lesson.known.targets[:, t], lesson.known.names, test[:, columns]).tolist()
            for t in range(len(recipe.targets))
        ]
    kept.write_text(json.dumps(found))
    return found


def only(people: People, names: list[str]) -> People:
    """Some of them."""
    rows = [people.names.index(name) for name in names]
    return replace(people, names=names, views=people.views[rows], targets=people.targets[rows])


def read_people(network: Any, recipe: Any, people: People) -> np.ndarray:
    from bids_app.train.batches import Patches

    sides = people.views.shape[2:]
    patches = Patches(people.scans(recipe), sides, 1, 0, regions=len(recipe.regions), normalise=standardise)
    return read_scans(network, patches).image


def structure_dice(network: Any, lesson: PeopleLesson, people: People) -> float:
    """Mean Dice over structures and people, on their views."""
    import torch

    from bids_app.lessons.real_heads import load_heads

    table, scores = lesson.classes, []
    for head, view in zip(load_heads(Path(lesson.data_root or ""), people.names, 2.0), people.views, strict=True):
        truth = table[head_view(head, head.label_map.labels, lesson.patch)[0].astype(int)].numpy()
        with torch.inference_mode():
            said = network.decode(network.encode(standardise(view)[None]))[0].argmax(1)[0].numpy()
        scores.append(np.mean([dice(said == k, truth == k) for k in range(1, len(lesson.recipe.regions) + 1)]))
    return float(np.mean(scores))


def ridge(x: np.ndarray, y: np.ndarray, people: list[str], new: np.ndarray) -> np.ndarray:
    """Values of new rows; columns in standard deviations, the penalty by people left out."""
    known = np.isfinite(y)
    middle, spread = x[known].mean(0), np.maximum(x[known].std(0), 1e-4)
    columns = ((x - middle) / spread).clip(-5, 5)
    fit = fit_ridge(columns[known], y[known][:, None], [p for p, k in zip(people, known, strict=True) if k])
    return (((new - middle) / spread).clip(-5, 5) @ fit.weights + fit.intercept)[:, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True, help="bundle whose weights every fold begins with")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    root, recipe = data_root(), load_recipe("healthy")
    everybody = PeopleLesson.load(recipe, root, options.seed).known
    folds = deal(everybody.targets[:, 0], everybody.names)
    for arm in ARMS:
        rows = [
            run_fold(options.work / f"{arm.split()[0]}-{n + 1}", root, everybody, out, arm, options)
            for n, out in enumerate(folds)
        ]
        print(arm, {key: value for kind in ("amounts", "all") for key, value in tell(kind, rows).items()}, flush=True)


def tell(kind: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Error and correlation of age, area under the curve of sex, over all folds; mean Dice."""
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate([np.array(row["truth"]) for row in rows])
    said = np.concatenate([np.array(row[kind]).T for row in rows])
    return {
        f"{kind}: age MAE": round(float(np.abs(said[:, 0] - truth[:, 0]).mean()), 2),
        f"{kind}: age r": round(float(np.corrcoef(said[:, 0], truth[:, 0])[0, 1]), 3),
        f"{kind}: sex AUC": round(float(roc_auc_score(truth[:, 1], said[:, 1])), 3),
        "Dice": round(float(np.mean([row["dice"] for row in rows])), 4),
    }


@pytest.mark.benchmark
def test_folds_are_dealt_by_age():
    root = real("ixi").parent
    people = PeopleLesson.load(load_recipe("healthy"), root, 1).known
    folds = deal(people.targets[:, 0], people.names)
    assert sorted(name for fold in folds for name in fold) == sorted(
        name for name, age in zip(people.names, people.targets[:, 0], strict=True) if np.isfinite(age)
    )


if __name__ == "__main__":
    main()
