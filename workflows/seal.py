"""Whether the work files of a node are those that it left: a killed process, a full disk or a crash leaves others."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bids_app.bids.files import write_text

SEAL = "tandem-files.json"
CHUNK = 1 << 20
Listener = Callable[[Any, str], None]


def sealing(listen: Listener) -> Listener:
    """A callback of Nipype's that seals the folder of every node that ended well, and then calls another."""

    def seal_and_listen(node: Any, event: str) -> None:
        if event == "end":
            seal(Path(node.output_dir()))
        listen(node, event)

    return seal_and_listen


def seal(folder: Path) -> None:
    """Note size and checksum of every file in a node's folder."""
    write_text(folder / SEAL, json.dumps(_files(folder)))


def clear_damaged(graph: Path) -> list[str]:
    """Delete the folders of nodes whose files are not as they were sealed: Nipype then runs these nodes again.

    A folder without a seal is of a node that was stopped before it was through.

    Returns:
        A sentence for each that was sealed, with a file that is damaged or missing.
    """
    told = []
    for result in sorted(graph.rglob("result_*.pklz")):
        folder = result.parent
        wrong = _wrong(folder)
        if wrong is None:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        if wrong:
            told.append(f"work files of {folder.name} are damaged ({wrong}); it is done again")
    return told


def _wrong(folder: Path) -> str | None:
    """The first file that is not as it was sealed; empty where there is no seal, None where all is as it was."""
    try:
        sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        return SEAL
    if not isinstance(sealed, dict):
        return SEAL
    found = _files(folder)
    return next((name for name in sorted(sealed) if found.get(name) != sealed[name]), None)


def _files(folder: Path) -> dict[str, list[int]]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != SEAL]
    return {path.relative_to(folder).as_posix(): [path.stat().st_size, _checksum(path)] for path in sorted(paths)}


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            value = zlib.crc32(block, value)
    return value
