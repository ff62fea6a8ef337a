"""Exit codes are what a scheduler and a script go by: each is written out here, and reaches the shell."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from bids_app import errors
from bids_app.cli.main import main

CODES = {
    "TandemError": 1,
    "ValidationFailed": 16,
    "UnknownLevel": 17,
    "NothingSelected": 18,
    "UsageError": 64,
    "DataError": 65,
    "ImageError": 65,
    "RecipeError": 65,
    "BundleError": 65,
    "LeakageError": 65,
    "TrainingError": 65,
    "InputMissing": 66,
    "CannotWrite": 73,
    "IOFailure": 74,
    "TemporaryFailure": 75,
}


def test_every_error_has_its_exit_code():
    kinds = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    found = {name: kind.exit_code for name, kind in kinds.items() if issubclass(kind, errors.TandemError)}
    assert found == CODES


def test_a_signal_ends_with_a_code_of_its_own():
    assert errors.Stopped(signal.SIGINT).exit_code == 130
    assert errors.Stopped(signal.SIGTERM).exit_code == 75


@pytest.mark.parametrize("kind", [errors.UsageError, errors.DataError, errors.InputMissing, errors.IOFailure])
def test_an_error_ends_the_program_with_its_code_and_its_words(monkeypatch, capsys, kind):
    def fail(argv):
        raise kind("what is wrong")

    monkeypatch.setattr("bids_app.cli.main._chosen", fail)
    assert main([]) == CODES[kind.__name__]
    assert capsys.readouterr().err == "tandem: what is wrong\n"


def test_the_code_reaches_the_shell(tmp_path):
    command = [sys.executable, "-m", "bids_app", str(tmp_path / "absent"), str(tmp_path / "out"), "participant"]
    assert subprocess.run(command, capture_output=True).returncode == 66
