"""Every target of a bundle for one session: the members' vote, calibrated, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.bundle.bundle import Bundle
from bids_app.errors import BundleError
from bids_app.predict.predict import normalised
from bids_app.predict.vote import UNFAMILIAR, Familiarity, combine, image_features
from bids_app.recipes.recipe import Target
from bids_app.text import TextError, parse_number


def predict_targets(
    bundle: Bundle,
    stacked: np.ndarray,
    present: Sequence[bool] | np.ndarray | None = None,
    covariates: Mapping[str, float] | None = None,
    *,
    device: str = "cpu",
) -> dict[str, dict[str, Any]]:
    """What the bundle says of every target, by name.

    Args:
        stacked: shape ``(sequences, x, y, z)``, on the recipe's grid; zero where there is no image. Of a series its
            frames are the last channels.
        present: one flag per sequence; all where None.
        covariates: by name, in their own units; one that is missing or NaN is unknown to the network.
        device: as `bids_app.predict.predict.resolve_device` gives it.

    Returns:
        Per target ``column`` of participants.tsv where its truth stands; ``kind``; ``levels`` (probability of each,
        which sum to one), with the ``set`` of those that may be true (it held the truth of ``coverage`` of participants
        out of fold; None where too few were there to say); or ``value`` with ``unit`` and the interval that held
        ``coverage`` of participants out of fold, no further than the values that trained; ``temperature``; ``members``
        that voted and their ``mutual_information`` in nats (standard deviation, ``members_sd``, of a value);
        ``abstained`` and ``reason``.
        Where it abstained there is no probability, no set and no value.

    Raises:
        BundleError: a member gave no finite answer; none is left out.
    """
    flags = np.ones(len(bundle.recipe.sequences), bool) if present is None else np.asarray(present, bool)
    outputs = outputs_of(bundle, stacked, flags, covariates, device=device)
    strangeness, strange = how_strange(bundle, stacked, flags)
    answers = {}
    for target in bundle.recipe.targets:
        fit = bundle.calibration.get("targets", {}).get(target.name, {})
        ranges = [plan.get("targets", {}).get(target.name, {}) for plan in bundle.plans]
        answer = _vote(target, [output[target.name] for output in outputs], fit, ranges)
        if strange:
            answer |= {name: None for name in ("levels", "set", "value", "low", "high") if name in answer}
        answer |= {"abstained": strange, "reason": UNFAMILIAR if strange else None, "strangeness": strangeness}
        answers[target.name] = {"column": target.column or target.name, **answer}
    return answers


def outputs_of(
    bundle: Bundle,
    stacked: np.ndarray,
    present: np.ndarray,
    covariates: Mapping[str, float] | None = None,
    *,
    device: str = "cpu",
) -> list[dict[str, np.ndarray]]:
    """Per member its outputs by target, as `TargetKind.in_unit` gives them; see `predict_targets`."""
    return [
        _ask(bundle, network, plan, stacked, present, dict(covariates or {}), device)
        for network, plan in zip(bundle.networks, bundle.plans, strict=True)
    ]


def known_covariates(bundle: Bundle, bids_dir: Path, key: tuple[str, str | None]) -> tuple[dict[str, float], list[str]]:
    """What participants.tsv knows of a participant that the bundle reads beside the image.

    A word (sex) becomes its position in the manifest's ``covariate_levels``; without them it stays unknown, for another
    dataset may have another order.

    Returns:
        By name, without what is not known; what a person should know.
    """
    from bids_app.cohort.tables import read_tables

    names = bundle.recipe.learning.covariates
    if not names:
        return {}, []
    words = bundle.manifest.get("covariate_levels") or {}
    tables = read_tables(bids_dir, [key], {("participants", name): words.get(name) or () for name in names})
    found, told = {}, [text for text in tables.told if f"for sub-{key[0]}" in text] + tables.wrong
    for name in names:
        text = tables.value("participants", name, key)
        levels = words.get(name) or []
        try:
            found[name] = float(levels.index(text)) if text in levels else parse_number(text) if text else math.nan
        except TextError:
            told.append(f"covariate {name}: {text!r} is nothing that trained the bundle {bundle.name}")
        if not math.isfinite(found.get(name, math.nan)):
            found.pop(name, None)
            told.append(f"covariate {name} of sub-{key[0]} is not known; the scores are made without it")
    return found, told


def how_strange(bundle: Bundle, stacked: np.ndarray, present: np.ndarray) -> tuple[float | None, bool]:
    """Distance from the scans that trained, and whether it is above the bundle's threshold; None where none is kept."""
    plain = bundle.calibration.get("familiarity")
    if not plain:
        return None, False
    usual = Familiarity.from_plain(plain)
    features = image_features(bundle.recipe, stacked, present)
    if len(features) != len(usual.mean):
        raise BundleError(f"the familiarity of {bundle.path} is of another recipe; train the bundle again")
    distance = usual.distance(features)
    return (round(distance, 3) if np.isfinite(distance) else None), bool(distance > usual.threshold)


def _ask(
    bundle: Bundle,
    network: Any,
    plan: Mapping[str, Any],
    stacked: np.ndarray,
    present: np.ndarray,
    covariates: Mapping[str, float],
    device: str,
) -> dict[str, np.ndarray]:
    """One member's outputs."""
    import torch

    names = [head.name for head in network.shape.heads]
    lacking = [target.name for target in bundle.recipe.targets if target.name not in names]
    if lacking:
        raise BundleError(f"the network of {bundle.path} does not answer for {', '.join(lacking)}; train it again")
    image = fitted(normalised(bundle, plan, stacked).numpy(), plan.get("patch"), network.factor)
    image = image[..., 0] if network.shape.dimensions == 2 else image
    late = torch.tensor([_standardised(bundle, plan, covariates)], dtype=torch.float32)
    network = network.to(device)
    with torch.inference_mode():
        flags = torch.tensor(present, dtype=torch.float32)[None]
        found = network(torch.from_numpy(image)[None].to(device), flags.to(device), late.to(device)).targets
    outputs = {name: logits[0].float().cpu().numpy() for name, logits in found.items()}
    for target in bundle.recipe.targets:
        scaling = plan.get("targets", {}).get(target.name, {})
        outputs[target.name] = target.behaviour.in_unit(outputs[target.name], scaling)
    return outputs


def _standardised(bundle: Bundle, plan: Mapping[str, Any], covariates: Mapping[str, float]) -> list[float]:
    """Covariates in standard deviations of the member's training side, NaN where not known."""
    values = []
    for name in bundle.recipe.learning.covariates:
        scale = plan.get("covariates", {}).get(name, {"mean": 0.0, "sd": 1.0})
        value = covariates.get(name)
        values.append(float("nan") if value is None else (float(value) - scale["mean"]) / scale["sd"])
    return values


def fitted(image: np.ndarray, patch: Sequence[int] | None, factor: int) -> np.ndarray:
    """An image with the training's field of view: zeros around it, or its middle, as training patches are made.

    Args:
        image: shape ``(sequences, x, y, z)``.
        patch: voxels; where None, the image up to the next multiple of ``factor``, but for an axis of one voxel.
    """
    sides = patch or [n if n == 1 else -(-n // factor) * factor for n in image.shape[1:]]
    for axis, side in enumerate(sides, 1):
        extra = image.shape[axis] - side
        if extra > 0:
            image = np.take(image, range(extra // 2, extra // 2 + side), axis)
        elif extra < 0:
            widths = [(0, 0)] * image.ndim
            widths[axis] = (-extra // 2, -extra - -extra // 2)
            image = np.pad(image, widths)
    return np.ascontiguousarray(image, dtype=np.float32)


def _vote(
    target: Target, outputs: Sequence[np.ndarray], fit: Mapping[str, Any], ranges: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """One target's answer from all members' outputs; ``ranges``: ``low`` and ``high`` of what trained each of them."""
    if not target.behaviour.has_levels:
        values = np.array([float(output[0]) for output in outputs])
        if not np.isfinite(values).all():
            raise BundleError(f"a member's value of {target.name} is not finite; no member is left out of a vote")
        half, value = fit.get("half_width"), float(values.mean())
        lowest = min((one.get("low", -math.inf) for one in ranges), default=-math.inf)
        highest = max((one.get("high", math.inf) for one in ranges), default=math.inf)
        return {
            "kind": target.kind,
            "value": round(value, 4),
            "unit": target.unit or None,
            "low": round(max(value - half, lowest), 4) if half is not None else None,
            "high": round(min(value + half, highest), 4) if half is not None else None,
            "coverage": fit.get("coverage") if half is not None else None,
            "members": len(values),
            "members_sd": round(float(values.std()), 4),
        }
    temperature = float(fit.get("temperature", 1.0))
    vote = combine(target.behaviour.probabilities(output, temperature) for output in outputs)
    names = target.levels or [str(k) for k in range(len(vote.mean))]
    least, likeliest = fit.get("set_level"), int(np.argmax(vote.mean))
    return {
        "kind": target.kind,
        "levels": {name: round(float(p), 5) for name, p in zip(names, vote.mean, strict=True)},
        "set": [name for k, name in enumerate(names) if vote.mean[k] >= least or k == likeliest] if least else None,
        "coverage": fit.get("coverage") if least else None,
        "temperature": temperature,
        "members": vote.members,
        "mutual_information": round(float(vote.mutual_information), 5),
    }
