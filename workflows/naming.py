"""Names that Nipype takes."""

from __future__ import annotations


def slug(name: str) -> str:
    """A sequence's or recipe's name in letters, digits and ``_``."""
    return "".join(c if c.isalnum() else "_" for c in name)
