"""The commands beside the BIDS-App form: ``tandem demo``, ``recipes``, ``doctor``, ``status`` and so on."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from bids_app import __version__
from bids_app.bids.lock import Busy, only_one
from bids_app.cli.bundle import bundle
from bids_app.cli.demo import demo
from bids_app.cli.hpc import hpc_script
from bids_app.cli.options import count
from bids_app.cli.parser import Parser
from bids_app.cli.recipe_new import recipe
from bids_app.errors import InputMissing, TandemError, UsageError
from bids_app.settings import from_plain, read_toml
from workflows.stop import follow_parent


def _parser(name: str, description: str) -> Parser:
    return Parser(prog=f"tandem {name}", description=description, allow_abbrev=False)


def recipes(argv: list[str]) -> int:
    """What can be segmented, with which bundle."""
    parser = _parser("recipes", "List the recipes that ship, or show one.")
    parser.add_argument("name", nargs="?", help="print this recipe as TOML, to edit and use as --recipe FILE.toml")
    parser.add_argument("--json", action="store_true", help="as JSON, with every field that is left at its default")
    options = parser.parse_args(argv)
    from bids_app.bundle.bundle import SHIPPED, shipped
    from bids_app.recipes.recipe import list_recipes, load_recipe, recipe_path

    if options.name:
        recipe = load_recipe(options.name)
        text = recipe.model_dump_json(indent=2) if options.json else recipe_path(options.name).read_text("utf-8")
        print(text.rstrip("\n"))
        return 0
    for name in list_recipes():
        recipe = load_recipe(name)
        wanted = " ".join(s.name if s.required else f"[{s.name}]" for s in recipe.sequences)
        state = "no bundle needed" if not recipe.predicts else "no bundle: train it on a cohort of yours"
        if name in shipped():
            known = {target.name for target in load_recipe(SHIPPED / name / "recipe.toml").targets}
            unknown = [target.name for target in recipe.targets if target.name not in known]
            state = "bundle ships" + (f", without {' and '.join(unknown)}" if unknown else "")
        found = f"{len(recipe.regions)} regions"
        if recipe.targets:
            found += f", targets {' and '.join(target.name for target in recipe.targets)}"
        print(f"{name:16} {recipe.title}\n{'':16} sequences: {wanted}; {found}; {state}")
    return 0


def doctor(argv: list[str]) -> int:
    """Versions, GPU, templates, writable folders: what a person is asked for when something does not work."""
    parser = _parser("doctor", "Check the installation; nothing is downloaded or sent.")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--offline", action="store_true", help="accepted: it is always offline")
    options = parser.parse_args(argv)
    facts, troubles = _examine()
    if options.json:
        print(json.dumps({**facts, "troubles": troubles}, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name:22} {value}")
        for trouble in troubles:
            print(f"! {trouble}")
        print("tandem is ready" if not troubles else f"{len(troubles)} thing(s) to mend")
    return 1 if troubles else 0


def _examine() -> tuple[dict[str, str], list[str]]:
    from importlib.metadata import PackageNotFoundError, version

    from workflows.resources import available_cpus, available_memory_gb

    facts, troubles = {"tandem": __version__, "python": sys.version.split()[0]}, []
    for package in ("torch", "monai", "antspyx", "nipype", "pybids", "nibabel", "nilearn", "templateflow"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            troubles.append(f"{package} is not installed; install Tandem again")
    facts["CPUs"] = "{} ({})".format(*available_cpus())
    facts["memory"] = "{:.1f} GB ({})".format(*available_memory_gb())
    import torch

    facts["GPU"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none (predictions run on the CPU)"
    from bids_app.bids.preflight import check_template
    from bids_app.bundle.bundle import load_bundle, shipped
    from bids_app.imaging.templates import find_template

    template = find_template()
    facts["template"] = template.source
    try:
        check_template(template)
    except TandemError as error:
        troubles.append(str(error))
    for name in shipped():
        facts[f"bundle {name}"] = f"weights {load_bundle(name).sha256[:12]}, as in its manifest"
    for name, folder in (("temporary files", Path(os.environ.get("TMPDIR", "/tmp"))), ("this folder", Path.cwd())):
        writable = os.access(folder, os.W_OK)
        facts[name] = f"{folder}, {shutil.disk_usage(folder).free / 1e9:.0f} GB free" + (
            "" if writable else ", read-only"
        )
    for variable in ("PYTHONPATH", "LD_LIBRARY_PATH"):
        if os.environ.get(variable):
            facts[variable] = f"{os.environ[variable]} (set outside; in Apptainer use --cleanenv)"
    return facts, troubles


def status(argv: list[str]) -> int:
    """A table of sessions: done, failed and why, running."""
    parser = _parser("status", "Show how far the sessions of an output folder are.")
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(argv)
    from bids_app.bids.status import read_all

    if not (options.output_dir / "logs").is_dir():
        raise InputMissing(f"{options.output_dir} has no logs/ folder; is it an output folder of tandem?")
    statuses = {found.key: found for found in read_all(options.output_dir)}
    if options.json:
        from dataclasses import asdict

        print(json.dumps({key: asdict(s) for key, s in statuses.items()}, indent=2, default=str))
        return 0
    from bids_app.cli.console import make_console, print_statuses

    print_statuses(statuses, make_console())
    return 0


#: A fold that was just killed needs a moment to be gone.
WAIT_SECONDS = 15.0
#: Options of ``train-bundle`` that are handed on where they are given.
MORE = ("minutes", "steps", "threads", "start", "leave_out", "beside")


def train_bundle(argv: list[str]) -> int:
    """Train a bundle from drawn scans: one that ships, again, or that of a recipe of one's own."""
    parser = _parser(
        "train-bundle",
        "Train a bundle from drawn scans, as the recipe's table [lesson] says: one that ships, by the command that "
        "made it, or that of a recipe of your own.",
    )
    parser.add_argument("name", help="a recipe with a table [lesson], for example habenula, or a TOML file")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with labelmaps/, habenula_atlas/ and real scans"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints and the bundle; goes on if interrupted"
    )
    parser.add_argument("--minutes", type=float, help="stop after so many minutes of training")
    parser.add_argument("--steps", type=int, help="stop after so many steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--start", help="a bundle whose weights are taken over where they fit")
    parser.add_argument("--beside", help="a bundle of the same recipe whose members stay, and vote with the new one")
    parser.add_argument("--leave-out", nargs="+", metavar="sub-LABEL", help="real participants who must not train")
    options = parser.parse_args(argv)
    if options.minutes is None and options.steps is None:
        raise UsageError("say how long to train: --minutes or --steps")
    more = {k: v for k, v in vars(options).items() if k in MORE and v is not None}
    from bids_app.lessons.train import train_bundle as train

    path = train(options.name, options.data, options.out, seed=options.seed, **more)
    print(f"tandem: wrote {path}")
    return 0


def session(argv: list[str]) -> int:
    """One session in this process; what the nodes of a run call."""
    parser = _parser("session", "Run one session in this process (used by the program itself).")
    parser.add_argument("settings_file", type=Path)
    parser.add_argument("participant")
    parser.add_argument("session", help="empty where the participant has no session folders")
    parser.add_argument("threads", type=int)
    options = parser.parse_args(argv)
    follow_parent()
    from workflows.alone import run_alone

    settings = from_plain(read_toml(options.settings_file), source=str(options.settings_file))
    return run_alone(settings, options.participant, options.session or None, threads=options.threads)


def fold(argv: list[str]) -> int:
    """One arm and one fold in this process; what the nodes of a training call, and ``torchrun``."""
    parser = _parser("fold", "Train one arm on one fold in this process (used by the program itself).")
    parser.add_argument("task_file", type=Path)
    parser.add_argument("--processes", type=count, default=1, help="GPUs that share each batch")
    options = parser.parse_args(argv)
    follow_parent()
    if "LOCAL_RANK" in os.environ:  # one of several that torchrun started: that one has the lock
        return _train(options.task_file)
    lock = options.task_file.with_name("fold.lock")
    try:
        with only_one(lock, wait=WAIT_SECONDS, inherited=True):
            if options.processes == 1:
                return _train(options.task_file)
            torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={options.processes}"]
            os.execv(sys.executable, [sys.executable, *torchrun, "-m", "bids_app", "fold", str(options.task_file)])
    except Busy as error:
        raise Busy(f"another run is training {options.task_file.parent}; wait for that or end it") from error


def _train(task_file: Path) -> int:
    from bids_app.train.fold import FoldTask, run_fold

    run_fold(FoldTask.read(task_file))
    return 0


TOOLS = {
    "demo": demo,
    "recipes": recipes,
    "recipe": recipe,
    "doctor": doctor,
    "status": status,
    "train-bundle": train_bundle,
    "bundle": bundle,
    "hpc-script": hpc_script,
}
#: What the program starts itself, as processes of their own.
INNER = {"session": session, "fold": fold}
