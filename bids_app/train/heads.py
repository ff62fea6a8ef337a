"""Linear heads in closed form: the ridge solution of the whole training side takes the place of what steps found.

A head that learns by steps sees a batch at a time and learns its few participants by heart. Once the network is
trained, a linear head of everything that is read of every region has an exact solution, whose error for people left
out is known at no further cost; by that error the penalty is chosen, and what the head looks at: amounts, places,
brightness, learned features, covariates, or several of them. Of those as good as the best but for one standard error
(Breiman et al. 1984) the set with the fewest columns is taken: learned features are many, and those of people whose
masks taught the network look better than they are for others.
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
COVARIATES = "covariates"


class Readings(NamedTuple):
    """What heads read of the training side: of the image ``(n, columns)``, and late ``(n, late)``."""

    image: np.ndarray
    late: np.ndarray


def read_scans(network: MultiTaskNet, patches: Patches, device: str = "cpu", *, mirrored: bool = False) -> Readings:
    """What heads read of every scan of the training side, as prediction will see it: in the middle, nothing changed.

    Args:
        mirrored: of every scan's mirror image too, after all scans as they are; sides are not named anew.
    """
    import torch

    network.eval().to(device)
    image, late = [], []
    with torch.inference_mode():
        for flip in (False, True) if mirrored else (False,):
            for index in range(len(patches)):
                batch = patches.collate([index])
                x = batch.images.to(device)
                x = x.flip(2) if flip else x
                readings = network.look(x)[2]
                assert readings is not None  # a network with linear heads reads its regions
                known = network.known_late(readings, batch.present.to(device), batch.covariates.to(device))
                image.append(readings.float().cpu().numpy())
                late.append(known.float().cpu().numpy())
    return Readings(np.concatenate(image).astype(float), np.concatenate(late).astype(float))


def solve_heads(
    network: MultiTaskNet,
    patches: Patches,
    targets: Sequence[Target],
    truth: np.ndarray,
    people: Sequence[str],
    *,
    scalings: Mapping[str, Mapping[str, Any]],
    levels: Mapping[str, int],
    mirrored: bool,
    device: str = "cpu",
) -> dict[str, dict[str, Any]]:
    """`fit_heads` from the scans of ``patches``, where ``mirrored`` also from their mirror images.

    Args:
        truth, people: a row per scan.
    """
    return fit_heads(
        network,
        targets,
        np.concatenate([truth, truth]) if mirrored else truth,
        [*people, *people] if mirrored else people,
        read_scans(network, patches, device, mirrored=mirrored),
        scalings=scalings,
        levels=levels,
    )


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
        Per target what was chosen: ``blocks``, ``people``, and ``errors`` for people left out of each block by itself
        and of the best set, in parts of what the mean alone is off by; or a ``note`` where the head stays as it was.
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
        image, late = read.image[known], read.late[known] * np.array(network.shape.late_read(target.name))
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
    width = standard.shape[1]
    columns = {name: place for name, place in network.shape.blocks_read.items() if place.stop > place.start}
    blocks = {name: standard[:, at] * np.sqrt(width / (at.stop - at.start)) for name, at in columns.items()}
    covariates = late[:, network.shape.sequences :]
    if covariates.shape[1] and covariates.std(0).any():
        blocks[COVARIATES] = covariates
    return blocks


def _choose(
    blocks: Mapping[str, np.ndarray], codes: np.ndarray, people: Sequence[str]
) -> tuple[RidgeFit, list[str], dict[str, float]]:
    """The blocks of fewest columns that are off for people left out by no more than the best and one standard error.

    The standard error is that of the difference, over participants. The empty set is tried too: where nothing is better
    than the mean of the training side by more than that, the mean is the answer.
    """
    total = float(((codes - codes.mean(0)) ** 2).mean())
    owner = np.unique(np.asarray(people), return_inverse=True)[1]
    found = []
    nothing = np.zeros((len(codes), 0))
    for size in range(len(blocks) + 1):
        for names in combinations(blocks, size):
            fit = fit_ridge(np.concatenate([nothing, *(blocks[name] for name in names)], 1), codes, people)
            off = ((fit.left_out - codes) ** 2).mean(1)
            found.append((list(names), fit, np.bincount(owner, off) / np.bincount(owner)))
    best = min(found, key=lambda one: one[1].error)

    def as_good(off: np.ndarray) -> bool:
        worse = off - best[2]
        return bool(worse.mean() <= worse.std(ddof=1) / np.sqrt(len(worse)))

    good = [one for one in found if one is best or as_good(one[2])]
    chosen = min(good, key=lambda one: (len(one[1].weights), one[1].error))
    errors = {"+".join(names): round(fit.error / max(total, 1e-12), 4) for names, fit, _ in found if len(names) == 1}
    errors["+".join(best[0])] = round(best[1].error / max(total, 1e-12), 4)
    return chosen[1], chosen[0], errors


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

    width, places = len(head.middle), network.shape.blocks_read
    image, late = np.zeros((width, matrix.shape[1])), np.zeros((head.late.in_features, matrix.shape[1]))
    weights, at = fit.weights @ matrix, 0
    for name in chosen:
        rows = late[network.shape.sequences :] if name == COVARIATES else image[places[name]]
        scale = 1.0 if name == COVARIATES else np.sqrt(width / len(rows))
        rows += scale * weights[at : at + len(rows)]
        at += len(rows)
    with torch.no_grad():
        head.image.weight.copy_(torch.from_numpy(image.T))
        head.image.bias.copy_(torch.from_numpy(fit.intercept @ matrix + shift))
        head.late.weight.copy_(torch.from_numpy(late.T))
