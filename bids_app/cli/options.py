"""One table of options: the parser, its help, the TOML file and the Boutiques descriptor are all made from it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEVELS = ("participant", "group", "train")
SPACES = ("T1w", "orig", "MNI152NLin2009cAsym")
UNITS = {"": None, "K": 1 / 1024**2, "M": 1 / 1024, "G": 1.0, "T": 1024.0}


@dataclass(frozen=True)
class Option:
    """One option: the field of `Settings` it sets, how it is spelled, what it takes, and a sentence of help."""

    name: str
    flags: tuple[str, ...]
    help: str
    group: str
    kind: Callable[[str], Any] | None = str
    nargs: str | None = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_flag(self) -> bool:
        return self.kind is None


def memory(text: str) -> float:
    """``16G``, ``1.5GB``, ``16000M`` as GiB; a number without a unit is refused, other apps disagree on its meaning."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?)(i?B)?\s*", text, flags=re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of memory; write for example 16G or 16000M")
    factor = UNITS[match[2].upper()]
    if factor is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no unit (is it MB or GB?); write {match[1]}G or {match[1]}M")
    if float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: some memory is needed")
    return float(match[1]) * factor


def gigabytes(text: str) -> float:
    return memory(text + "G" if text.replace(".", "").isdigit() else text)


def megabytes(text: str) -> float:
    return memory(text + "M" if text.replace(".", "").isdigit() else text)


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def named_path(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    if not found or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=PATH, for example manual=derivatives/manual")
    return name, Path(path)


def space(text: str) -> str:
    name, *modifiers = text.split(":")
    if name not in SPACES or any(not re.fullmatch(r"res-[12]", m) for m in modifiers):
        raise argparse.ArgumentTypeError(
            f"unknown space {text!r}; known are {', '.join(SPACES)}, with :res-1 or :res-2"
        )
    return text


def device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"unknown device {text!r}; write auto, cpu, cuda or cuda:N")
    return text


def _spellings(*names: str) -> tuple[str, ...]:
    """Each long option with hyphens and with underscores."""
    both = []
    for name in names:
        both.append(name)
        if name.startswith("--") and "-" in name[2:]:
            both.append("--" + name[2:].replace("-", "_"))
    return tuple(dict.fromkeys(both))


def _option(name: str, flags: tuple[str, ...], help: str, group: str, **more: Any) -> Option:
    return Option(name, _spellings(*flags), help, group, **more)


def amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


DATA, WORK, TRAIN = "selecting data", "what is done", "training"
MACHINE, HOUSE = "machine", "housekeeping"

OPTIONS: tuple[Option, ...] = (
    _option(
        "participant_label",
        ("--participant-label",),
        "participants to process, with or without sub-, or a text file that lists them; all by default",
        DATA,
        nargs="+",
        metavar="LABEL",
    ),
    _option(
        "exclude_participant_label",
        ("--exclude-participant-label",),
        "participants to leave out",
        DATA,
        nargs="+",
        metavar="LABEL",
    ),
    _option(
        "session_label",
        ("--session-label", "--session-id"),
        "sessions to process, with or without ses-",
        DATA,
        nargs="+",
        metavar="LABEL",
    ),
    _option(
        "bids_filter_file",
        ("--bids-filter-file",),
        'JSON {"t1w": {"run": 2, "acquisition": null}}: null means the entity is absent, "*" any value',
        DATA,
        kind=Path,
        metavar="FILE",
    ),
    _option(
        "sequences",
        ("--sequences",),
        "sequences to preprocess beside those the recipes want, for example T2w FLAIR ce-gadolinium_T1w",
        DATA,
        nargs="+",
        metavar="NAME",
    ),
    _option(
        "skip_bids_validation",
        ("--skip-bids-validation", "--skip-bids-validator"),
        "do not check that the input is a BIDS dataset (the chosen images are always checked)",
        DATA,
        kind=None,
    ),
    _option(
        "bids_database_dir",
        ("--bids-database-dir",),
        "folder of a pybids database to keep and reuse",
        DATA,
        kind=Path,
        metavar="DIR",
    ),
    _option(
        "derivatives",
        ("-d", "--derivatives"),
        "finished derivatives to use, as NAME=PATH; manual=PATH gives lesion masks that registration leaves out",
        DATA,
        kind=named_path,
        nargs="+",
        metavar="NAME=PATH",
    ),
    _option(
        "recipe",
        ("--recipe",),
        "recipes to run, by name (tandem recipes lists them) or TOML file",
        WORK,
        nargs="+",
        metavar="NAME|FILE",
    ),
    _option("bundle", ("--bundle",), "bundle to use in place of the shipped one", WORK, kind=Path, metavar="DIR"),
    _option(
        "output_spaces",
        ("--output-spaces",),
        "T1w (the default: the reference's own space, whatever it is) and, if wanted, "
        "MNI152NLin2009cAsym[:res-1|:res-2]",
        WORK,
        kind=space,
        nargs="+",
        metavar="SPACE",
    ),
    _option(
        "skull_strip",
        ("--skull-strip", "--skull-strip-t1w"),
        "auto: strip unless the image is stripped already; skip: it is; force: strip whatever it looks like",
        WORK,
        choices=("auto", "skip", "force"),
    ),
    _option(
        "brain_mask",
        ("--brain-mask",),
        "of whole heads. auto (default): that of the bundle anatomy where it can be a whole brain, else that of the "
        "template, carried over; network, template: always so",
        WORK,
        choices=("auto", "network", "template"),
    ),
    _option("denoise", ("--denoise",), "non-local means before bias correction", WORK, kind=None),
    _option("tta", ("--tta",), "predict on mirror images too and average; slower, steadier", WORK, kind=None),
    _option("sloppy", ("--sloppy",), "poor quality, fast: for trying things out", WORK, kind=None),
    _option(
        "folds",
        ("--folds",),
        "folds of the cross-validation, by participant (default: 5)",
        TRAIN,
        kind=count,
        metavar="K",
    ),
    _option(
        "repeats",
        ("--repeats",),
        "how often the cross-validation is repeated with other folds",
        TRAIN,
        kind=count,
        metavar="N",
    ),
    _option(
        "nested", ("--nested",), "choose the weight of the targets by folds inside each training fold", TRAIN, kind=None
    ),
    _option(
        "group_by",
        ("--group-by",),
        "column of participants.tsv whose people stay on one side, such as family",
        TRAIN,
        metavar="COLUMN",
    ),
    _option(
        "site_column",
        ("--site-column",),
        "column that says where a participant was scanned; with two sites or "
        "more each is left out once (default: the recipe's)",
        TRAIN,
        metavar="COLUMN",
    ),
    _option(
        "compare",
        ("--compare",),
        "tasks: multi-task beside each task alone and a frozen encoder; sequences: all "
        "beside each alone, and with and without sequence dropout",
        TRAIN,
        nargs="+",
        choices=("tasks", "sequences"),
    ),
    _option(
        "controls",
        ("--controls",),
        "negative control: targets are permuted, and must come out at chance",
        TRAIN,
        kind=None,
    ),
    _option(
        "plan",
        ("--plan",),
        "a plan.json to train by, instead of one made from the training fold",
        TRAIN,
        kind=Path,
        metavar="FILE",
    ),
    _option("steps", ("--steps",), "steps of each fold (default: the recipe's)", TRAIN, kind=count, metavar="N"),
    _option(
        "minutes",
        ("--minutes",),
        "end each fold after so many minutes of training, if its steps are not done",
        TRAIN,
        kind=amount,
        metavar="M",
    ),
    _option(
        "patience",
        ("--patience",),
        "end a fold after so many looks at its validation side without a better loss (default: never)",
        TRAIN,
        kind=count,
        metavar="N",
    ),
    _option(
        "gpus",
        ("--gpus",),
        "GPUs that share the batches of one fold (default: 1; folds run side by side)",
        TRAIN,
        kind=count,
        metavar="N",
    ),
    _option(
        "nprocs",
        ("--nprocs", "--nthreads", "--n-cpus"),
        "CPUs for everything together (default: those this process may use)",
        MACHINE,
        kind=count,
        metavar="N",
    ),
    _option(
        "omp_nthreads",
        ("--omp-nthreads", "--ants-nthreads"),
        "threads of one session; recorded, because they change results in the last digits (default: what sessions "
        "side by side leave, up to 4)",
        MACHINE,
        kind=count,
        metavar="N",
    ),
    _option(
        "mem_gb",
        ("--mem",),
        "memory for everything together, with its unit: 16G, 16000M",
        MACHINE,
        kind=memory,
        metavar="AMOUNT",
    ),
    _option("mem_gb", ("--mem-gb",), "the same in GB", MACHINE, kind=gigabytes, metavar="N"),
    _option("mem_gb", ("--mem-mb",), "the same in MB", MACHINE, kind=megabytes, metavar="N"),
    _option("low_mem", ("--low-mem",), "smaller tiles, stitched on the CPU", MACHINE, kind=None),
    _option(
        "use_plugin",
        ("--use-plugin", "--nipype-plugin-file"),
        "YAML or TOML with plugin and plugin_args: the Nipype plugin that carries the sessions",
        MACHINE,
        kind=Path,
        metavar="FILE",
    ),
    _option(
        "device",
        ("--device",),
        "auto, cpu, cuda or cuda:N; cuda without a GPU is an error, never a quiet fall back",
        MACHINE,
        kind=device,
    ),
    _option("random_seed", ("--random-seed",), "seed of everything that draws", MACHINE, kind=int, metavar="N"),
    _option(
        "reproducible",
        ("--reproducible",),
        "one thread and deterministic kernels: slower, and the result does not depend on how many CPUs there are",
        MACHINE,
        kind=None,
    ),
    _option(
        "work_dir",
        ("-w", "--work-dir"),
        "folder for work files (default: OUTPUT_DIR_work)",
        HOUSE,
        kind=Path,
        metavar="DIR",
    ),
    _option(
        "clean_workdir",
        ("--clean-workdir",),
        "when to delete a session's work files",
        HOUSE,
        choices=("never", "before", "on-success"),
    ),
    _option(
        "resource_monitor",
        ("--resource-monitor", "--profile"),
        "sample memory and CPU of every session while it runs, into logs/",
        HOUSE,
        kind=None,
    ),
    _option("write_graph", ("--write-graph",), "write the graph of a session into logs/", HOUSE, kind=None),
    _option(
        "stop_on_first_crash", ("--stop-on-first-crash",), "start no further session after one failed", HOUSE, kind=None
    ),
    _option(
        "reports_only",
        ("--reports-only",),
        "write the reports of finished sessions again, and nothing else",
        HOUSE,
        kind=None,
    ),
    _option("boilerplate_only", ("--boilerplate-only",), "write the methods text, and nothing else", HOUSE, kind=None),
    _option(
        "dry_run",
        ("--dry-run",),
        "show what would be chosen for each session and why, and run nothing",
        HOUSE,
        kind=None,
    ),
    _option(
        "group_column",
        ("--group-column",),
        "column of participants.tsv that the group level splits by",
        HOUSE,
        metavar="NAME",
    ),
    _option(
        "verbose", ("-v", "--verbose"), "say more; twice for everything", HOUSE, kind=None, extra={"action": "count"}
    ),
)
