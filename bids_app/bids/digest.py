"""What a file is: its checksum, and the cheap sign that it has not changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(path: Path) -> dict[str, int]:
    """Size in bytes and time of change in nanoseconds; both -1 for a file that is not there or a dangling link."""
    try:
        found = Path(path).stat()
    except OSError:
        return {"size": -1, "mtime_ns": -1}
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def fingerprints(paths: list[Path] | tuple[Path, ...]) -> dict[str, dict[str, int]]:
    """`fingerprint` of each file, by its path as given: what a status file remembers of its inputs."""
    return {str(path): fingerprint(path) for path in paths}
