"""What the parts of the group level hand on: tables, what the page shows, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass
class Answers:
    """What the group level found.

    Attributes:
        tables: by file name.
        dictionaries: JSON content by file name.
        shown: plain data for the page.
        images: NIfTI images by file name.
        binaries: other files by name.
        later: writes the files of one session when it is called with the output folder, so that not all are held at
            once; returns them.
        methods: sentences of what was done; ``[@key]`` cites an entry of `bids_app.report.references`.
        warnings: sentences.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    dictionaries: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)
    binaries: dict[str, bytes] = field(default_factory=dict)
    later: list[Callable[[Path], list[Path]]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, table: pd.DataFrame, columns: Mapping[str, str]) -> None:
        """Keep a table with its dictionary.

        Args:
            name: of the files, without their ending.
            columns: what each column is.
        """
        self.tables[f"{name}.tsv"] = table
        self.dictionaries[f"{name}.json"] = explained(columns)


def explained(columns: Mapping[str, str]) -> dict[str, Any]:
    """A BIDS data dictionary of columns that need a description alone."""
    return {name: {"Description": text} for name, text in columns.items()}


def with_none(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for a page: None where a value is missing."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
