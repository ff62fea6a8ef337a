"""One run is all of this: the command line, a TOML file and the record of a run are three forms of `Settings`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_app import text
from bids_app.errors import UsageError

DEFAULT_SEED = 20240229
PATHS = {
    "bids_dir",
    "output_dir",
    "bids_filter_file",
    "bids_database_dir",
    "bundle",
    "use_plugin",
    "work_dir",
    "plan",
}
#: What only the train level reads.
TRAINING = {
    "folds",
    "repeats",
    "nested",
    "group_by",
    "site_column",
    "compare",
    "controls",
    "plan",
    "steps",
    "minutes",
    "patience",
    "gpus",
}
#: What only the group level reads.
GROUP = {
    "group_column",
    "control_group",
    "covariates",
    "contrast",
    "scales",
    "measures",
    "harmonize",
    "harmonize_reference",
    "harmonize_on",
    "normative",
    "normative_fit",
    "age_column",
    "lesion_maps",
    "atrophy",
    "atrophy_fit",
    "atrophy_threshold",
    "atrophy_extent",
    "permutations",
    "allow_mixed",
}
#: What two runs may differ in and still give the same derivatives: a finished session is not run again for these.
NOT_IN_RESULT = {
    "levels",
    "participant_label",
    "exclude_participant_label",
    "session_label",
    "skip_bids_validation",
    "bids_database_dir",
    "nprocs",
    "mem_gb",
    "use_plugin",
    "work_dir",
    "clean_workdir",
    "resource_monitor",
    "write_graph",
    "stop_on_first_crash",
    "reports_only",
    "boilerplate_only",
    "dry_run",
    "verbose",
    *GROUP,
} | TRAINING


@dataclass(frozen=True)
class Settings:
    """Everything that a run depends on, a sentence per field in the parser's help."""

    bids_dir: Path
    output_dir: Path
    levels: tuple[str, ...] = ("participant",)
    # selecting data
    participant_label: tuple[str, ...] = ()
    exclude_participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    skip_bids_validation: bool = False
    bids_database_dir: Path | None = None
    derivatives: dict[str, Path] = field(default_factory=dict)
    sequences: tuple[str, ...] = ()
    # what is done
    recipe: tuple[str, ...] = ("habenula",)
    bundle: Path | None = None
    output_spaces: tuple[str, ...] = ("T1w",)
    skull_strip: str = "auto"
    brain_mask: str = "auto"
    denoise: bool = False
    grey_matter_map: bool = False
    slice_at: float | None = None
    tta: bool = False
    fast: bool = False
    sloppy: bool = False
    # training
    folds: int = 5
    repeats: int = 1
    nested: bool = False
    group_by: str | None = None
    site_column: str | None = None
    compare: tuple[str, ...] = ()
    controls: bool = False
    plan: Path | None = None
    steps: int | None = None
    minutes: float | None = None
    patience: int = 0
    gpus: int = 1
    # machine
    nprocs: int | None = None
    omp_nthreads: int | None = None
    mem_gb: float | None = None
    low_mem: bool = False
    use_plugin: Path | None = None
    device: str = "auto"
    random_seed: int = DEFAULT_SEED
    reproducible: bool = False
    # housekeeping
    work_dir: Path | None = None
    clean_workdir: str = "never"
    resource_monitor: bool = False
    write_graph: bool = False
    stop_on_first_crash: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    dry_run: bool = False
    verbose: int = 0
    # the group level
    group_column: str | None = None
    control_group: str | None = None
    covariates: tuple[str, ...] = ()
    contrast: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    harmonize: str = "none"
    harmonize_reference: str | None = None
    harmonize_on: str = "everybody"
    permutations: int = 0
    normative: Path | None = None
    normative_fit: bool = False
    age_column: str = "age"
    lesion_maps: bool = False
    atrophy: Path | None = None
    atrophy_fit: bool = False
    atrophy_threshold: float = -2.0
    atrophy_extent: float = 0.5
    allow_mixed: bool = False

    @property
    def work(self) -> Path:
        """The work folder: the one given, else beside the output folder, or here when that is inside the dataset."""
        if self.work_dir:
            return self.work_dir
        inside = self.bids_dir.resolve() in self.output_dir.resolve().parents
        return Path.cwd() / "tandem_work" if inside else self.output_dir.with_name(self.output_dir.name + "_work")

    def replace(self, **changes: Any) -> Settings:
        return dataclasses.replace(self, **changes)

    def result_hash(self) -> str:
        """Hash of the settings that change a derivative; where and how fast it was made is left out."""
        kept = {k: v for k, v in to_plain(self).items() if k not in NOT_IN_RESULT and k != "output_dir"}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def to_plain(settings: Settings) -> dict[str, Any]:
    """Only what TOML and JSON know; fields that are None are left out."""
    plain: dict[str, Any] = {}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if value is None:
            continue
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, dict):
            value = {k: str(v) for k, v in value.items()}
        plain[item.name] = value
    return plain


def from_plain(plain: dict[str, Any], *, source: str = "settings") -> Settings:
    """The inverse of `to_plain`.

    Raises:
        UsageError: an unknown name, a missing folder or a value of the wrong kind; names the field and the source.
    """
    fields = {item.name: item for item in dataclasses.fields(Settings)}
    unknown = sorted(set(plain) - set(fields))
    if unknown:
        raise UsageError(f"{source}: unknown option {', '.join(unknown)}; known are {', '.join(sorted(fields))}")
    values = {name: _typed(name, value, fields[name], source) for name, value in plain.items()}
    for name in ("bids_dir", "output_dir"):
        if name not in values:
            raise UsageError(f"{source}: {name} is missing")
    return Settings(**values)


def _typed(name: str, value: Any, item: dataclasses.Field, source: str) -> Any:
    kind = str(item.type)
    expected: type | tuple[type, ...]
    made: Callable[[Any], Any]
    if name in PATHS:
        expected, made = str, Path
    elif kind.startswith("tuple"):
        expected, made = list, tuple
    elif kind.startswith("dict"):
        expected, made = dict, lambda v: {k: Path(p) for k, p in v.items()}
    elif kind.startswith("bool"):
        expected, made = bool, bool
    elif kind.startswith("int"):
        expected, made = int, int
    elif kind.startswith("float"):
        expected, made = (int, float), float
    else:
        expected, made = str, str
    right = isinstance(value, expected) and not (expected in (int, (int, float)) and isinstance(value, bool))
    inside = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    if not right or not all(isinstance(one, str) for one in inside):
        shown = repr(value) if len(repr(value)) < 100 else f"{repr(value)[:100]}..."
        raise UsageError(f"{source}: {name} = {shown} is not of the right kind ({kind}); words stand in quotes")
    return made(value)


def to_toml(settings: Settings) -> str:
    """The text of a TOML file that `read_toml` reads back as the same settings."""
    lines, tables = [], []
    for name, value in to_plain(settings).items():
        if isinstance(value, dict):
            tables += [f"\n[{name}]"] + [f"{_string(k)} = {_string(v)}" for k, v in value.items()]
        else:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines + tables) + "\n"


def read_toml(path: Path) -> dict[str, Any]:
    """The plain options of a TOML file, unchecked (`from_plain` checks them).

    Raises:
        UsageError: the file is absent or not TOML.
    """
    try:
        return text.read_toml(path)[0]
    except OSError as error:
        raise UsageError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except text.TextError as error:
        raise UsageError(str(error)) from error


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return repr(value)


def _string(text: str) -> str:
    return json.dumps(text)  # a JSON string is a TOML basic string, but for DEL, which json leaves as it is
