"""Hippocampus beside nnU-Net: one split, the same cores, the same minutes; Dice of the held-out fold.

    python -m venv NN && NN/bin/pip install torch==2.13.0 nnunetv2==2.5.2 dynamic_network_architectures==0.3.1
    python -m tests.benchmarks.hippocampus_nnunet OUT --nnunet-python NN/bin/python

nnU-Net runs in an environment of its own with its default 3d_fullres plan and its own one-epoch trainer (250 steps and
50 validation steps: about 30 minutes on 2 idle cores). It always gets its whole epoch, and Tandem gets ``--minutes``;
wall-clock and CPU minutes of both are printed. ``--only`` runs one side; the table is made of what lies in OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.cohort.cohort import load_cohort
from bids_app.cohort.prepare import prepare_cohort
from bids_app.cohort.raw import raw_sessions
from bids_app.cohort.split import Fold, Member, Split, draw_folds
from bids_app.judge.answers import decide
from bids_app.recipes.recipe import load_recipe
from bids_app.scans.scan import load_scans
from bids_app.settings import Settings
from bids_app.train.arms import base_arm
from bids_app.train.fold import FoldTask, run_fold
from bids_app.train.plan import make_plan
from tests.data import real

ROOT = Path(__file__).parents[2]
REGIONS = {"anterior": 1, "posterior": 2}
DATASET = "Dataset004_Hippocampus"
#: nnU-Net 2.5.2 hands torch's scheduler a third argument that it no longer takes.
RUNNER = """
import torch.optim.lr_scheduler as schedulers
plain = schedulers.LRScheduler.__init__
schedulers._LRScheduler.__init__ = schedulers.LRScheduler.__init__ = (
    lambda self, optimizer, last_epoch=-1, verbose=None: plain(self, optimizer, last_epoch))
from nnunetv2.run.run_training import run_training_entry
run_training_entry()
"""


def the_fold(data: Path, number: int = 0) -> Fold:
    """The fold that both sides are tested on: the first of the cross-validation's five."""
    members = [Member(path.name.removeprefix("sub-")) for path in sorted(data.glob("sub-*"))]
    return draw_folds(members, 5, seed=0).folds[number]


def label_of(data: Path, participant: str) -> Path:
    name = f"sub-{participant}"
    return data / "derivatives" / "manual" / name / "anat" / f"{name}_space-orig_seg-hippocampus_dseg.nii.gz"


def run_nnunet(data: Path, out: Path, python: str, fold: Fold, threads: int) -> None:
    """Plan, preprocess, train one epoch and predict the held-out participants, as a user of nnU-Net would."""
    folders = {name: out / "nnunet" / name for name in ("raw", "preprocessed", "results")}
    raw = folders["raw"] / DATASET
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    for participant in fold.all_training + fold.test:
        name = f"sub-{participant}"
        links = {
            raw / "imagesTr" / f"{name}_0000.nii.gz": data / name / "anat" / f"{name}_T1w.nii.gz",
            raw / "labelsTr" / f"{name}.nii.gz": label_of(data, participant),
        }
        for link, target in links.items():
            if not link.exists():
                link.symlink_to(target.resolve())
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **REGIONS},
        "numTraining": len(fold.all_training + fold.test),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    env = {
        **os.environ,
        "nnUNet_raw": str(folders["raw"]),
        "nnUNet_preprocessed": str(folders["preprocessed"]),
        "nnUNet_results": str(folders["results"]),
        "nnUNet_compile": "0",
        "nnUNet_n_proc_DA": "1",
        "OMP_NUM_THREADS": str(threads),
    }
    plan = Path(python).with_name("nnUNetv2_plan_and_preprocess")
    _call([str(plan), "-d", "4", "-c", "3d_fullres", "-np", "2", "--verify_dataset_integrity"], env)
    names = {
        "train": [f"sub-{p}" for p in fold.all_training],
        "val": [f"sub-{p}" for p in fold.test],
    }
    (folders["preprocessed"] / DATASET / "splits_final.json").write_text(json.dumps([names]))
    started = time.monotonic()
    cpu = _call([python, "-c", RUNNER, "4", "3d_fullres", "0", "-tr", "nnUNetTrainer_1epoch", "-device", "cpu"], env)
    found = next(folders["results"].glob(f"{DATASET}/nnUNetTrainer_1epoch__*/fold_0/validation"))
    log = "\n".join(path.read_text() for path in found.parent.glob("training_log_*.txt"))
    epoch = [float(line.rpartition("Epoch time:")[2].split()[0]) for line in log.splitlines() if "Epoch time:" in line]
    minutes = {
        "training_minutes": sum(epoch) / 60,
        "with_prediction_minutes": (time.monotonic() - started) / 60,
        "cpu_minutes": cpu / 60,
    }
    rows = score(data, fold, lambda p: nib.load(found / f"sub-{p}.nii.gz"))
    (out / "nnunet.json").write_text(json.dumps({**minutes, "rows": rows}, indent=1))


def run_tandem(data: Path, out: Path, fold: Fold, minutes: float, threads: int) -> None:
    """The recipe that ships, on the same fold, for so many minutes by the clock."""
    recipe = load_recipe("hippocampus")
    settings = Settings(bids_dir=data, output_dir=out / "tandem")
    sessions, _ = raw_sessions(settings, recipe)
    manual = {"manual": data / "derivatives" / "manual"}
    cohort = load_cohort(recipe, data, manual, settings.output_dir, sessions=sessions)
    scans = out / "tandem" / "scans"
    prepare_cohort(cohort, recipe, scans, jobs=threads)
    plan = make_plan(recipe, load_scans(scans, fold.all_training), memory_gb=6, fold_name=fold.name, steps=10**6)
    plain = Split((fold,)).to_plain()
    task = FoldTask(
        recipe=recipe.model_dump(mode="json"),
        levels={},
        plan=json.loads(json.dumps(asdict(plan))),
        fold=plain["folds"][0],
        split=plain["digest"],
        arm=base_arm(recipe).to_plain(),
        scans=str(scans),
        out=str(out / "tandem" / "fold"),
        steps=10**6,
        minutes=minutes,
        threads=threads,
    )
    started, cpu = time.monotonic(), time.process_time()
    run_fold(task)
    found = {
        "training_minutes": json.loads((Path(task.out) / "done.json").read_text())["seconds"] / 60,
        "with_prediction_minutes": (time.monotonic() - started) / 60,
        "cpu_minutes": (time.process_time() - cpu) / 60,
    }

    def answer_of(participant: str) -> nib.Nifti1Image:
        with np.load(Path(task.out) / "answers" / f"sub-{participant}.npz") as parts:
            return nib.Nifti1Image(decide(parts["probability"].astype(np.float32), recipe, 0.5).astype(np.uint8), None)

    (out / "tandem.json").write_text(json.dumps({**found, "rows": score(data, fold, answer_of)}, indent=1))


def score(data: Path, fold: Fold, answer_of) -> list[dict]:
    """Dice per held-out participant and region, on the label's own grid."""
    rows = []
    for participant in fold.test:
        truth = np.asarray(nib.load(label_of(data, participant)).dataobj)
        answer = np.asarray(answer_of(participant).dataobj)
        row: dict = {"participant": participant}
        for name, index in REGIONS.items():
            one, other = answer == index, truth == index
            row[name] = float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))
        rows.append(row)
    return rows


def report(out: Path) -> None:
    sides = {name: out / f"{name}.json" for name in ("nnunet", "tandem")}
    print(f"{'':10} {'anterior':>10} {'posterior':>10} {'wall min':>10} {'CPU min':>10}")
    for name, path in sides.items():
        if path.is_file():
            found = json.loads(path.read_text())
            means = [np.mean([row[region] for row in found["rows"]]) for region in REGIONS]
            print(
                f"{name:10} {means[0]:10.4f} {means[1]:10.4f} {found['training_minutes']:10.1f} "
                f"{found['cpu_minutes']:10.1f}"
            )


def _call(command: list[str], env: dict[str, str]) -> float:
    """CPU seconds of a command and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nnunet-python", default=sys.executable)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("nnunet", "tandem", "report"))
    options = parser.parse_args()
    data, out = real("hippocampus"), options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    fold = the_fold(data)
    if options.only in (None, "nnunet"):
        run_nnunet(data, out, options.nnunet_python, fold, options.threads)
    if options.only in (None, "tandem"):
        run_tandem(data, out, fold, options.minutes, options.threads)
    report(out)


if __name__ == "__main__":
    main()
