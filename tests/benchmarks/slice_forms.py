"""One slice, a slice with its neighbours, or the whole brain: one phantom cohort, the same people and steps.

    python -m tests.benchmarks.slice_forms OUT [--train 40] [--test 60] [--steps 200] [--quick]

Training and test differ in anatomy and scanner as in `multitask_dial`; the outcome depends on the logarithm of the
whole lesion volume. Slices lie at the level where most training lesions are, and are learned at every slice up to
``--range`` mm from it. Printed per form: Dice of the lesions in the slice at the level (pooled over people), of the 3-D
form in the same slice; AUC of the outcome, by participant; CPU seconds of one step on one thread, and of training
and answering together.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_app.measure.overlap import dice
from bids_app.recipes.recipe import Recipe
from bids_app.scans.scan import Scan, load_scans
from bids_app.train.arms import arms_of
from bids_app.train.fold import Trial
from bids_app.train.task import FoldTask
from tests.benchmarks.phantom_trials import draw_both, parser_of, read_options, spacing_of, train_and_answer
from tests.learned.phantom_cohort import phantom_recipe

FORMS = {"2-D": 1, "2.5-D": 3, "3-D": 0}
#: Steps that are timed, after some that are not.
TIMED, WARM = 8, 2


def form_recipe(solid: Recipe, slices: int) -> Recipe:
    """The recipe in one form; 0 slices for the whole brain."""
    if not slices:
        return solid
    plain = solid.model_dump()
    plain["grid"] |= {"flat": True}
    plain["network"] |= {"dimensions": 2, "slices": slices}
    return Recipe.model_validate(plain)


def slices_of(scan: Scan, level: int, around: int, slices: int) -> list[Scan]:
    """The slice at a level and those around it, each a scan of the same participant with its neighbours."""
    found, side = [], slices // 2
    for offset in range(-around, around + 1):
        middle = level + offset
        part = scan.stack[..., middle - side : middle + side + 1]
        labels = scan.labels[..., middle : middle + 1]
        key = scan.key + (f"_slice{offset:+d}" if offset else "")
        found.append(replace(scan, key=key, stack=part.copy(), labels=labels.copy(), offset=offset))
    return found


def level_of(scans: Sequence[Scan]) -> int:
    """Where most lesion voxels are."""
    return int(np.argmax(np.sum([scan.labels.sum((0, 1)) for scan in scans], axis=0)))


def cpu_per_step(out: Path, timed: int = TIMED) -> float:
    """Median CPU seconds of one whole step on one thread, of so many."""
    import torch

    from bids_app.train.loop import Schedule, Worker
    from bids_app.train.tasks import TaskStep

    torch.set_num_threads(1)
    task = FoldTask.read(out / "task.json")
    trial = Trial(task)
    patches, state = trial.patches(load_scans(Path(task.scans), trial.fold.all_training)), trial.state()
    schedule = Schedule(task.steps, rate=trial.plan.rate, look_every=0, compile=False)
    step = TaskStep(
        state, trial.losses(), schedule, task.seed, augmentation=trial.augmentation(), worker=Worker(task.device)
    )
    state.network.train()
    took = []
    for number in range(WARM + timed):
        started = time.process_time()
        step(patches.batch(number))
        took.append(time.process_time() - started)
    return float(np.median(took[WARM:]))


def judged(out: Path, test: Sequence[Scan], level: int, *, solid: bool) -> dict[str, float]:
    """Dice in the slice at the level over all people, and AUC of the outcome."""
    from sklearn.metrics import roc_auc_score

    marks, truth, outcome, answers = [], [], [], []
    for scan in test:
        with np.load(out / "answers" / f"{scan.key}.npz") as parts:
            probability, logits = parts["probability"][0].astype(np.float32), parts["target_outcome"]
        place = level if solid else 0
        marks.append(probability[..., place] >= 0.5)
        truth.append(scan.labels[..., level] > 0)
        outcome.append(scan.targets[0])
        answers.append(float(logits[1] - logits[0]))
    return {"dice": float(dice(np.stack(marks), np.stack(truth))), "auc": float(roc_auc_score(outcome, answers))}


def run(options: Namespace) -> list[dict[str, float | str]]:
    """A row per form."""
    solid = phantom_recipe(
        ("T1w", "FLAIR"),
        targets=("outcome",),
        spacing=spacing_of(options),
        steps=options.steps,
        rate=options.rate,
        batch=options.batch,
        filters=options.filters,
        blocks=tuple(options.blocks),
        fold=options.fold,
    )
    train, test = draw_both(solid, options, 0, truth="total")
    level, around = level_of(train), round(options.range / spacing_of(options))
    rows: list[dict[str, float | str]] = []
    for form, slices in FORMS.items():
        recipe = form_recipe(solid, slices)
        learned = [one for scan in train for one in slices_of(scan, level, around, slices)] if slices else train
        asked = [slices_of(scan, level, 0, slices)[0] for scan in test] if slices else test
        out, started = options.out / form / "multi-task", time.process_time()
        train_and_answer(arms_of(recipe)[0], recipe, learned, asked, out, options, seed=options.seed)
        spent = time.process_time() - started
        row = {"form": form, **judged(out, test, level, solid=not slices), "step": cpu_per_step(out), "all": spent}
        rows.append(row)
        print(json.dumps(row), flush=True)
    (options.out / "slice_forms.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def table(rows: Sequence[dict[str, float | str]]) -> str:
    """As the documentation has it."""
    head = "| form | Dice in the slice | AUC of the outcome | CPU seconds per step | CPU seconds in all |"
    head += "\n|---|---|---|---|---|"
    lines = [f"| {r['form']} | {r['dice']:.3f} | {r['auc']:.3f} | {r['step']:.3f} | {r['all']:.0f} |" for r in rows]
    return "\n".join([head, *lines])


def main() -> None:
    parser = parser_of(__doc__ or "", train=40, test=60, steps=200, replicates=1)
    parser.add_argument("--range", type=float, default=10.5, help="mm above and below the level that are learned")
    parser.set_defaults(filters=8, threads=1)
    print(table(run(read_options(parser))))


@pytest.mark.benchmark
def test_every_form_has_its_row(tmp_path):
    quick = Namespace(
        out=tmp_path, train=12, test=12, steps=4, minutes=None, filters=4, blocks=(1, 1, 1), fold=2, batch=4, rate=2e-3,
        threads=1, device="cpu", seed=0, coarse=True, range=5.0,
    )  # fmt: skip
    rows = run(quick)
    assert [row["form"] for row in rows] == list(FORMS)
    assert all(np.isfinite(row["dice"]) and 0 <= row["auc"] <= 1 for row in rows)
    assert rows[0]["step"] < rows[2]["step"]


if __name__ == "__main__":
    main()
