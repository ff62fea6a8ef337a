"""Every fault of the battery is a test; those that take longer than a few seconds are slow."""

from __future__ import annotations

import pytest

from tests.faults.battery import FAULTS, Fault, answer, main
from tests.faults.bench import Bench, Lost, NotRun, Outcome, a_bench

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def bench():
    with a_bench(kills=3, files=100) as made:
        yield made


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if fault.quick else pytest.mark.slow) for name, fault in FAULTS.items()]
)
def test_nothing_is_lost(bench, name):
    try:
        outcome = FAULTS[name].make(bench)
    except NotRun as why:
        pytest.skip(str(why))
    assert outcome.happened
    assert outcome.lost == "nothing"


def refuse(bench: Bench) -> Outcome:
    raise NotRun("there is no disk")


def lose(bench: Bench) -> Outcome:
    raise Lost("a file is gone")


def test_what_was_not_run_is_never_called_passed(tmp_path):
    assert answer(Fault("", refuse), Bench(tmp_path)) == ("not run", "there is no disk", "-")
    assert answer(Fault("", lose), Bench(tmp_path))[0] == "FAILED"


def test_a_file_that_differs_is_found(tmp_path):
    bench = Bench(tmp_path, _expected={"01": {"a.txt": b"1", "b.txt": b"2"}})
    (bench.root / "out").mkdir(parents=True)
    bench.home.mkdir()
    (bench.root / "out" / "a.txt").write_bytes(b"1")
    with pytest.raises(Lost, match=r"b\.txt"):
        bench.check_complete(("01",))
    (bench.root / "out" / "b.txt").write_bytes(b"2")
    bench.check_complete(("01",))
    (bench.home / "left").touch()
    with pytest.raises(Lost, match="left"):
        bench.check_complete(("01",))


def test_the_command_ends_with_one_where_a_fault_was_not_survived(monkeypatch, capsys):
    monkeypatch.setitem(FAULTS, "clock", Fault("the clock", lose))
    assert main(["--only", "clock", "--markdown"]) == 1
    assert "| the clock | FAILED: a file is gone |" in capsys.readouterr().out
