"""Linear heads in closed form: the ridge solution of the whole training side takes the place of what steps found.

A head that learns by steps sees a batch at a time and learns its few participants by heart. Once the network is
trained, a linear head of everything that is read of every region has an exact solution, whose error for people left
out is known at no further cost; by that error the penalty is chosen, and whether the head looks at what could be
measured by hand, at learned features, at covariates, or at all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bids_app.networks.heads import LinearHead
from bids_app.targets.closed_form import RidgeFit, fit_ridge

if TYPE_CHECKING:

    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.recipes.recipe import Target
    from bids_app.train.batches import Patches

#: Fewer participants with a known target than these, and the head stays as steps left it.
FEWEST = 10
#: A larger set of blocks is taken only where it is off by less than this part of what a smaller one is off by.
BETTER = 0.99
MEASURED, FEATURES, COVARIATES = "measured", "features", "covariates"


class Readings(NamedTuple):
    """What heads read of the training side: of the image ``(n, columns)``, and late ``(n, late)``."""

    image: np.ndarray
    late: np.ndarray


def read_scans(network: MultiTaskNet, patches: Patches, device: str = "cpu") -> Readings:
    """What heads read of every scan of the training side, as prediction will see it: in the middle, nothing changed."""
    import torch

    network.eval().to(device)
    image, late = [], []
    with torch.inference_mode():
        for index in range(len(patches)):
            batch = patches.collate([index])
            x = batch.images.to(device)
            levels = network.ascend(network.encode(x))
            readings = network.readings(x, levels, network.logits_of(levels)[0])
            known = network.known_late(readings, batch.present.to(device), batch.covariates.to(device))
            image.append(readings.float().cpu().numpy())
            late.append(known.float().cpu().numpy())
    return Readings(np.concatenate(image).astype(float), np.concatenate(late).astype(float))


def fit_heads(
    network: MultiTaskNet,
    targets: Sequence[Target],
    truth: np.ndarray,
    people: Sequence[str],
    read: Readings,
    *,
    scalings: Mapping[str, Mapping[str, Any]],
    levels: Mapping[str, int],
) -> dict[str, dict[str, Any]]:
    """Give every linear head of a network the ridge solution of its training side.

    Args:
        targets: of the recipe, one per column of ``truth``.
        truth: ``(n, targets)``, NaN where not known.
        people: whose row each is.
        read: of `read_scans`, or of other scans of the same people.
        scalings: per target the plan's entry.
        levels: how many levels each target has; 0 for a value.

    Returns:
        Per target what was chosen: ``blocks``, ``people``, and the error of each set of ``blocks`` that was tried for
        people left out, in parts of what the mean alone is off by; or a ``note`` where the head stays as it was.
    """
    import torch

    told: dict[str, dict[str, Any]] = {}
    names = np.array(people)
    for column, target in enumerate(targets):
        head = network.heads[target.name]
        assert isinstance(head, LinearHead)
        known = np.isfinite(truth[:, column])
        values, count = truth[known, column], levels.get(target.name, 0)
        if len(set(names[known])) < FEWEST or len(np.unique(values)) < 2:
            told[target.name] = {"note": "too few participants or one answer only; the head is as steps left it"}
            continue
        image, late = read.image[known], read.late[known]
        head.middle.copy_(torch.from_numpy(image.mean(0)))
        head.spread.copy_(torch.from_numpy(np.maximum(image.std(0), 1e-4)))
        codes = target.behaviour.codes(values, count, scalings.get(target.name, {}))
        fit, chosen, errors = _choose(_blocks(network, head, image, late), codes, list(names[known]))
        matrix, shift = target.behaviour.from_codes(fit.left_out, values, count)
        _take_over(network, head, fit, chosen, matrix, shift)
        told[target.name] = {"blocks": chosen, "people": len(set(names[known])), "errors": errors}
    return told


def _blocks(network: MultiTaskNet, head: LinearHead, image: np.ndarray, late: np.ndarray) -> dict[str, np.ndarray]:
    """Columns that share a penalty, each block of about the same variance in all."""
    import torch

    with torch.no_grad():
        standard = head.standardised(torch.from_numpy(image).to(head.middle)).double().cpu().numpy()
    width, measured = standard.shape[1], network.shape.measured
    parts = {MEASURED: standard[:, :measured], FEATURES: standard[:, measured:]}
    blocks = {name: part * np.sqrt(width / part.shape[1]) for name, part in parts.items() if part.shape[1]}
    covariates = late[:, network.shape.sequences :]
    if covariates.shape[1] and covariates.std(0).any():
        blocks[COVARIATES] = covariates
    return blocks


def _choose(
    blocks: Mapping[str, np.ndarray], codes: np.ndarray, people: Sequence[str]
) -> tuple[RidgeFit, list[str], dict[str, float]]:
    """The set of blocks that is least off for people left out; a larger one only where it is `BETTER`."""
    total = float(((codes - codes.mean(0)) ** 2).mean())
    best: tuple[RidgeFit, list[str]] | None = None
    errors = {}
    for size in range(1, len(blocks) + 1):
        found = []
        for names in combinations(blocks, size):
            fit = fit_ridge(np.concatenate([blocks[name] for name in names], 1), codes, people)
            errors["+".join(names)] = round(fit.error / max(total, 1e-12), 4)
            found.append((fit, list(names)))
        least = min(found, key=lambda one: one[0].error)
        if best is None or least[0].error < BETTER * best[0].error:
            best = least
    assert best is not None  # something is always measured
    return (*best, errors)


def _take_over(
    network: MultiTaskNet,
    head: LinearHead,
    fit: RidgeFit,
    chosen: Sequence[str],
    matrix: np.ndarray,
    shift: np.ndarray,
) -> None:
    """Write a solution into a head's weights."""
    import torch

    width, measured = len(head.middle), network.shape.measured
    image, late = np.zeros((width, matrix.shape[1])), np.zeros((head.late.in_features, matrix.shape[1]))
    weights, at = fit.weights @ matrix, 0
    for name in chosen:
        if name == COVARIATES:
            rows = late[network.shape.sequences :]
            rows += weights[at : at + len(rows)]
        else:
            rows = image[:measured] if name == MEASURED else image[measured:]
            rows += np.sqrt(width / len(rows)) * weights[at : at + len(rows)]
        at += len(rows)
    with torch.no_grad():
        head.image.weight.copy_(torch.from_numpy(image.T))
        head.image.bias.copy_(torch.from_numpy(fit.intercept @ matrix + shift))
        head.late.weight.copy_(torch.from_numpy(late.T))
