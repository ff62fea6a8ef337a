"""A bundle that learned from drawn scans: calibrated and judged on label maps that never trained, and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.bundle.bundle import Bundle
from bids_app.bundle.manifest import hashed_images
from bids_app.bundle.trial import trial_bundle
from bids_app.lessons.drawn_targets import calibrate_targets, judge_targets
from bids_app.lessons.judge import CALIBRATE, JUDGE, Source, calibrate_drawn, judge_lesions, judge_structures
from bids_app.lessons.keep import voters, write_lesson
from bids_app.lessons.lesson import Lesson
from bids_app.synthesis.heads.labelmaps import LABELS, brain_table

if TYPE_CHECKING:
    import numpy as np

    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.state import State

CARD = Path(__file__).with_name("drawn_card.md")
LICENSE = """The weights of this bundle are licensed under Apache-2.0.

They were learned from images drawn at random from label maps distributed with SynthSeg (Billot et al. 2023,
Apache-2.0){more}.
They contain none of them.
"""
NOBODY = "No person was scanned for them.\n"
#: Scans that calibrate and that judge.
COUNTS = (24, 16)


def export_drawn(
    state: State,
    lesson: Lesson,
    truth: Source,
    out_dir: Path,
    *,
    seed: int,
    patch: Sequence[int],
    held_out: Sequence[str],
    normalisation: Mapping[str, Any] | None = None,
    subsets: Mapping[str, Source] | None = None,
    note: str = "",
    more: str = "",
    real: Mapping[str, Sequence[Path]] | None = None,
    real_licence: str = "",
    counts: tuple[int, int] = COUNTS,
    calibrate_on: Source | None = None,
    beside: Sequence[MultiTaskNet] = (),
    answers: Mapping[str, Mapping[str, Any]] | None = None,
    people: int | None = None,
) -> Path:
    """Calibrate the averaged weights, measure them, and write the bundle.

    Args:
        state: its running mean of weights is what is written, in half precision.
        lesson: what was taught.
        truth: scans of label maps in ``held_out``, by another generator.
        out_dir: replaced as a whole once everything is written.
        seed: of the training.
        patch: that was trained with, voxels.
        normalisation: per sequence, where one is not normalised by itself.
        subsets: further scans to judge by, by name: with some sequences missing.
        note, more: what a reader should know of this very run, and what else the licence should name.
        real: files of every real participant who trained.
        real_licence: what the licence says of them.
        counts: of scans that calibrate, and that judge.
        calibrate_on: scans that calibrate, where those that judge are of another kind than what will be asked.
        beside: networks of the same shape that vote with the one of this training.
        answers: what a lesson with targets adds to ``plan``, ``calibration`` and ``metrics``.
        people: how many people's lesions trained it, where masks are theirs and images are not.
    """
    recipe, answers = lesson.recipe, answers or {}
    plan: dict[str, Any] = {"patch": list(patch), **answers.get("plan", {})}
    plan |= {"normalisation": dict(normalisation)} if normalisation is not None else {}
    members = voters(state, beside)
    trial = trial_bundle(recipe, members, {"threshold": 0.5, "temperature": 1.0}, plan)
    calibration = _calibrated(trial, calibrate_on or truth, counts[0])
    metrics = {**_measured(trial, truth, subsets or {}, counts[1]), **answers.get("metrics", {})}
    return write_lesson(
        out_dir,
        state,
        recipe,
        members,
        seed=seed,
        note=note,
        trained=_trained(real or {}, held_out) | ({"people": people} if people else {}),
        plan=plan,
        calibration={**calibration, **answers.get("calibration", {})},
        metrics=metrics,
        card=CARD,
        licence=LICENSE.format(more=more) + (real_licence or NOBODY),
    )


def _trained(real: Mapping[str, Sequence[Path]], held_out: Sequence[str]) -> dict[str, Any]:
    """What the manifest says of who trained and who judged."""
    return {
        "labels": "drawn: the truth of a scan is the label map that it was made from",
        "real_images": sorted(real),
        **hashed_images(path for paths in real.values() for path in paths),
        "held_out": sorted(held_out),
    }


def _calibrated(trial: Bundle, source: Source, count: int) -> dict[str, Any]:
    """What is fitted on ``count`` scans, which the bundle then uses; also of targets that were drawn."""
    calibration = calibrate_drawn(trial, (source(CALIBRATE + n) for n in range(count)))
    if trial.recipe.lesson and trial.recipe.lesson.targets:
        calibration["targets"] = calibrate_targets(trial, source, count)
    trial.calibration.update(calibration)
    return calibration


def _measured(trial: Bundle, truth: Source, subsets: Mapping[str, Source], count: int) -> dict[str, Any]:
    """Figures of ``count`` scans, with all sequences and with some missing; also of targets that were drawn."""
    metrics: dict[str, Any] = {"simulator_held_out": _judged(trial, truth, count)}
    if trial.recipe.lesson and trial.recipe.lesson.targets:
        metrics["simulator_targets"] = judge_targets(trial, truth, count)
    if subsets:
        metrics["simulator_subsets"] = {name: _judged(trial, source, count) for name, source in subsets.items()}
    return metrics


def _judged(trial: Bundle, source: Source, count: int) -> dict[str, Any]:
    scans = (source(JUDGE + n) for n in range(count))
    if any(region.kind == "lesion" for region in trial.recipe.regions):
        return judge_lesions(trial, list(scans))
    return judge_structures(trial, scans, brain_of(trial.recipe))


def brain_of(recipe: Any) -> Any:
    """Which classes of a recipe for structures are brain; a function from classes to a mask."""
    import numpy as np

    brain = {LABELS[n] for n, inside in enumerate(brain_table().tolist()) if inside}
    inside = np.array([False, *(region.index in brain for region in recipe.regions)])

    def mask(classes: np.ndarray) -> np.ndarray:
        return inside[classes]

    return mask
