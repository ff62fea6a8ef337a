import pytest

from bids_app.report.advice import BY_CODE, GENERAL, RUNNING, what_to_do


def failed(exit_code: int | None = None, reason: str = "") -> str:
    return what_to_do("failed", exit_code, reason)


def test_a_session_that_is_done_needs_none():
    assert what_to_do("done", 65, "") == ""


def test_a_session_that_is_running_may_have_been_interrupted():
    assert what_to_do("running", None, "") == RUNNING


@pytest.mark.parametrize("code", BY_CODE)
def test_every_code_has_its_own_advice(code):
    assert failed(exit_code=code) == BY_CODE[code]


def test_a_signal_is_read_as_shells_report_it():
    assert failed(exit_code=-9) == BY_CODE[137]


def test_without_a_code_the_reason_decides():
    assert failed(reason="no T1w is there") == BY_CODE[66]
    assert failed(reason="Killed: out of memory") == BY_CODE[137]
    assert failed(reason="something else") == GENERAL
