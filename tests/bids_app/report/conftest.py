"""A finished session and its page, made once."""

from __future__ import annotations

import numpy as np
import pytest

from bids_app.report import figures
from bids_app.report.session import write_session_report
from tests.bids_app.report.fake import write_session


@pytest.fixture(autouse=True)
def _coarse(monkeypatch):
    """Pictures of few pixels: most tests read the words."""
    monkeypatch.setattr(figures, "WHOLE_SPACING", 4.0)
    monkeypatch.setattr(figures, "ZOOM_PIXELS", 40)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Output folder, record and page text of a finished session with two sequences."""
    root = tmp_path_factory.mktemp("output")
    record = write_session(root, sequences=("FLAIR",), to_template=np.eye(4))
    return root, record, write_session_report(root, record["key"]).read_text(encoding="utf-8")
