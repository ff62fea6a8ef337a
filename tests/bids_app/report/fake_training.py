"""A made-up training with everything a page can show: two regions, three targets, two splits, logs of two arms."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

ARMS = {
    "multi-task": "regions and targets are learned together",
    "segmentation-only": "without the targets",
    "target-only": "without the regions",
    "permuted": "negative control",
}


def row(value: float, spread: float = 0.03, participants: int = 40) -> dict[str, Any]:
    """An interval as evaluation gives it."""
    return {
        "value": value,
        "low": value - spread,
        "high": value + spread,
        "participants": participants,
        "sessions": participants + 3,
    }


def overlaps(dice: float, participants: int = 40, *, lesion: bool = False) -> dict[str, Any]:
    found = {
        "dice": row(dice, participants=participants),
        "nsd": row(dice + 0.05, participants=participants),
        "hd95_mm": row(2.4, 0.3, participants),
        "volume_error_mm3": row(-31.5, 20, participants),
        "absolute_volume_error_mm3": row(120.25, 30, participants),
        "relative_volume_error": row(-0.042, 0.02, participants),
        "false_positive_mm3": {"value": None, "low": None, "high": None, "participants": 0, "sessions": 0},
    }
    return found | ({"f1": row(0.61, 0.06, participants - 7)} if lesion else {})


def region(rng: np.random.Generator, dice: float, *, lesion: bool = False) -> dict[str, Any]:
    truth = rng.uniform(800, 2400, 40)
    answer = truth - 31.5 + rng.normal(0, 90, 40)
    apart = answer - truth
    found = overlaps(dice, lesion=lesion) | {
        "outcomes": {"true positive": 38, "false negative": 2, "false positive": 0, "true negative": 3},
        "bland_altman": {
            "bias": float(apart.mean()),
            "sd": float(apart.std()),
            "low": float(apart.mean() - 1.96 * apart.std()),
            "high": float(apart.mean() + 1.96 * apart.std()),
            "slope": 0.01,
            "count": 40,
            "truth": truth.tolist(),
            "answer": answer.tolist(),
        },
        "by_site": {
            "north": overlaps(dice + 0.01, 22, lesion=lesion),
            "south": overlaps(dice - 0.02, 18, lesion=lesion),
        },
        "by_sex": {"F": overlaps(dice, 21, lesion=lesion), "M": overlaps(dice, 19, lesion=lesion)},
    }
    if lesion:
        rates = {m: row(0.6, 0.05) for m in ("precision", "recall", "f1")}
        found["detection"] = {
            "all": {"lesions": 310, "found": 201, "answers": 280, "right": 190, "count_error": -30, **rates},
            "small": {"lesions": 200, "found": 101, "answers": 190, "right": 95, "count_error": -10, **rates},
            "mean_count_error": row(-0.7, 0.5),
        }
    return found


def target(rng: np.random.Generator, kind: str, auc: float = 0.78) -> dict[str, Any]:
    measures = {
        "binary": {
            "auc": row(auc, 0.07),
            "balanced_accuracy": row(0.71, 0.08),
            "sensitivity": row(0.7, 0.1),
            "specificity": row(0.72, 0.1),
            "brier": row(0.19, 0.03),
            "log_loss": row(0.57, 0.05),
            "calibration_slope": {"value": 0.83, "low": None, "high": None, "participants": 40, "sessions": 43},
            "calibration_intercept": {"value": None, "low": None, "high": None, "participants": 40, "sessions": 43},
            "ece": row(0.08, 0.03),
        },
        "continuous": {
            "mae": row(5.4, 0.9),
            "r2": row(0.55, 0.12),
            "correlation": row(0.76, 0.1),
            "bias": row(-0.4, 1),
        },
        "ordinal": {"mae": row(0.4, 0.1), "kappa": row(0.6, 0.1), "balanced_accuracy": row(0.52, 0.1)},
    }[kind]
    found = {"kind": kind, "notes": [], "participants": 40, "sessions": 43, "measures": measures}
    found["by_site"] = {
        s: {"notes": [], "participants": 20, "sessions": 21, "measures": measures} for s in ("north", "south")
    }
    if kind == "binary":
        found["notes"] = ["one class is rare: 6 of 43 sessions"]
        found["reliability"] = [
            {"said": p, "happened": float(np.clip(p + rng.normal(0, 0.06), 0, 1)), "count": n}
            for p, n in ((0.05, 9), (0.18, 12), (0.37, 6), (0.52, 5), (0.74, 7), (0.91, 4))
        ]
    if kind == "continuous":
        truth = rng.uniform(20, 80, 40)
        found["bland_altman"] = {
            "bias": -0.4,
            "truth": truth.tolist(),
            "answer": (truth + rng.normal(0, 6, 40)).tolist(),
        }
    return found


def summary(seed: int, dice: float, *, regions: bool = True, targets: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {
        "participants": 40,
        "sessions": 43,
        "unanswered": ["sub-07"],
        "rules": "Dice counts where the truth is not empty.",
        "tolerance_mm": 1.0,
        "regions": {},
        "targets": {},
    }
    if regions:
        found["regions"] = {"anterior": region(rng, dice), "lesion": region(rng, dice - 0.2, lesion=True)}
        found["regions"]["all regions"] = overlaps(dice - 0.1)
    if targets:
        found["targets"] = {
            "diagnosis": target(rng, "binary"),
            "age": target(rng, "continuous"),
            "grade": target(rng, "ordinal"),
        }
    return found


def comparison() -> dict[str, Any]:
    spec = [
        ("segmentation-only", "region", "anterior", "dice", -0.012, -0.02, -0.004, True, 0.012, True),
        ("segmentation-only", "region", "lesion", "f1", 0.008, -0.02, 0.03, True, 0.7, False),
        ("target-only", "target", "diagnosis", "auc", -0.05, -0.13, 0.02, True, 0.31, False),
        ("volumes", "target", "age", "mae", 1.4, 0.3, 2.6, False, 0.0004, True),
        ("volumes", "target", "diagnosis", "auc", None, None, None, True, None, False),
    ]
    rows = [
        {
            "arm": arm,
            "reference": "multi-task",
            "kind": kind,
            "what": what,
            "measure": measure,
            "value": 0.8,
            "reference_value": 0.81,
            "difference": difference,
            "low": low,
            "high": high,
            "better": better,
            "participants": 40,
            "sessions": 43,
            "test": "permutation",
            "p": p,
            "p_holm": p,
            "shown": shown,
            "title": f"{measure} {what}",
        }
        for arm, kind, what, measure, difference, low, high, better, p, shown in spec
    ]
    return {"reference": "multi-task", "arms": ["segmentation-only"], "rows": rows, "sentence": "Shown.", "notes": []}


def rich() -> dict[str, Any]:
    """Results with everything."""
    arms: dict[str, Any] = {}
    for number, (name, text) in enumerate(ARMS.items()):
        learns = {"regions": name != "target-only", "targets": name != "segmentation-only"}
        splits = {}
        for split, drop in (("folds", 0.0), ("sites", 0.04)):
            splits[split] = {
                "summary": summary(number, 0.86 - drop, **learns),
                "subsets": {"T1w+FLAIR": summary(5, 0.85), "FLAIR": summary(6, 0.8), "T1w": summary(7, 0.7)}
                if name == "multi-task"
                else {},
                "folds": [{"fold": f"fold-{k}", "steps": 2000, "seconds": 1834.2, "peak_gb": 2.31} for k in (1, 2)],
                "repeats": {},
            }
        arms[name] = {"description": text, "splits": splits}
    folds = [{"name": f"fold-{k}", "train": 27, "validation": 5, "test": 8} for k in (1, 2, 3)]
    return {
        "recipe": {"name": "ms", "title": "Lesions & grade <b>"},
        "arms": arms,
        "cohort": {
            "participants": 40,
            "sessions": 43,
            "labelled": 41,
            "with_lesion": 38,
            "sequences": {"T1w": 43, "FLAIR": 40},
            "targets": {
                "diagnosis": {"kind": "binary", "known": 43, "classes": {"control": 20, "MS <1>": 23}},
                "age": {"kind": "continuous", "known": 42, "mean": 44.1, "sd": 12.3, "range": [21.0, 79.0]},
            },
            "sites": {"north": 22, "south": 18},
            "sexes": {"F": 21, "M": 19},
            "age_range": [21.0, 79.0],
            "groups": 0,
            "notes": ["41 of 43 sessions are labelled"],
        },
        "splits": {
            "folds": {"digest": "ab12cd34ef567890", "how": {"kind": "k-fold", "k": 3, "seed": 0}, "folds": folds},
            "sites": {
                "digest": "99aa",
                "how": {"kind": "leave-one-site-out", "sites": ["north", "south"]},
                "folds": folds,
            },
        },
        "plan": {
            "spacing_mm": 1.0,
            "patch": [96, 96, 96],
            "batch": 2,
            "rate": 0.001,
            "why": ["the whole view must be seen"],
            "normalisation": {"T1w": {"kind": "scan"}},
            "checked": {"seconds_per_step": 0.81, "peak_gb": 2.31},
        },
        "baselines": {"volumes": {"splits": {"folds": {"summary": summary(9, 0.8, regions=False)}}}},
        "comparison": {"folds": comparison(), "sites": comparison()},
        "controls": {
            "text": "With permuted targets the answers are at chance.",
            "passed": True,
            "rows": [
                {
                    "target": "diagnosis",
                    "measure": "auc",
                    "value": 0.48,
                    "low": 0.35,
                    "high": 0.61,
                    "chance": 0.5,
                    "verdict": "at chance",
                    "participants": 40,
                }
            ],
        },
        "nested": {"fold-1": {"weight": 0.3, "cost": {"0.1": 0.91, "0.3": 0.84}}},
        "calibration": {"temperature": 1.2, "thresholds": {"anterior": 0.45}, "targets": {"age": {"half_width": 9.5}}},
        "bundle": {"path": "OUT/bundles/ms", "sha256": "0f" * 32, "megabytes": 7.4},
        "failed": ["target-only/fold-3: the loss is nan"],
        "sentences": ["Multi-task learning raised the Dice."],
        "command": "tandem BIDS OUT train --recipe ms --compare tasks",
        "versions": {"tandem": "0.1.0", "torch": "2.8"},
        "notes": ["sub-09 is left out: no FLAIR"],
    }


def write_logs(root: Path, *, folds: int = 3) -> dict[str, list[Path]]:
    """Logs as training leaves them: losses every ten steps, cosines at some, validation on rows of its own."""
    logs: dict[str, list[Path]] = {}
    rng = np.random.default_rng(3)
    for arm, tasks in {"multi-task": ("segmentation", "diagnosis"), "segmentation-only": ("segmentation",)}.items():
        for fold in range(1, folds + 1):
            path = root / arm / f"fold-{fold}" / "log.csv"
            path.parent.mkdir(parents=True)
            names = ["step", "seconds", *(f"loss_{t}" for t in tasks), "loss", "gradient"]
            names += [f"cosine_{t}" for t in tasks[1:]] + [f"validation_{t}" for t in tasks] + ["validation_joint"]
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, names, restval="")
                writer.writeheader()
                for step in range(10, 2001 - 200 * fold, 10):
                    losses = {f"loss_{t}": 0.3 + 1.2 * np.exp(-step / 300) + rng.normal(0, 0.04) for t in tasks}
                    seen = {f"cosine_{t}": rng.normal(0.1, 0.2) for t in tasks[1:]} if step % 50 == 0 else {}
                    writer.writerow(
                        {"step": step, "seconds": step / 10, **losses, **seen, "loss": sum(losses.values())}
                    )
                    if step % 100 == 0:
                        checked = {f"validation_{t}": 0.4 + np.exp(-step / 300) for t in tasks}
                        writer.writerow({"step": step, **checked, "validation_joint": 1.0})
            logs.setdefault(arm, []).append(path)
    return logs
