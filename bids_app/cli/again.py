"""``--reports-only`` and ``--boilerplate-only``: write pages and methods text from what sessions left."""

from __future__ import annotations

from pathlib import Path

from bids_app.errors import InputMissing
from bids_app.settings import Settings


def reports(settings: Settings, units: list) -> int:
    """Write the page of every session that has a record; with ``--normative``, with where its numbers lie.

    Raises:
        InputMissing: no session has one.
    """
    from bids_app.bids.record_file import read_session, write_record
    from bids_app.group.normative_scores import read_normative
    from bids_app.group.profile import add_profile
    from bids_app.report.index import write_index
    from bids_app.report.session import write_session_report

    keys = [unit.key for unit in units if _record(settings, unit.key)]
    if not keys:
        raise InputMissing(f"{settings.output_dir} holds no record of these sessions; run the participant level first")
    model = read_normative(settings.normative) if settings.normative is not None else None
    for key in keys:
        if model is not None and (record := read_session(settings.output_dir, key)).state == "done":
            add_profile(settings.output_dir, record, model, site=settings.site_column)
            write_record(settings.output_dir, record)
        print(f"tandem: wrote {write_session_report(settings.output_dir, key)}")
    print(f"tandem: wrote {write_index(settings.output_dir)}")
    return 0


def boilerplate(settings: Settings, units: list) -> int:
    """Print the methods text of the first finished session: what actually ran there.

    Raises:
        InputMissing: no session is finished.
    """
    from bids_app.bids.record_file import read_session
    from bids_app.report.methods import methods_markdown

    for unit in units:
        record = read_session(settings.output_dir, unit.key) if _record(settings, unit.key) else None
        if record is not None and record.state == "done":
            print(methods_markdown(record))
            return 0
    raise InputMissing(f"no session in {settings.output_dir} is finished; the methods text is written from what ran")


def _record(settings: Settings, key: str) -> Path | None:
    path = settings.output_dir / "logs" / key / "record.json"
    return path if path.is_file() else None
