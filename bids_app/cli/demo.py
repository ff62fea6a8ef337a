"""``tandem demo``: phantom datasets with known truth, to try Tandem on."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from bids_app.cli.parser import Parser
from bids_app.errors import UsageError

OF_A_COHORT = ("sites", "spacing", "anatomy", "generator")


def demo(argv: list[str]) -> int:
    """Make a phantom dataset, run it, say where to look."""
    options = _parser().parse_args(argv)
    if options.n is not None and options.n < 1:
        raise UsageError(f"a phantom dataset needs at least 1 participant, not {options.n}")
    given = {name: getattr(options, name) for name in OF_A_COHORT if getattr(options, name) is not None}
    if options.cohort is not None:
        return _cohort(options, given)
    if given:
        flags = ", ".join(f"--{name}" for name in given)
        raise UsageError(f"{flags}: only together with --cohort")
    return _first_run(options)


def _parser() -> Parser:
    parser = Parser(
        prog="tandem demo",
        allow_abbrev=False,
        description="Make a small phantom BIDS dataset in DIR/bids, run Tandem on it into DIR/out. With --cohort, only "
        "write that cohort into DIR, with its truth in derivatives/manual.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("-n", type=int, help="participants (default: 4)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only-data", action="store_true", help="make the dataset and stop")
    cohort = parser.add_argument_group("cohorts")
    cohort.add_argument(
        "--cohort",
        metavar="NAME",
        help="stroke, tbi, ms, schwannoma, glioma, alzheimer, schizophrenia, depression, healthy or restingstate",
    )
    cohort.add_argument("--sites", type=int, help="scanners, at 3, 1.5 and 7 T in turn (default: 1)")
    cohort.add_argument("--spacing", type=float, metavar="MM", help="voxel size (default: 2)")
    cohort.add_argument(
        "--generator",
        help="train or test: test has other anatomy, fields, timing, noise and slices, so that what was learned on one "
        "can be tested on the other (default: train)",
    )
    cohort.add_argument("--anatomy", help="template or procedural (default: the generator's own)")
    return parser


def _cohort(options, given: dict) -> int:
    from bids_app.synthesis.datasets.demo_cohorts import DemoPlan

    plan = DemoPlan(options.cohort, n=4 if options.n is None else options.n, seed=options.seed, **given)
    from bids_app.synthesis.datasets.demo_dataset import write_demo

    root = options.directory.resolve()
    print(f"tandem: drawing {plan.n} participants of the cohort {plan.cohort} into {root}", flush=True)
    write_demo(plan, root, tell=lambda text: print(f"tandem: {text}", file=sys.stderr, flush=True))
    out = shlex.quote(str(root.with_name(root.name + "-out")))
    print(
        f"\nthe truth {root / 'derivatives' / 'manual'}\n"
        f"next      tandem {shlex.quote(str(root))} {out} participant --recipe {plan.kind.next}"
    )
    if plan.kind.learns:
        labels = shlex.quote(f"manual={root / 'derivatives' / 'manual'}")
        print(f"train     tandem {shlex.quote(str(root))} {out} train --recipe {plan.kind.learns} -d {labels}")
    return 0


def _first_run(options) -> int:
    from bids_app.cli.run import check_writable, run
    from bids_app.settings import from_plain
    from bids_app.synthesis.datasets.phantom import write_phantom_dataset

    n = 4 if options.n is None else options.n
    root = options.directory.resolve()
    check_writable(root)
    bids, out = root / "bids", root / "out"
    if (bids / "dataset_description.json").is_file():
        print(f"tandem: {bids} is there already and is used as it is")
    else:
        print(f"tandem: drawing {n} phantom participants into {bids}", flush=True)
        write_phantom_dataset(bids, n=n, seed=options.seed)
    if options.only_data:
        return 0
    settings = from_plain(
        {
            "bids_dir": str(bids),
            "output_dir": str(out),
            "levels": ["participant", "group"],
            "work_dir": str(root / "work"),
        }
    )
    code = run(settings)
    print(
        f"\nlook at   {out / 'index.html'}\n          {out / 'group.html'}\nthe truth {bids / 'derivatives' / 'manual'}"
    )
    return code
