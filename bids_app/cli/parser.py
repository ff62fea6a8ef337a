"""From a command line, and a TOML file if one is named, to checked `Settings`."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any, NoReturn

from bids_app import __version__
from bids_app.cli.option_kinds import Option, amount
from bids_app.cli.options import LEVELS, OPTIONS
from bids_app.errors import UnknownLevel, UsageError
from bids_app.settings import Settings, from_plain, read_toml

DEFAULTS = {item.name: item.default for item in dataclasses.fields(Settings)}
DESCRIPTION = """\
Tandem segments brain MRI and measures what it found, one BIDS session at a time, and trains and compares what it
segments with.
Scores, not diagnoses: for research use only.

tools beside it:
  tandem demo DIR                make a small phantom dataset, run it, say where to look
  tandem recipes [NAME]          what can be segmented; a recipe as TOML, to edit and use
  tandem doctor                  versions, GPU, templates, writable folders
  tandem status OUTPUT_DIR       which sessions are done, failed and why, running
  tandem hpc-script KIND ...     a Slurm array with one session per task, and again for those that are missing
  tandem bundle ACTION ...       export a bundle for other programs, or evaluate it on a labelled dataset
  tandem train-bundle NAME ...   train a shipped bundle again
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are a `UsageError` (exit code 64)."""

    def error(self, message: str) -> NoReturn:
        usage = "tandem BIDS_DIR OUTPUT_DIR participant|group|train [options]; see tandem --help"
        raise UsageError(f"{message}\nusage: {usage}")


def build_parser() -> Parser:
    """The parser of the BIDS-App form; what is not given is absent from its result."""
    parser = Parser(
        prog="tandem",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", nargs="?", help="the BIDS dataset; only read")
    parser.add_argument("output_dir", nargs="?", help="where derivatives, reports and logs go")
    parser.add_argument("levels", nargs="*", metavar="level", help=" | ".join(LEVELS) + "; one or several")
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        groups[option.group].add_argument(*option.flags, dest=option.name, help=help_of(option), **_keywords(option))
    house = groups["housekeeping"]
    house.add_argument(
        "--config-file",
        "--config_file",
        type=Path,
        metavar="FILE",
        help="options as TOML (logs/run.toml is one); those on the command line win",
    )
    house.add_argument("--notrack", action="store_true", help="accepted; nothing is ever tracked")
    house.add_argument("--bids-exec-spec", action="store_true", help="print the Boutiques descriptor and end")
    house.add_argument("--version", action="version", version=f"tandem {__version__}")
    return parser


def help_of(option: Option) -> str:
    """The option's sentence with its default, where it has one and does not name it itself."""
    default = DEFAULTS.get(option.name)
    if option.is_flag or "default" in option.help or default in (None, (), {}, "", False, 0):
        return option.help
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"{option.help} (default: {shown})"


def _keywords(option: Option) -> dict[str, Any]:
    if option.extra:
        return dict(option.extra)
    if option.is_flag:
        return {"action": "store_true"}
    keywords: dict[str, Any] = {"type": option.kind}
    for name in ("nargs", "choices", "metavar"):
        if getattr(option, name) is not None:
            keywords[name] = getattr(option, name)
    return keywords


def parse(argv: list[str]) -> Settings:
    """Settings of one run.

    Raises:
        UsageError: an option or value that is not known, or a file that cannot be used.
        UnknownLevel: the analysis level is none of participant, group, train.
    """
    given = vars(build_parser().parse_intermixed_args(argv))
    for name in ("notrack", "bids_exec_spec"):
        given.pop(name, None)
    for name in ("bids_dir", "output_dir", "levels"):
        if not given.get(name):
            given.pop(name, None)
    config = given.pop("config_file", None)
    plain = read_toml(config) if config else {}
    if config:
        check_values(plain, str(config))
    plain.update({name: _plain(name, value) for name, value in given.items()})
    if not config and not {"bids_dir", "output_dir", "levels"} <= set(plain):
        levels = ", ".join(LEVELS[:-1]) + f" or {LEVELS[-1]}"
        raise UsageError(f"tandem needs BIDS_DIR OUTPUT_DIR and a level ({levels}); see tandem --help")
    unknown = [level for level in plain.get("levels", ()) if level not in LEVELS]
    if unknown:
        raise UnknownLevel(f"unknown level {unknown[0]!r}; the levels are {', '.join(LEVELS)}")
    if plain.get("bundle") and "recipe" not in plain and (Path(plain["bundle"]) / "recipe.toml").is_file():
        plain["recipe"] = [str(Path(plain["bundle"]) / "recipe.toml")]  # a bundle knows what it is for
    return _absolute(from_plain(plain, source=str(config) if config else "command line"))


def check_values(plain: dict[str, Any], source: str) -> None:
    """Hold the values of a configuration file to what the command line takes; a default is always fine.

    Raises:
        UsageError: an unknown name, a value of the wrong kind or out of range; names the option and the file.
        UnknownLevel: as `parse`.
    """
    folders = {name: plain.get(name, ".") for name in ("bids_dir", "output_dir")}  # may stand on the command line
    settings = from_plain({**plain, **folders}, source=source)
    defaults = Settings(settings.bids_dir, settings.output_dir)
    for option in OPTIONS:
        value = getattr(settings, option.name)
        if option.name in plain and value != getattr(defaults, option.name):
            _check_value(option, value, source)
    for name in ("bids_dir", "output_dir"):
        if plain.get(name) == "":
            raise UsageError(f"{source}: {name} is empty")
    if "levels" in plain and not settings.levels:
        raise UsageError(f"{source}: levels is empty")


def _check_value(option: Option, value: Any, source: str) -> None:
    """One option that is not at its default, by the function that reads it on the command line."""
    values = list(value) if isinstance(value, tuple) else [value]
    if isinstance(value, dict):
        values = [f"{name}={path}" for name, path in value.items()]
    if not values and isinstance(value, tuple):
        raise UsageError(f"{source}: {option.name} is an empty list; leave the line out, or name something")
    for one in values:
        try:
            if option.name == "mem_gb":
                amount(str(one))
            elif option.kind is None:
                if isinstance(one, int) and one < 0:
                    raise ValueError("it cannot be below 0")
            elif str(one) == "":
                raise ValueError("it is empty")
            else:
                option.kind(str(one))
        except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
            raise UsageError(f"{source}: {option.name}: {error}") from error
        if option.choices and one not in option.choices:
            raise UsageError(f"{source}: {option.name} = {one!r} is none of {', '.join(option.choices)}")


def _plain(name: str, value: Any) -> Any:
    if name == "derivatives":
        return {key: str(path) for key, path in value}
    if name == "verbose":
        return int(value)
    return str(value) if isinstance(value, Path) else value


def _absolute(settings: Settings) -> Settings:
    """Folders do not depend on where the program was started: sessions run as processes of their own."""

    def absolute(path: Path | str) -> Path:
        return Path(os.path.abspath(path))  # links stay as they are: a dataset may be made of them

    changes: dict[str, Any] = {
        name: absolute(getattr(settings, name))
        for name in (
            "bids_dir",
            "output_dir",
            "work_dir",
            "bids_filter_file",
            "bids_database_dir",
            "bundle",
            "use_plugin",
            "plan",
            "normative",
            "atrophy",
        )
        if getattr(settings, name) is not None
    }
    changes["work_dir"] = settings.replace(**changes).work
    changes["derivatives"] = {name: absolute(path) for name, path in settings.derivatives.items()}
    changes["recipe"] = tuple(str(absolute(r)) if r.endswith(".toml") else r for r in settings.recipe)
    changes["participant_label"] = tuple(
        str(absolute(p)) if Path(p).is_file() else p for p in settings.participant_label
    )
    return settings.replace(**changes)


def executable_spec() -> dict[str, Any]:
    """The Boutiques descriptor of this command line (BIDS Apps 2.0 draft: retrievable from the program)."""
    inputs: list[dict[str, Any]] = [
        {"id": "bids_dir", "name": "InputDataset", "type": "File", "value-key": "[BIDS_DIR]"},
        {"id": "output_dir", "name": "OutputLocation", "type": "String", "value-key": "[OUTPUT_DIR]"},
        {
            "id": "analysis_level",
            "name": "AnalysisLevel",
            "type": "String",
            "value-key": "[LEVEL]",
            "list": True,
            "value-choices": list(LEVELS),
        },
    ]
    seen = set()
    for option in OPTIONS:
        if option.name in seen:
            continue
        seen.add(option.name)
        long = next(flag for flag in option.flags if flag.startswith("--"))
        entry: dict[str, Any] = {
            "id": option.name,
            "name": option.name,
            "optional": True,
            "description": option.help,
            "command-line-flag": long,
            "value-key": f"[{option.name.upper()}]",
            "type": "Flag" if option.is_flag else "Number" if option.kind is int else "String",
        }
        if option.nargs:
            entry["list"] = True
        if option.choices:
            entry["value-choices"] = list(option.choices)
        inputs.append(entry)
    keys = " ".join(entry["value-key"] for entry in inputs)
    return {
        "name": "tandem",
        "description": "Segments brain MRI and measures what it found; research use only.",
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": f"tandem {keys}",
        "inputs": inputs,
        "output-files": [
            {"id": "output_dir", "name": "derivatives", "path-template": "[OUTPUT_DIR]", "optional": False},
        ],
    }


def wants(argv: list[str], flag: str) -> bool:
    """Is a flag that ends the program at once among the words, before a ``--``?"""
    return flag in (argv[: argv.index("--")] if "--" in argv else argv)
