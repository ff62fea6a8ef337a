import io

from rich.console import Console

from bids_app.bids.status import Status
from bids_app.cli.console import FOLDED_AT_MOST, make_console, print_statuses


def shown(statuses, **options) -> list[str]:
    stream = io.StringIO()
    print_statuses(statuses, Console(file=stream, width=60, **options) if options else make_console(file=stream))
    return stream.getvalue().splitlines()


def test_columns_stand_under_each_other_whatever_is_in_them():
    statuses = {
        "sub-01": Status("01", state="done", seconds=7.4, peak_rss_mb=512.0),
        "sub-名前": Status("名前", state="failed", reason="no space\nis left", warnings=["a", "b"]),
        "sub-03": None,
    }
    head, one, wide, none = shown(statuses)
    assert head == "session   state    seconds  peak MB  warnings"
    assert one == "sub-01    done           7      512"
    assert wide == "sub-名前  failed                            2  no space is left"
    assert none == "sub-03    not run"


def test_without_a_reason_the_first_warning_is_told():
    (row,) = shown({"sub-01": Status("01", state="done", warnings=["look at it"])})[1:]
    assert row.endswith("1  look at it")


def test_nothing_reaches_a_terminal_that_could_steer_it():
    status = Status("01", state="failed", reason="\x1b[1m[b]x[/b]")
    for options in ({}, {"force_terminal": True, "color_system": None}):
        text = "\n".join(shown({"sub-01": status}, **options))
        assert "\\x1b[1m[b]x[/b]" in text
        assert "\x1b" not in text


def test_a_terminal_folds_a_few_rows_and_no_thousands():
    long = Status("01", state="failed", reason="word " * 40)
    few = shown({"sub-01": long}, force_terminal=True, color_system=None)
    assert len(few) > 3
    assert max(map(len, few)) <= 60
    many = shown({f"sub-{i:05d}": long for i in range(FOLDED_AT_MOST + 1)}, force_terminal=True, color_system=None)
    assert len(many) == FOLDED_AT_MOST + 2


def test_no_sessions_leave_the_head_alone():
    assert len(shown({})) == 1
