"""A participant's files through pybids, without looking at anybody else's."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_whole
from bids_app.bids.naming import IMAGE_EXTENSIONS, parse_name
from bids_app.errors import InputMissing, UsageError, ValidationFailed
from bids_app.settings import Settings
from bids_app.text import TextError, read_json

#: What pybids is to read out of a name here. Setting up its 29 entities takes longer than reading a participant's
#: folder (0.13 s of 0.2 s); `bids_app.bids.naming` reads the others, of the few files that matter.
NAMED = {
    "name": "bids",
    "entities": [
        {"name": "subject", "pattern": r"[/\\]+sub-([a-zA-Z0-9+]+)"},
        {"name": "session", "pattern": r"[_/\\]+ses-([a-zA-Z0-9+]+)"},
        {"name": "suffix", "pattern": r"(?:^|[_/\\])([a-zA-Z0-9+]+)\.[^/\\]+$"},
        {"name": "extension", "pattern": r"[^./\\](\.[^/\\]+)$"},
    ],
}
#: Participants from which on one index of the whole dataset is made for a plan: pybids takes 0.1 s for each on its own.
MANY = 20
DATABASE = "layout_index.sqlite"  # pybids' own name, so that a database made by another program serves here


@dataclass(frozen=True)
class Index:
    """Images of one participant (dangling links among them), and the JSON files that may describe them."""

    images: tuple[Path, ...]
    sidecars: tuple[Path, ...]
    warnings: tuple[str, ...] = ()

    def metadata(self, image: Path) -> tuple[dict[str, Any], list[str]]:
        """The JSON fields that hold for an image by the inheritance principle, nearest last; and what went wrong.

        Only these files are opened: an unreadable sidecar of another image does no harm.
        """
        entities, suffix, _ = parse_name(image)
        found, trouble = {}, []
        for path in sorted(self.sidecars, key=lambda p: (len(p.parts), p.name)):
            theirs, their_suffix, _ = parse_name(path)
            if their_suffix != suffix or path.parent not in image.parents or not theirs.items() <= entities.items():
                continue
            try:
                fields, told = read_json(path)
            except (OSError, TextError) as error:
                trouble.append(f"{path} cannot be read as JSON ({error}); its fields are not used")
                continue
            if isinstance(fields, dict):
                found.update(fields)
                trouble += told
            else:
                trouble.append(f"{path} holds no object of fields and values; it is not used")
        return found, trouble


def index_participant(settings: Settings, participant: str) -> Index:
    """List one participant's images and sidecars; the cost does not grow with the dataset.

    Raises:
        InputMissing: the dataset or the participant is not there.
        ValidationFailed: pybids cannot read the dataset at all.
        UsageError: the database of ``--bids-database-dir`` is of another dataset, or no pybids database.
    """
    root = Path(os.path.abspath(settings.bids_dir))
    folder = root / f"sub-{participant}"
    if not folder.is_dir():
        raise InputMissing(f"no participant {participant} in {settings.bids_dir} ({folder} is not a folder)")
    told: tuple[str, ...] = ()
    files: list[Path] = []
    if settings.bids_database_dir is not None:
        files = _from_database(settings, settings.bids_database_dir, root, participant)
        if not files:
            told = (f"the database in {settings.bids_database_dir} has no file of sub-{participant}; it was read anew",)
    if not files:
        # the participant's folder as pybids' root: it looks at each folder of its root, thousands in a large dataset
        layout = _layout(folder, ignore=_own_folders(settings, folder))
        files = [*(Path(name) for name in layout.files), *root.glob("*.json")]
    ours = [p for p in files if p.parent == root or folder in p.parents]
    images = sorted(p for p in ours if p.name.endswith(IMAGE_EXTENSIONS) and folder in p.parents)
    return Index(tuple(images), tuple(sorted(p for p in ours if p.suffix == ".json")), told)


def _own_folders(settings: Settings, root: Path) -> list[re.Pattern[str]]:
    """What pybids shall not enter: hidden folders, and our output and work folders where they lie inside."""
    ignore = [re.compile(r"/\.")]
    for folder in (settings.output_dir, settings.work):
        inside = os.path.relpath(os.path.realpath(folder), os.path.realpath(root))
        if not inside.startswith(os.pardir) and inside != os.curdir:
            ignore.append(re.compile(rf"^/{re.escape(inside)}(?:/|$)"))
    return ignore


def _layout(root: Path, *, ignore: list[re.Pattern[str]], database: Path | None = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pybids on its own future; nothing about the data
        from bids.layout import BIDSLayout, BIDSLayoutIndexer

        indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
        config = None if database else [NAMED]  # a database may serve other programs, too
        options = {"validate": False, "derivatives": False, "indexer": indexer, "config": config}
        try:
            return BIDSLayout(root, database_path=database, **options)
        except UnicodeEncodeError as error:
            raise InputMissing(f"a file name in {root} is not UTF-8 ({error.object!r}): rename the file") from error
        except Exception as error:  # pybids has no common base for what a broken dataset_description.json sets off
            what = f"{type(error).__name__}: {error}"
            raise ValidationFailed(
                f"pybids cannot read {root} ({what}); is its dataset_description.json whole?"
            ) from error


def _from_database(settings: Settings, given: Path, root: Path, participant: str) -> list[Path]:
    """A participant's files, and JSON files at the root, from a pybids database; made first where there is none."""
    folder = Path(os.path.abspath(given))
    if not (folder / DATABASE).is_file():
        _make_database(settings, root, folder)
    import sqlite3

    # ranges of the sorted paths, not LIKE or the column of folders: those would read every path, for every participant;
    # "0" follows "/", and "." follows "-"
    mine = (f"{root}/sub-{participant}/", f"{root}/sub-{participant}0")
    beside = [(f"{root}/", f"{root}/sub-"), (f"{root}/sub.", f"{root}0")]
    try:
        with sqlite3.connect(f"{(folder / DATABASE).as_uri()}?mode=ro", uri=True) as database:
            (known,) = database.execute("select root from layout_info").fetchone()
            between = "select path from files where path > ? and path < ?"
            rows, *others = (database.execute(between, ends).fetchall() for ends in (mine, *beside))
    except (sqlite3.Error, TypeError) as error:
        raise UsageError(
            f"{folder / DATABASE} is no pybids database ({error}); delete it or name another folder"
        ) from error
    if os.path.realpath(known) != os.path.realpath(root):
        raise UsageError(f"the database in {folder} is of {known}, not of {root}; name another --bids-database-dir")
    shared = [
        path for some in others for (path,) in some if path.endswith(".json") and os.path.dirname(path) == str(root)
    ]
    return [Path(path) for path in (*(path for (path,) in rows), *shared)] if rows else []


@contextmanager
def planning(settings: Settings, participants: int) -> Iterator[Settings]:
    """Settings under which many participants are listed fast: the dataset is indexed once, in a scratch folder.

    For a few, or where a database was given, they are as they were.
    """
    if settings.bids_database_dir is not None or participants < MANY:
        yield settings
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield replace(settings, bids_database_dir=Path(scratch) / "index")


def _make_database(settings: Settings, root: Path, folder: Path) -> None:
    """Index the whole dataset once; several processes may do so at the same time, each renames a whole file."""
    ignore = [re.compile(r"^/(?!sub-[^/]+(?:/|$))(?![^/]+\.json$)"), re.compile(r"/\.")]
    # made in the system's own scratch folder: SQLAlchemy reads a path as a URL and stumbles over `?` and `#`
    with tempfile.TemporaryDirectory() as scratch:
        _layout(root, ignore=ignore, database=Path(scratch)).connection_manager.session.close()
        with (Path(scratch) / DATABASE).open("rb") as made:
            write_whole(folder / DATABASE, lambda stream: shutil.copyfileobj(made, stream))
