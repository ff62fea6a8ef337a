"""The lesson of recipes whose target is known of people of whom a lesion mask is known, and no scan.

What is real: the mask, at its place in the template, and the target. What is drawn: a head of somebody else from a
label map, brought to the template, with the lesion painted into it by its signal equations. The network learns the
lesion; the targets' heads are solved exactly at the end, on what the network's own answers read of drawn scans of the
people who train. Every fifth person trains nothing: some of them calibrate, the others judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.errors import UsageError
from bids_app.lessons.judge import CALIBRATE, JUDGE, Truth
from bids_app.lessons.lesions import EVALUATION, RANGES, LesionLesson, check_pathology
from bids_app.lessons.lesson import SCHEDULE, DrawPlan, label_map_names, taught_by
from bids_app.lessons.masks import Masks, load_masks
from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import Scan
from bids_app.synthesis.heads.labelmaps import brain_table, load_label_maps
from bids_app.synthesis.heads.placed import MIDDLE_MNI, PlacedMap, place_map
from bids_app.synthesis.pathology.painting import PathologyPainter
from bids_app.synthesis.scanner.generator import CORNERS, Ranges

if TYPE_CHECKING:
    import torch

    from bids_app.bundle.bundle import Bundle
    from bids_app.networks.multitask import MultiTaskNet
    from bids_app.train.state import State

#: How scans differ: a brain behind its mask, turned as well as a registration can, in the middle, never mirrored.
PLACED = replace(RANGES, mirror=0.0, turn=0.08, scale=0.06, near_brain=1.0, shift_mm=4.0)
#: Percentiles of a brain's voxels along each axis, and where they lie in the ICBM152 brain, MNI mm (measured on the
#: mask that nilearn carries).
EXTENT = (1.0, 99.0)
ICBM = ((-64.0, -96.0, -56.0), (64.0, 63.0, 72.0))
#: Scans of 4 mm are drawn in little time, and are many to a step.
PLAN = DrawPlan(batch=4, reuse=4, pool=96, schedule=replace(SCHEDULE, average=0.99))
#: First number of the scans that heads are solved on, and how many there are of each person.
SOLVE, ROUNDS = 700_000_000, 2
#: How many of them say what a familiar scan looks like.
USUAL = 400


def stretched(placed: PlacedMap) -> PlacedMap:
    """A map whose brain reaches along each axis as far as that of the template."""
    import torch

    inside = brain_table()[placed.label_map.labels.long()].nonzero()[::50].float()
    own = torch.from_numpy(np.percentile((inside @ placed.steps + placed.origin).numpy(), EXTENT, axis=0)).float()
    low, high = (torch.tensor(side) - torch.tensor(MIDDLE_MNI) for side in ICBM)
    scale = (high - low) / (own[1] - own[0])
    return replace(placed, origin=(placed.origin - own[0]) * scale + low, steps=placed.steps * scale)


@dataclass
class OutcomeLesson(LesionLesson):
    """Scans of other people's heads with the lesions of people whose targets are known.

    Attributes:
        people: the ``n``-th scan has the lesion of the ``n``-th of them, and begins anew after the last.
    """

    plan: DrawPlan = PLAN
    how: Ranges = PLACED
    people: Masks | None = None

    def known_targets(self) -> Sequence[str]:
        return [target.name for target in self.recipe.targets]

    @classmethod
    def load(
        cls, recipe: Recipe, data_root: Path, seed: int, *, held_out: bool = False, leave_out: Sequence[str] = ()
    ) -> OutcomeLesson:
        """Label maps and people that train, or those that calibrate and judge.

        Raises:
            UsageError: the recipe's pathology cannot be drawn, or its targets are to teach the network.
        """
        spec = taught_by(recipe)
        check_pathology(recipe, spec)
        if recipe.learning.target_gradient != "none":
            raise UsageError(
                f"the recipe {recipe.name}: heads of a lesson of outcomes are solved at the end, so that "
                f"target_gradient is 'none', not {recipe.learning.target_gradient!r}"
            )
        names = label_map_names(data_root, spec, held_out=held_out)
        placed = [stretched(place_map(one)) for one in load_label_maps(data_root / spec.label_maps, names)]
        lesson = cls(recipe, placed, seed, data_root=data_root)
        lesson.people = load_masks(
            recipe, data_root, spec.real[0].folder, held_out=held_out, leave_out=() if held_out else leave_out
        )
        return lesson

    @property
    def known(self) -> Masks:
        if self.people is None:
            raise UsageError("whose lesions are known is not loaded: load the lesson from its folder")
        return self.people

    def person(self, number: int) -> int:
        """Whose lesion the ``number``-th scan has."""
        return number % len(self.known.names)

    def painter(self, number: int, placed: PlacedMap, names: tuple[str, ...]) -> PathologyPainter:
        return replace(super().painter(number, placed, names), core=self.known.core(self.person(number)))

    def classes_of(self, paint: PathologyPainter, at: torch.Tensor) -> torch.Tensor:
        """Voxels of which the lesion fills half or more."""
        import torch

        assert paint.core is not None
        step = 0.25 * self.recipe.needed_grid.spacing_mm / paint.placed.label_map.spacing
        corners = [paint.placed.places(at + step * at.new_tensor(c).reshape(3, 1, 1, 1)) for c in CORNERS]
        return (torch.stack([paint.core(one) for one in corners]).mean(0) >= 0.5).to(torch.uint8)

    @cached_property
    def scalings(self) -> dict[str, dict[str, Any]]:
        return self.known.scalings

    def judging(self) -> OutcomeLesson:
        """The lesson of those who train nothing, by another scanner.

        Raises:
            UsageError: this one was not loaded from a folder.
        """
        if self.data_root is None:
            raise UsageError("where the label maps lie is not known: load the lesson from its folder")
        judge = OutcomeLesson.load(self.recipe, self.data_root, self.seed, held_out=True)
        own = {name: value for name, value in EVALUATION.items() if name not in ("turn", "scale")}
        judge.how = replace(judge.how, **own)
        return judge

    def export(
        self, state: State, out_dir: Path, *, seed: int, note: str = "", beside: Sequence[MultiTaskNet] = ()
    ) -> Path:
        """Solve the heads on those who train; calibrate and judge on those who do not."""
        from bids_app.bundle.trial import trial_bundle
        from bids_app.lessons.export import export_drawn
        from bids_app.predict.vote import fit_familiarity

        judge = self.judging()
        told = solve_outcomes(state.mean, self)
        normalisation = {s.name: how for s, how in zip(self.recipe.sequences, self.normalisation, strict=True)}
        plan = {"targets": self.scalings, "normalisation": normalisation, "patch": list(self.seen)}
        trial = trial_bundle(self.recipe, [*beside, state.mean], {"threshold": 0.5, "temperature": 1.0}, plan)
        usual = fit_familiarity(self.recipe, (self.scan(SOLVE + n) for n in range(USUAL)))
        targets, measured = calibrate_and_judge(trial, judge)
        folder = self.spec.real[0]
        answers = {
            "plan": {"targets": self.scalings},
            "calibration": {"targets": targets, **({"familiarity": usual.to_plain()} if usual else {})},
            "metrics": {"heads": told, "outcomes": measured},
        }
        return export_drawn(
            state,
            self,
            judge.truth,
            out_dir,
            seed=seed,
            patch=self.seen,
            held_out=[one.label_map.name for one in judge.placed],
            normalisation=normalisation,
            note=note,
            beside=beside,
            more=f", around real lesion masks of {len(self.known.names)} people ({folder.folder}: {folder.licence})",
            answers=answers,
            people=len(self.known.names),
        )

    def scan(self, number: int) -> Scan:
        """A scan as the fit of what is familiar takes it."""
        truth, person = self.truth(number), self.person(number)
        name = self.known.names[person]
        spacing = self.recipe.needed_grid.spacing_mm
        return Scan(name, name, truth.stack, truth.present, None, spacing, self.known.targets[person], np.zeros(0))


def solve_outcomes(network: MultiTaskNet, lesson: OutcomeLesson) -> dict[str, dict[str, Any]]:
    """The exact solution of every head on `ROUNDS` drawn scans of everybody; see `bids_app.train.heads.fit_heads`."""
    import torch

    from bids_app.networks.standardise import normalise
    from bids_app.train.heads import Readings, fit_heads

    people, rows, images = lesson.known, [], []
    network.eval()
    for number in range(SOLVE, SOLVE + ROUNDS * len(people.names)):
        stack = torch.from_numpy(lesson.truth(number).stack)
        with torch.inference_mode():
            readings = network.look(normalise(stack, lesson.normalisation)[None])[2]
        assert readings is not None  # a network with linear heads reads its regions
        images.append(readings[0].float().numpy())
        rows.append(lesson.person(number))
    image = np.array(images, float)
    return fit_heads(
        network,
        lesson.recipe.targets,
        people.targets[rows],
        [people.names[row] for row in rows],
        Readings(image, np.zeros((len(image), network.shape.late))),
        scalings=people.scalings,
        levels={name: len(levels) for name, levels in people.levels.items()},
    )


def calibrate_and_judge(trial: Bundle, judge: OutcomeLesson) -> tuple[dict[str, Any], dict[str, Any]]:
    """Per target what `TargetKind.calibrate` fits on every other person who trained nothing, and scores of the others.

    Beside them stand the scores of what the logarithm of the same network's lesion volume tells, fitted on those who
    calibrate: a head is worth its place where it is better than that.
    """
    from bids_app.predict.targets import outputs_of, predict_targets

    people = judge.known
    first, second = (range(start, len(people.names), 2) for start in (0, 1))
    calibrated: dict[str, Any] = {}
    scans = {n: judge.truth(_number(CALIBRATE, n, judge)) for n in first}
    said = {n: outputs_of(trial, scan.stack, scan.present) for n, scan in scans.items()}
    for column, target in enumerate(trial.recipe.targets):
        known = [n for n in first if np.isfinite(people.targets[n, column])]
        outputs = np.array([np.mean([member[target.name] for member in said[n]], 0) for n in known])
        truth = people.targets[known, column]
        calibrated[target.name] = target.behaviour.calibrate(outputs, truth, len(known))
    trial.calibration["targets"] = calibrated
    others = {n: judge.truth(_number(JUDGE, n, judge)) for n in second}
    answers = {n: predict_targets(trial, scan.stack, scan.present) for n, scan in others.items()}
    sizes = {n: _log_ml(trial, scan) for n, scan in (scans | others).items()}
    measured = {}
    for column, target in enumerate(trial.recipe.targets):
        known = [n for n in second if np.isfinite(people.targets[n, column])]
        truth = people.targets[known, column]
        fit = [n for n in first if np.isfinite(people.targets[n, column])]
        x, new = (np.array([[sizes[n]] for n in rows]) for rows in (fit, known))
        by_size = target.behaviour.baseline(x, people.targets[fit, column], new, len(target.levels))
        measured[target.name] = {
            "people": len(known),
            **_scores(target, [answers[n][target.name] for n in known], truth),
            "by_volume": _baseline_scores(target, by_size, truth),
        }
    return calibrated, measured


def _log_ml(trial: Bundle, scan: Truth) -> float:
    """Logarithm of the volume of a network's own mask, ml; an empty one counts as a tenth of a voxel."""
    from bids_app.predict.predict import predict

    voxel = trial.recipe.needed_grid.spacing_mm**3 / 1000
    marked = (predict(trial, scan.stack, scan.present)[0] >= 0.5).sum() * voxel
    return float(np.log(marked + voxel / 10))


def _baseline_scores(target: Any, said: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """Every measure of what a baseline says, as `TargetKind.baseline` gives it."""
    behaviour = target.behaviour
    value, probability = (behaviour.decide(said), said) if behaviour.has_levels else (said[:, 0], None)
    return _plain(behaviour.scores(truth, value, probability, target.levels).values)


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: round(float(value), 4) if np.isfinite(value) else None for name, value in values.items()}


def _number(first: int, person: int, lesson: OutcomeLesson) -> int:
    """The first scan from ``first`` on that has this person's lesion."""
    return first + (person - lesson.person(first)) % len(lesson.known.names)


def _scores(target: Any, answers: Sequence[dict[str, Any]], truth: np.ndarray) -> dict[str, float | None]:
    """Every measure of a target, None where it is not defined; for a value also how often its interval held it."""
    from bids_app.lessons.drawn_targets import answered

    behaviour = target.behaviour
    scores = _plain(behaviour.scores(truth, *answered(behaviour, answers), target.levels).values)
    if not behaviour.has_levels and answers[0]["low"] is not None:
        held = [answer["low"] <= value <= answer["high"] for answer, value in zip(answers, truth, strict=True)]
        scores["coverage"] = round(float(np.mean(held)), 4)
    return scores
