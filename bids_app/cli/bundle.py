"""``tandem bundle``: hand a bundle on to other programs, and see how it does on people whom it never saw."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bids_app.cli.options import count, device, named_path
from bids_app.cli.parser import Parser

if TYPE_CHECKING:
    from bids_app.cohort.cohort import Cohort


def bundle(argv: list[str]) -> int:
    """``export`` or ``evaluate``."""
    parser = Parser(prog="tandem bundle", description="Hand a bundle on, or evaluate it.", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write a MONAI bundle", allow_abbrev=False)
    export.add_argument("bundle", metavar="DIR", help="folder of a bundle, or the name of one that ships")
    export.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    export.add_argument("--onnx", action="store_true", help="with models/model.onnx; needs the extra onnx")
    judge = actions.add_parser("evaluate", help="measure it on a labelled dataset", allow_abbrev=False)
    judge.add_argument("bundle", metavar="DIR", help="folder of a bundle, or the name of one that ships")
    judge.add_argument("bids_dir", type=Path, help="a dataset of people who did not train the bundle")
    judge.add_argument("output_dir", type=Path)
    judge.add_argument("-d", "--derivatives", type=named_path, nargs="+", default=[], metavar="NAME=PATH")
    judge.add_argument("-w", "--work-dir", type=Path)
    judge.add_argument("--nprocs", type=count, metavar="N")
    judge.add_argument("--device", type=device, default="auto")
    options = parser.parse_args(argv)
    return {"export": _export, "evaluate": _evaluate}[options.action](options)


def _export(options: argparse.Namespace) -> int:
    from bids_app.bundle.bundle import load_bundle
    from bids_app.bundle.monai import export_monai

    print(f"tandem: wrote {export_monai(load_bundle(options.bundle), options.out, onnx=options.onnx)}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    """Run the participant level with the bundle, measure what it wrote, say so."""
    from bids_app.bundle.bundle import load_bundle
    from bids_app.cli.run import check_folders
    from bids_app.cli.units import choose_units, run_units
    from bids_app.cohort.cohort import load_cohort
    from bids_app.cohort.raw import expected_sessions
    from bids_app.judge.course import summary_lines
    from bids_app.judge.external import evaluate_bundle, refuse_participants
    from bids_app.predict.predict import resolve_device
    from bids_app.settings import Settings

    chosen = load_bundle(options.bundle)
    settings = Settings(
        bids_dir=options.bids_dir.absolute(),
        output_dir=options.output_dir.absolute(),
        levels=("participant",),
        recipe=(str(chosen.path / "recipe.toml"),),
        bundle=chosen.path,
        nprocs=options.nprocs,
        work_dir=options.work_dir,
        derivatives={name: path.absolute() for name, path in options.derivatives},
        device=resolve_device(options.device),
    )
    check_folders(settings)

    def gathered() -> Cohort:
        sessions, notes = expected_sessions(settings, chosen.recipe)
        for note in notes:
            print(f"tandem: {note}", flush=True)
        folders = settings.bids_dir, settings.derivatives, settings.output_dir
        return load_cohort(chosen.recipe, *folders, sessions=sessions)

    refuse_participants(chosen, gathered())  # before hours of work
    run_units(settings, choose_units(settings))  # sessions that fail have no answer, and are named
    out = settings.output_dir / "evaluation" / chosen.name
    results = evaluate_bundle(chosen, gathered(), settings.output_dir, out, seed=settings.random_seed)
    for line in summary_lines(results["summary"], f"{chosen.name}, people it never saw"):
        print(f"tandem: {line}")
    for line in results["abstained"] + results["notes"]:
        print(f"tandem: {line}")
    print(f"tandem: research use only; wrote {out / 'results.json'}")
    return 0
