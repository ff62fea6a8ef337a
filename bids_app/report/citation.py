"""``CITATION.md`` and ``CITATION.bib``: the methods text of an output folder, and what it cites, for a manuscript."""

from __future__ import annotations

import re
from pathlib import Path

from bids_app.bids.files import write_text
from bids_app.bids.record import Images, RecipePart, SessionRecord
from bids_app.bids.record_file import read_session, session_keys
from bids_app.report.methods import cited_in, raw_paragraphs
from bids_app.report.references import REFERENCES

#: Authors. Title. Where (year). doi:...
PARTS = re.compile(
    r"(?P<author>.+?)\. (?P<title>.+?)\. (?P<where>.+?)(?: \((?P<year>\d{4})\))?\.(?: doi:(?P<doi>\S+))?$"
)


def write_citation(output_dir: Path) -> list[Path]:
    """Write both files from the finished session with the most recipes; nothing where none is finished.

    Raises:
        CannotWrite, IOFailure: as `bids_app.bids.files.write_whole`.
    """
    records = (read_session(output_dir, key) for key in session_keys(output_dir))
    finished = [record for record in records if record.done() and _said(record)]
    if not finished:
        return []
    record = max(finished, key=lambda one: len(one.done()))  # of equals the first
    text = citation_markdown(record)
    return [
        write_text(output_dir / "CITATION.md", text),
        write_text(output_dir / "CITATION.bib", bibtex(cited_in(text))),
    ]


def _said(record: SessionRecord) -> bool:
    """Whether its steps said what they did; those of an earlier version did not."""
    steps: list[Images | RecipePart] = [*record.images.values(), *record.done()]
    return any(one.methods for one in steps)


def citation_markdown(record: SessionRecord) -> str:
    """The methods text with Pandoc's citations."""
    about = (
        f"What ran on {record.key}, the first session with the most recipes, in the words of each step; other sessions "
        "may differ, and the page of each says what ran on it. For research use only: scores, not diagnoses."
    )
    how = "pandoc --citeproc --bibliography CITATION.bib CITATION.md"
    lines = ["# Methods", "", *[line for p in raw_paragraphs(record) for line in (p, "")], "## About this text", ""]
    return "\n".join([*lines, about, "", f"References are in CITATION.bib: `{how}` puts them in.", ""])


def bibtex(keys: list[str]) -> str:
    """Entries of a bibliography."""
    return "".join(_entry(key) for key in keys)


def _entry(key: str) -> str:
    parts = parse_reference(REFERENCES[key])
    people = parts["author"].removesuffix(", et al").split(", ")
    people = [re.sub(r"^(.+) ([A-Z]+)$", r"\1, \2", person) for person in people]
    people += ["others"] if parts["author"].endswith("et al") else []
    kind = "software" if not parts["year"] else "article"
    fields = {
        "author": " and ".join(people) if len(people) > 1 or "," in people[0] else f"{{{people[0]}}}",
        "title": f"{{{parts['title']}}}",
        "journal" if kind == "article" else "publisher": parts["where"],
        "year": parts["year"],
        "doi": parts["doi"],
    }
    rows = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
    return f"@{kind}{{{key},\n{rows}}}\n\n"


def parse_reference(text: str) -> dict[str, str]:
    """Author, title, where, year and DOI of a reference as it is written in `bids_app.report.references`.

    Raises:
        ValueError: it is not written like the others.
    """
    found = PARTS.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not written as: authors. title. where (year). doi:...")
    return {name: value or "" for name, value in found.groupdict().items()}
