"""The list of sessions."""

from __future__ import annotations

from bids_app.report.index import write_index
from bids_app.report.session import write_session_report
from tests.bids_app.report.fake import write_failed, write_session


def test_index_links_done_and_failed_sessions(tmp_path):
    write_session(tmp_path, "sub-01_ses-01")
    write_failed(tmp_path, "sub-02", reason="<b>no T1w</b>")
    for key in ("sub-01_ses-01", "sub-02"):
        write_session_report(tmp_path, key)
    page = write_index(tmp_path).read_text()
    assert 'href="sub-01_ses-01.html"' in page
    assert 'href="sub-02.html"' in page
    assert "&lt;b&gt;no T1w" in page


def test_index_of_an_empty_folder_says_so(tmp_path):
    assert "No session has been run" in write_index(tmp_path).read_text()
