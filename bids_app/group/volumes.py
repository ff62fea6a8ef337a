"""Every number of an output folder as columns: the sessions' tables are read together, never row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bids_app.bids.record import RecipePart, SessionRecord
from bids_app.group.names import UNITS, column_name

#: Columns of a session's table of volumes that are read.
MEASURES = (
    *("soft_mm3", "soft_low_mm3", "soft_high_mm3", "hard_mm3", "area_mm2"),
    *("centre_x_mm", "centre_y_mm", "centre_z_mm"),
)
PRIMARY = "soft_mm3"
#: What is kept of a resting-state series: measure -> its name in the record.
OF_SERIES = {"mean_fd_mm": "mean_fd_mm", "bold_tsnr": "tsnr", "bold_volumes": "volumes"}
#: Name under which all lesions of a recipe together stand among the regions.
LESIONS = "lesions"
#: Modified z-score above which a value is flagged: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993); and
#: one that no measurement error of a usable image explains.
OUTLIER, FAR = 3.5, 7.0
FEWEST_FOR_OUTLIERS = 5
#: Quality of a number: as measured; far from the others'; no such region; rated bad by a person.
OK, FLAGGED, NOT_FOUND, BAD = "ok", "outlier", "not found", "rated bad"
LONG = ("key", "participant_id", "session_id", "recipe", "region", "measure", "value", "unit", "qc")


@dataclass
class Volumes:
    """Gathers tables of sessions; `frame` reads them all.

    Attributes:
        sources: key, participant_id, session_id, recipe and whether rated bad, of every table and of what stands beside
            the tables.
        bodies: by header, number of source and lines without the header.
        absent: number of source and region of what was looked for and not found.
        single: number of source, region, measure and value of what is measured once.
    """

    sources: list[tuple[str, str, str, str, bool]] = field(default_factory=list)
    bodies: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    absent: set[tuple[int, str]] = field(default_factory=set)
    single: list[tuple[int, str, str, float]] = field(default_factory=list)

    def add(
        self, output_dir: Path, record: SessionRecord, identity: tuple[str, str], bad: set[str], warnings: list[str]
    ) -> set[str]:
        """Take in one session.

        Args:
            output_dir: the derivatives folder.
            record: of the session.
            identity: participant_id and session_id.
            bad: recipes that a person rated bad on it.
            warnings: gets a sentence for each table that cannot be read.

        Returns:
            The recipes that have numbers.
        """
        measured = set()
        for part in record.done():
            if part.files.volumes is not None:
                source = (record.key, *identity, part.recipe, part.recipe in bad)
                if self._add_table(output_dir, part, part.files.volumes, source, warnings):
                    measured.add(part.recipe)
        brain = next((images.preprocessing.brain_ml for images in record.images.values()), None)
        series = next((one for images in record.images.values() if (one := images.preprocessing.functional)), {})
        once = [("brain", "brain_mask_ml", brain if measured else None)]
        once += [("series", name, series.get(key)) for name, key in OF_SERIES.items()]
        if record.done() and any(value is not None for _, _, value in once):
            self.sources.append((record.key, *identity, "n/a", False))
            place = len(self.sources) - 1
            self.single += [(place, what, name, float(value)) for what, name, value in once if value is not None]
        return measured

    def _add_table(
        self, output_dir: Path, part: RecipePart, relative: str, source: tuple[str, str, str, str, bool],
        warnings: list[str],
    ) -> bool:  # fmt: skip
        try:
            text = (output_dir / relative).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            warnings.append(f"{source[0]}: its table {relative} cannot be read ({error}); it is left out.")
            return False
        head, _, body = text.replace("\r\n", "\n").partition("\n")
        columns, lines = head.split("\t"), [line for line in body.split("\n") if line]
        if "name" not in columns or any(line.count("\t") != len(columns) - 1 for line in lines):
            warnings.append(f"{source[0]}: its table {relative} cannot be read (its rows are no regions); left out.")
            return False
        self.sources.append(source)
        place = len(self.sources) - 1
        if lines:
            self.bodies.setdefault(head, []).append((place, "\n".join(lines)))
        regions = part.prediction.regions if part.prediction else []
        # a lesion may be absent: 0 mm³
        self.absent |= {(place, one.name) for one in regions if not one.found and one.kind != "lesion"}
        if part.prediction is not None and part.prediction.lesions is not None:
            volumes = [lesion.volume_mm3 for lesion in part.prediction.lesions]
            self.single.append((place, LESIONS, "lesion_count", float(len(volumes))))
            self.single.append((place, LESIONS, "lesion_load_mm3", float(sum(volumes))))
        return bool(lines)

    def frame(self) -> pd.DataFrame:
        """One row per number, in the order of sessions, with columns `LONG`; texts are categories."""
        parts = [self._parsed(head, bodies) for head, bodies in self.bodies.items()]
        parts.append(pd.DataFrame(self.single, columns=["source", "region", "measure", "value"]))
        long = pd.concat([part for part in parts if len(part)] or parts[-1:], ignore_index=True)
        long = long.sort_values("source", kind="stable", ignore_index=True)
        place = long.pop("source").to_numpy(int)
        sources = pd.DataFrame(self.sources, columns=["key", "participant_id", "session_id", "recipe", "bad"])
        for name in ("key", "participant_id", "session_id", "recipe"):
            coded = pd.Categorical(sources[name])
            long[name] = pd.Categorical.from_codes(coded.codes[place], coded.categories)
        for name in ("region", "measure"):
            long[name] = pd.Categorical(long[name])
        long["value"] = long["value"].astype(float).where(lambda v: np.isfinite(v))
        long["unit"] = long["measure"].map(UNITS).astype("category")
        absent = np.zeros(len(long), bool)
        if self.absent:
            where = pd.MultiIndex.from_arrays([place, long["region"].astype(str)])
            absent = np.asarray(where.isin(list(self.absent)))
        long.loc[absent, "value"] = np.nan
        codes = np.select([sources["bad"].to_numpy(bool)[place], absent], [3, 2], 0)
        long["qc"] = pd.Categorical.from_codes(codes, [OK, FLAGGED, NOT_FOUND, BAD])
        return flag(long[list(LONG)])

    def _parsed(self, head: str, bodies: list[tuple[int, str]]) -> pd.DataFrame:
        """Tables of one header, one number after the other."""
        columns = head.split("\t")
        measures = [name for name in MEASURES if name in columns]
        text = io.StringIO("\n".join([head, *(body for _, body in bodies)]))
        table = pd.read_csv(
            text, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE, usecols=["name", *measures]
        )
        source = np.repeat([s for s, _ in bodies], [body.count("\n") + 1 for _, body in bodies])
        numbers = np.stack([pd.to_numeric(table[name], errors="coerce").to_numpy(float) for name in measures], axis=1)
        count = len(measures)
        return pd.DataFrame(
            {
                "source": np.repeat(source, count),
                "region": pd.Categorical(table["name"]).repeat(count),
                "measure": pd.Categorical.from_codes(np.tile(np.arange(count), len(table)), measures),
                "value": numbers.ravel(),
            }
        ).astype({"region": str, "measure": str})


def scores(long: pd.DataFrame) -> pd.Series:
    """Modified z-score 0.6745 (x - median) / MAD of every number among the same of all sessions.

    What is rated bad or not found does not count; NaN there, and 0 for fewer than `FEWEST_FOR_OUTLIERS` numbers or
    without spread.
    """
    value = long["value"].where(~long["qc"].isin([BAD, NOT_FOUND]))
    by = [long["recipe"], long["region"], long["measure"]]
    median = value.groupby(by, observed=True).transform("median")
    spread = (value - median).abs().groupby(by, observed=True).transform("median")
    count = value.groupby(by, observed=True).transform("count")
    score = 0.6745 * (value - median) / spread.where(spread > 0)
    return score.where((count >= FEWEST_FOR_OUTLIERS) & (spread > 0), value * 0)


def flag(long: pd.DataFrame) -> pd.DataFrame:
    """Mark all numbers of a region of a session whose primary value lies beyond `OUTLIER`."""
    primary = long[long["measure"] == PRIMARY]
    far = primary[scores(primary).abs() > OUTLIER]
    if far.empty:
        return long
    number = _combined(long, ("key", "recipe", "region"))
    hit = np.isin(number, number[far.index.to_numpy()])
    return long.assign(qc=long["qc"].mask(hit & (long["qc"] == OK), FLAGGED))


def column_names(long: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Names of the wide table's columns, and which of them each row of the long one belongs to."""
    triple = ("recipe", "region", "measure")
    codes, _ = pd.factorize(_combined(long, triple))
    first = ~pd.Series(codes).duplicated().to_numpy()
    unique = zip(*(long[name][first].astype(str) for name in triple), strict=True)
    return [column_name(*one) for one in unique], codes


def _combined(long: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """One whole number per row for what several columns say together."""
    number = np.zeros(len(long), np.int64)
    for name in names:
        codes, distinct = pd.factorize(long[name])
        number = number * (len(distinct) + 1) + codes
    return number


def wide_frame(long: pd.DataFrame) -> pd.DataFrame:
    """One row per session: participant_id, session_id, outliers, and a column per number; bad ones are missing."""
    names, column = column_names(long)
    rows, keys = pd.factorize(long["key"].astype(str)) if len(long) else (np.zeros(0, int), pd.Index([]))
    numbers = np.full((len(keys), len(names)), np.nan)
    numbers[rows, column] = long["value"].where(long["qc"] != BAD).to_numpy()
    first = ~pd.Series(rows).duplicated().to_numpy()
    flagged = ((long["qc"] == FLAGGED) & (long["measure"] == PRIMARY)).to_numpy()
    head = pd.DataFrame(
        {
            "participant_id": long["participant_id"][first].astype(str).to_numpy(),
            "session_id": long["session_id"][first].astype(str).to_numpy(),
            "outliers": np.bincount(rows[flagged], minlength=len(keys)),
        },
        index=pd.Index(keys, name="key"),
    )
    return pd.concat([head, pd.DataFrame(numbers, index=head.index, columns=names)], axis=1)
