"""What one training process is told, and whether all that was asked of it is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_text
from bids_app.errors import UsageError
from bids_app.text import read_json

STATE, LOG, DONE, TASK, WEIGHTS = "state.pt", "log.csv", "done.json", "task.json", "weights.pt"
#: What the folder's checkpoint and answers were made of.
MADE_OF = "made_of.json"
FULL = "answers"
#: What a plan fits on the training side, or derives from its scans.
FITTED = ("normalisation", "targets", "covariates", "fitted_on", "field_of_view", "patch")
#: What a plan says of memory depends on what is free at the moment.
UNIMPORTANT = ("why", "memory_gb", "checked")


@dataclass(frozen=True)
class FoldTask:
    """All that one training process is told; kept as ``task.json`` in its folder.

    Attributes:
        recipe: as `Recipe.model_dump` gives it.
        levels: of every target, in the order of their codes; empty for a continuous one.
        plan: as `Plan.to_plain` gives it.
        fold: as `Split.to_plain` gives it.
        split: digest of the split.
        arm: as `Arm.to_plain` gives it.
        scans: folder of prepared scans.
        out: where checkpoint, log and answers go.
        seed: of weights, order and augmentation; the same for every arm.
        steps, minutes, patience: see `Course`.
        device, threads: where it runs.
        subsets: choices of sequences for which the test is answered too, the others taken away.
        start: folder of the fold whose encoder is frozen, and what decided its weights.
        data: what was read of each scan of the ``training`` and of the ``test`` side: a digest by part (``images``,
            ``labels``, ``targets``, ``covariates``), by the scan's key.
        answer: False for a training whose test has nobody (the final bundle).
    """

    recipe: dict[str, Any]
    levels: dict[str, list[str]]
    plan: dict[str, Any]
    fold: dict[str, Any]
    split: str
    arm: dict[str, Any]
    scans: str
    out: str
    seed: int = 0
    steps: int = 1000
    minutes: float | None = None
    patience: int = 0
    device: str = "cpu"
    threads: int = 1
    subsets: list[list[str]] = field(default_factory=list)
    start: str | None = None
    start_digest: str | None = None
    data: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    answer: bool = True

    @property
    def digest(self) -> str:
        """Of all that decides the weights: another checkpoint is not gone on from."""
        apart = ("scans", "out", "device", "threads", "subsets", "start", "data", "levels", "plan")
        kept = {name: value for name, value in asdict(self).items() if name not in apart}
        unused = UNIMPORTANT if self.arm["targets"] else (*UNIMPORTANT, "targets")
        kept["plan"] = {name: value for name, value in self.plan.items() if name not in unused}
        kept["levels"] = self.levels if self.arm["targets"] else {}
        if not self.arm["targets"]:
            kept["recipe"] = _without_levels(self.recipe)
        kept["data"] = {key: self._used(parts) for key, parts in self.data.get("training", {}).items()}
        return digest_of(kept)

    @property
    def options(self) -> str:
        """Of what a person decides: where this is the same and `digest` is not, the data have changed."""
        names = ("arm", "seed", "steps", "minutes", "patience", "answer", "split")
        kept = {name: getattr(self, name) for name in names} | {"fold": self.fold["name"]}
        kept["plan"] = {name: v for name, v in self.plan.items() if name not in (*UNIMPORTANT, *FITTED)}
        return digest_of({**kept, "recipe": _without_levels(self.recipe)})

    def wanted(self) -> dict[str, str]:
        """Folder of answers -> digest of what decides them; empty where nobody is tested."""
        if not self.answer:
            return {}
        seen = {
            key: {name: parts.get(name) for name in ("images", "covariates")}
            for key, parts in self.data.get("test", {}).items()
        }
        folders = [FULL, *map(subset_folder, self.subsets)]
        return {folder: digest_of([self.digest, seen, folder]) for folder in folders}

    def write(self) -> Path:
        """Keep it as ``task.json`` in its folder; what other data left there goes, so that it is made anew."""
        folder = Path(self.out)
        folder.mkdir(parents=True, exist_ok=True)
        made = _read(folder / MADE_OF)
        if made and made.get("options") == self.options and made.get("digest") != self.digest:
            for name in (STATE, f"{STATE}.previous", LOG, DONE, WEIGHTS, MADE_OF, *_best(folder)):
                (folder / name).unlink(missing_ok=True)
        path = folder / TASK
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> FoldTask:
        """The task that `write` kept.

        Raises:
            UsageError: the file is not such a task.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{path} does not say what to train: {error}") from error

    def keep_made_of(self) -> None:
        """Note what checkpoint and answers are made of."""
        facts = {"digest": self.digest, "options": self.options, "data": self.data}
        write_text(Path(self.out) / MADE_OF, json.dumps(facts, indent=1) + "\n")

    def _used(self, parts: Mapping[str, str]) -> dict[str, str]:
        """The parts of a training scan that this arm learns from."""
        unused = {"labels": not self.arm["segmentation"], "targets": not self.arm["targets"]}
        return {name: digest for name, digest in parts.items() if not unused.get(name)}


def is_trained(task: FoldTask) -> bool:
    """Whether this very task was trained: not with another plan, seed, number of steps, or other data."""
    return _done(task).get("digest") == task.digest and (Path(task.out) / WEIGHTS).is_file()


def is_done(task: FoldTask) -> bool:
    """Whether it was trained, and answered for all that is asked, on the scans as they are now."""
    answered = _done(task).get("answers") or {}
    return is_trained(task) and all(answered.get(folder) == digest for folder, digest in task.wanted().items())


def unanswered(task: FoldTask) -> list[str]:
    """Folders of answers that are not there, or are of other scans."""
    answered = (_done(task).get("answers") or {}) if is_trained(task) else {}
    return [folder for folder, digest in task.wanted().items() if answered.get(folder) != digest]


def changes(tasks: Iterable[FoldTask]) -> list[str]:
    """What changed since these tasks were trained, and what is therefore made again; one sentence per scan."""
    found: dict[str, dict[str, list[str]]] = {}
    for task in tasks:
        before = (_read(Path(task.out) / MADE_OF) or {}).get("data") or {}
        for side, again in (("training", "is trained again"), ("test", "answers for it, and is scored, again")):
            for key, parts in task.data.get(side, {}).items():
                old = (before.get(side) or {}).get(key)
                used = task._used(parts)
                changed = [name for name in used if old is not None and old.get(name) != used[name]]
                if changed:
                    text = f"{key}: {' and '.join(changed)} changed"
                    found.setdefault(text, {}).setdefault(again, []).append(f"{task.arm['name']} {task.fold['name']}")
    return [
        f"{text} since the last training: " + "; ".join(f"{', '.join(names)} {again}" for again, names in what.items())
        for text, what in found.items()
    ]


def subset_folder(subset: Sequence[str]) -> str:
    """Where the answers for a choice of sequences lie."""
    return f"{FULL}_{'+'.join(subset)}"


def digest_of(plain: Any) -> str:
    """Of anything that JSON holds."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _without_levels(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without the levels of its targets, which may come from the tables."""
    return {**recipe, "targets": [{**target, "levels": []} for target in recipe.get("targets", ())]}


def _best(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("best_*.pt*")]


def _done(task: FoldTask) -> dict[str, Any]:
    return _read(Path(task.out) / DONE) or {}


def _read(path: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None where it is not there, or holds something else."""
    try:
        facts, _ = read_json(path)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
