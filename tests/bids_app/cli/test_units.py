from __future__ import annotations

import os

import pytest

from bids_app.bids.status import Status
from bids_app.cli.units import has_page, keep_settings, overall_code
from bids_app.settings import Settings

DONE = Status("01", state="done", exit_code=0)


def failed(code: int | None) -> Status:
    return Status("02", state="failed", exit_code=code)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        ([DONE, DONE], 0),
        ([DONE, failed(65), failed(65)], 65),
        ([failed(65), failed(66)], 1),
        ([failed(None)], 1),
        ([DONE, None], 1),
    ],
)
def test_the_code_of_a_run_is_that_of_its_failures_where_they_are_of_one_kind(statuses, code):
    assert overall_code(statuses) == code


def test_each_run_keeps_its_options_and_the_newest_is_named(tmp_path):
    settings = Settings(bids_dir=tmp_path / "data", output_dir=tmp_path / "out")
    own = keep_settings(settings, "run.toml")
    assert own.parent == tmp_path / "out" / "logs" / "runs"
    assert own.read_text() == (tmp_path / "out" / "logs" / "run.toml").read_text()


def test_a_page_of_an_earlier_run_is_none(tmp_path):
    page = tmp_path / "sub-01.html"
    ended = Status("01", state="done", finished=2000.0)
    assert not has_page(tmp_path, ended)
    page.write_text("page")
    os.utime(page, (1000, 1000))
    assert not has_page(tmp_path, ended)
    os.utime(page, (2001, 2001))
    assert has_page(tmp_path, ended)
