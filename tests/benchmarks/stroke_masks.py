"""What the true masks of `stroke_outcome` tell of NIHSS and mRS: volume, arterial regions, cells of the brain, kernels.

Five folds, dealt several times; everything that is fitted or chosen (scales, penalties, support vectors) is fitted on
the training side. The rows were chosen by earlier trials on the same people, and there are several: the best of them
is a little flattered. r is that of the NIHSS in points and the answer in points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from bids_app.judge.places import alike
from bids_app.judge.statistics import bootstrap
from bids_app.measure.weighted import weighted_auc, weighted_correlation
from bids_app.targets.closed_form import fit_ridge
from tests.benchmarks.stroke_people import SHAPE, SPACING_MM, Strokes, deal

FOLDS, REPEATS = 5, 3
#: Volumes of regions and cells are told apart from 0.01 ml on.
LEAST_ML = 0.01
#: What every row is compared with.
REFERENCE = "volume and age"
#: Cells that fewer people have a lesion in are left out.
FEWEST = 5

#: Blocks of columns; each has the same variance in all.
Blocks = Sequence[np.ndarray]
#: Rows that train, their truth, rows that are tested: their answers.
Model = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def in_boxes(people: Strokes, sides: Sequence[int]) -> np.ndarray:
    """Logarithm of the ml in each of ``sides`` boxes along each axis of the brain, ``(people, boxes)``."""
    hit = np.argwhere(people.masks.astype(np.float32).sum(0) > 0)
    low, high = hit.min(0), hit.max(0) + 1
    masks = people.masks.astype(np.float32)
    for axis, count in enumerate(sides):
        place = (np.arange(SHAPE[axis]) - low[axis]) * count // (high[axis] - low[axis])
        table = np.clip(place, 0, count - 1)[:, None] == np.arange(count)
        masks = np.moveaxis(np.tensordot(masks, table.astype(np.float32), (axis + 1, 0)), -1, axis + 1)
    found = masks.reshape(len(masks), -1) * SPACING_MM**3 / 1000
    return np.log(found[:, (found > 0).sum(0) >= FEWEST] + LEAST_ML)


def linear(blocks: Blocks) -> Model:
    """Ridge; the penalty by people left out of the training side."""

    def answer(train: np.ndarray, truth: np.ndarray, new: np.ndarray) -> np.ndarray:
        pairs = [alike(block[train], block[new]) for block in blocks]
        fit = fit_ridge(np.concatenate([x for x, _ in pairs], 1), truth[:, None], [str(n) for n in train])
        return np.concatenate([x for _, x in pairs], 1) @ fit.weights[:, 0] + fit.intercept[0]

    return answer


def curved(curves: Blocks, blocks: Blocks) -> Model:
    """As `linear`, with a Gaussian kernel of each block of ``curves`` besides."""
    from sklearn.kernel_approximation import Nystroem

    def answer(train: np.ndarray, truth: np.ndarray, new: np.ndarray) -> np.ndarray:
        pairs = [alike(block[train], block[new]) for block in blocks]
        for block in curves:
            x, other = alike(block[train], block[new])
            kernel = Nystroem(gamma=0.5, n_components=300, random_state=0).fit(x)
            pairs.append((kernel.transform(x), kernel.transform(other)))
        fit = fit_ridge(np.concatenate([x for x, _ in pairs], 1), truth[:, None], [str(n) for n in train])
        return np.concatenate([x for _, x in pairs], 1) @ fit.weights[:, 0] + fit.intercept[0]

    return answer


def support_vectors(block: np.ndarray) -> Model:
    """Support vector regression with a Gaussian kernel, its two strengths by folds of the training side."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    choices = {"svr__C": [1, 10, 100], "svr__gamma": [1e-3, 1e-2, 1e-1]}

    def answer(train: np.ndarray, truth: np.ndarray, new: np.ndarray) -> np.ndarray:
        search = GridSearchCV(make_pipeline(StandardScaler(), SVR(epsilon=1.0)), choices, cv=4)
        return search.fit(block[train], truth).predict(block[new])

    return answer


def boosted(block: np.ndarray) -> Model:
    """Gradient boosting of small trees."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def answer(train: np.ndarray, truth: np.ndarray, new: np.ndarray) -> np.ndarray:
        model = HistGradientBoostingRegressor(max_iter=150, learning_rate=0.04, max_depth=3, min_samples_leaf=15)
        return model.fit(block[train], truth).predict(block[new])

    return answer


def models(people: Strokes) -> tuple[dict[str, Model], dict[str, Model]]:
    """For NIHSS, and for mRS."""
    volume = np.column_stack([np.log(people.volume + 1e-3), np.cbrt(people.volume)])
    age, who = people.age[:, None], np.column_stack([people.age, people.male])
    nihss = np.sqrt(people.nihss)[:, None]
    regions = np.log(people.loads + LEAST_ML)
    both_sides = np.log(people.loads.reshape(len(people.age), -1, 2).sum(2) + LEAST_ML)
    share = people.loads / np.maximum(people.loads.max(0), 1e-6)
    cells, fine = in_boxes(people, (4, 4, 4)), in_boxes(people, (6, 8, 6))
    every = np.concatenate([regions, volume, who], 1)
    points = {
        "log volume": linear([volume[:, :1]]),
        "log volume and its cube root": linear([volume]),
        REFERENCE: linear([volume, age]),
        "32 regions, part lesioned, support vectors": support_vectors(share),
        "32 regions, logarithms, support vectors": support_vectors(regions),
        "32 regions, logarithms, gradient boosting": boosted(every),
        "16 regions, both sides as one, logarithms": linear([both_sides, volume]),
        "32 regions, logarithms": linear([regions, volume]),
        "64 cells, logarithms": linear([cells, volume]),
        "32 regions and 64 cells, linear and Gaussian kernel": curved([cells], [regions, volume, age]),
    }
    outcome = {
        "log volume": linear([volume[:, :1]]),
        "age": linear([age]),
        REFERENCE: linear([volume, age]),
        "32 regions, gradient boosting": boosted(every),
        "32 regions, volume and age": linear([regions, volume, age]),
        "64 cells, volume and age": linear([cells, volume, age]),
        "32 regions and 288 cells, linear and Gaussian kernel, age": curved([fine], [regions, volume, age]),
        "volume, age and NIHSS": linear([volume, age, nihss]),
        "32 regions, volume, age and NIHSS": linear([regions, volume, age, nihss]),
    }
    return points, outcome


def answers(people: Strokes, model: Model, truth: np.ndarray, repeats: int = REPEATS) -> np.ndarray:
    """Of everybody whose truth is known, by a model that they were not in; ``(repeats, known)``."""
    known = np.flatnonzero(np.isfinite(truth))
    some = people.only(known)
    found = np.zeros((repeats, len(known)))
    for repeat in range(repeats):
        group = deal(some, FOLDS, 100 + repeat)
        for fold in range(FOLDS):
            train, new = known[group != fold], known[group == fold]
            found[repeat, group == fold] = model(train, truth[train], new)
    return found


def tell_true_masks(people: Strokes) -> list[dict[str, Any]]:
    """Print and return a row per model: measure, its interval, and the difference from volume and age."""
    points, outcome = models(people)
    favourable = people.favourable[np.isfinite(people.mrs)]

    def correlation(said: np.ndarray, w: np.ndarray) -> np.ndarray:
        return weighted_correlation(people.nihss, said, w)

    def area(said: np.ndarray, w: np.ndarray) -> np.ndarray:
        return weighted_auc(favourable == 1, -said, w)

    return tell("NIHSS, r", people, points, people.nihss, correlation) + tell(
        "mRS 0-2, AUC", people, outcome, people.mrs, area
    )


def tell(
    target: str,
    people: Strokes,
    those: Mapping[str, Model],
    truth: np.ndarray,
    measured: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> list[dict[str, Any]]:
    """Rows of one target.

    Args:
        measured: of answers and bootstrap weights ``(draws, n)``; the mean over repeats is told.
    """
    said = {name: answers(people, model, truth) for name, model in those.items()}
    names = [name for name, value in zip(people.names, truth, strict=True) if np.isfinite(value)]

    def over_repeats(name: str, w: np.ndarray) -> np.ndarray:
        return np.mean([measured(one, w) for one in said[name]], 0)

    rows = []
    for name in said:
        value = bootstrap(partial(over_repeats, name), names)
        apart = bootstrap(lambda w, name=name: over_repeats(name, w) - over_repeats(REFERENCE, w), names)
        rows.append({"target": target, "from": name, **value.to_plain(), "difference": apart.to_plain()})
        print(
            f"{target:12} {name:60} {value.value:.3f} ({value.low:.3f} to {value.high:.3f}); minus {REFERENCE} "
            f"{apart.value:+.3f} ({apart.low:+.3f} to {apart.high:+.3f})",
            flush=True,
        )
    return rows
