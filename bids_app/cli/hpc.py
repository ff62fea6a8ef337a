"""``tandem hpc-script``: an array job with one session per task, and again for those that are missing."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from bids_app.cli.options import OPTIONS, count
from bids_app.cli.parser import DEFAULTS, Parser, parse
from bids_app.errors import NothingSelected, UsageError
from bids_app.settings import Settings

#: What every task sets itself.
OF_A_TASK = ("participant_label", "exclude_participant_label", "session_label", "nprocs", "mem_gb", "work_dir")
#: Slurm's own limit of an array (``MaxArraySize`` 1001), unless an administrator raised it.
MOST_TASKS = 1000
CPUS = 2
MARGIN_GB = 1.0
#: Seconds before the time limit at which a task is asked to stop: it then ends with 75, and nothing is lost.
WARNING_SECONDS = 60

SCRIPT = """\
#!/bin/bash
# Made by: {made_by}
# Submit with: sbatch THIS_FILE. Tasks that failed: make the script again with --missing, and submit that.
#SBATCH --job-name=tandem
#SBATCH --array={array}
#SBATCH --cpus-per-task={cpus}
#SBATCH --mem={memory}M
#SBATCH --time={time}
#SBATCH --signal=B:TERM@{warning}
#SBATCH --output={logs}/%A_%a.txt
{more}
set -u
sessions=(
{sessions}
)
{scratch}
code=0
for (( i = SLURM_ARRAY_TASK_ID; i < ${{#sessions[@]}}; i += {tasks} )); do
    read -r participant session <<< "${{sessions[$i]}}"
    {command} \\
        --participant-label "$participant" ${{session:+--session-label "$session"}} &
    process=$!
    trap 'kill -TERM "$process"' TERM INT
    wait "$process"; ended=$?
    if (( ended > 128 )); then wait "$process"; ended=$?; fi  # the first wait ended because a signal came
    trap - TERM INT
    if (( ended != 0 )); then code=$ended; fi
done
exit "$code"
"""

SCRATCH = """\
work=$(mktemp -d "${TMPDIR:-/tmp}/tandem_XXXXXXXX")
trap 'rm -rf "$work"' EXIT"""


def hpc_script(argv: list[str]) -> int:
    """Print the script, or write it where ``-o`` says.

    Raises:
        NothingSelected: with ``--missing``, every session is done.
        UsageError: an option that does not go into an array job.
    """
    options, rest = _parser().parse_known_args(argv)
    words = [str(options.bids_dir), str(options.output_dir), "participant", *rest]
    words += ["-w", str(options.work_dir)] if options.work_dir else []
    settings = parse(words)
    check(settings, options)
    units = missing(settings) if options.missing else chosen(settings)
    made_by = shlex.join(["tandem", "hpc-script", *argv])
    text = script_of(settings, units, options, made_by)
    if options.out is None:
        print(text, end="")
        return 0
    from bids_app.bids.files import write_text

    (settings.output_dir / "logs" / "slurm").mkdir(parents=True, exist_ok=True)  # Slurm makes no folder for its logs
    write_text(options.out, text)
    print(
        f"tandem: wrote {options.out} for {len(units)} sessions; submit it with: sbatch {shlex.quote(str(options.out))}"
    )
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="tandem hpc-script",
        allow_abbrev=False,
        description="Write a Slurm array with one session per task. Every option of the participant level may follow: "
        "--nprocs and --mem are those of a task, --device cuda asks for a GPU.",
    )
    parser.add_argument("kind", choices=("slurm", "apptainer"), help="tandem as it is installed, or in an image")
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the script there (default: print it)")
    parser.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="a work folder that lasts (default: a task's own, in $TMPDIR)",
    )
    parser.add_argument("--image", type=Path, metavar="SIF", help="the image, for apptainer")
    parser.add_argument("--missing", action="store_true", help="only sessions that tandem status does not call done")
    parser.add_argument("--time", default="02:00:00", help="limit of a task (default: 02:00:00)")
    parser.add_argument("--throttle", type=count, default=50, metavar="N", help="tasks at a time (default: 50)")
    parser.add_argument("--partition", metavar="NAME")
    parser.add_argument("--account", metavar="NAME")
    return parser


def check(settings: Settings, options: argparse.Namespace) -> None:
    """Refuse what a task could not follow.

    Raises:
        UsageError: saying what.
    """
    if options.kind == "apptainer" and options.image is None:
        raise UsageError("apptainer needs --image FILE.sif")
    if settings.use_plugin:
        raise UsageError("--use-plugin and an array job are two ways for one thing; leave one out")
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", options.time):
        raise UsageError(f"--time {options.time!r}: write for example 02:00:00 or 1-00:00:00")
    for name in ("partition", "account"):
        if not re.fullmatch(r"[\w.,-]*", getattr(options, name) or ""):
            raise UsageError(f"--{name} {getattr(options, name)!r} is no name")


def chosen(settings: Settings) -> list[Any]:
    """The sessions of a run."""
    from bids_app.cli.units import choose_units

    return choose_units(settings)


def missing(settings: Settings) -> list[Any]:
    """Those that are neither done nor running.

    Raises:
        NothingSelected: there is none.
    """
    from bids_app.bids.status import read_status

    statuses = {unit: read_status(settings.output_dir, unit.key) for unit in chosen(settings)}
    left = [unit for unit, status in statuses.items() if status is None or status.state not in ("done", "running")]
    if not left:
        raise NothingSelected(f"nothing is missing: all {len(statuses)} sessions are done or running")
    return left


def script_of(settings: Settings, units: list[Any], options: argparse.Namespace, made_by: str) -> str:
    """The text of the script."""
    from workflows.cohort import needed_gb

    tasks = min(len(units), MOST_TASKS)
    cpus = settings.nprocs or CPUS
    memory = round((settings.mem_gb or needed_gb(settings) + MARGIN_GB) * 1024)
    gpu = settings.device.startswith("cuda")
    more = ["#SBATCH --gres=gpu:1"] if gpu else []
    more += [f"#SBATCH --{name}={value}" for name in ("partition", "account") if (value := getattr(options, name))]
    own = [*words_of(settings), "--nprocs", str(cpus), "--mem", f"{memory}M"]
    scratch = SCRATCH if options.work_dir is None else ""
    own += [] if scratch else ["-w", str(settings.work)]
    return SCRIPT.format(
        made_by=made_by.replace("\n", " "),
        array=f"0-{tasks - 1}%{options.throttle}",
        cpus=cpus,
        memory=memory,
        time=options.time,
        warning=WARNING_SECONDS,
        logs=str(settings.output_dir / "logs" / "slurm"),
        more="\n".join(more),
        sessions="\n".join("    " + shlex.quote(f"{unit.participant} {unit.session or ''}".strip()) for unit in units),
        scratch=scratch,
        tasks=tasks,
        command=command(settings, options, own, scratch=bool(scratch), gpu=gpu),
    )


def command(settings: Settings, options: argparse.Namespace, own: list[str], *, scratch: bool, gpu: bool) -> str:
    """What a task runs. In an image every folder has the path that it has outside, so that no option changes."""
    folders = [str(settings.bids_dir), str(settings.output_dir)]
    words = shlex.join([*folders, "participant", *own]) + (' -w "$work"' if scratch else "")
    if options.kind == "slurm":
        return f"tandem {words}"
    read = [settings.bids_dir, settings.bids_filter_file, settings.bundle]
    read += [*settings.derivatives.values(), *(Path(r) for r in settings.recipe if r.endswith(".toml"))]
    written = [settings.output_dir] if scratch else [settings.output_dir, settings.work]
    binds = [f"{path}:{path}:ro" for path in dict.fromkeys(read) if path] + [f"{path}:{path}" for path in written]
    shown = " ".join(f"-B {shlex.quote(bind)}" for bind in binds) + (' -B "$work:$work"' if scratch else "")
    nv = " --nv" if gpu else ""
    return f"apptainer run --containall --cleanenv{nv} {shown} \\\n    {shlex.quote(str(options.image))} {words}"


def words_of(settings: Settings) -> list[str]:
    """The options of a run as a command line, but for those that a task sets itself; paths are absolute."""
    words: list[str] = []
    for option in {one.name: one for one in reversed(OPTIONS)}.values():
        value = getattr(settings, option.name)
        if option.name in OF_A_TASK or value == DEFAULTS[option.name] or value in ((), {}):
            continue
        flag = next(flag for flag in option.flags if flag.startswith("--"))
        if option.is_flag:
            words += [flag] * int(value)
        elif isinstance(value, dict):
            words += [flag, *(f"{name}={path}" for name, path in value.items())]
        else:
            words += [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]
    return words
