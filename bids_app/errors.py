"""Every error a person can meet, each with the exit code of the BIDS Apps 2.0 draft.

A message says what is wrong, with which file, and what to do about it.
"""

from __future__ import annotations

import signal


class TandemError(Exception):
    """Something a person can mend. ``exit_code`` is what the program ends with."""

    exit_code = 1


class ValidationFailed(TandemError):
    """The input is not a valid BIDS dataset."""

    exit_code = 16


class UnknownLevel(TandemError):
    """The analysis level is not one of participant, group, train."""

    exit_code = 17


class NothingSelected(TandemError):
    """The filters select no file."""

    exit_code = 18


class UsageError(TandemError):
    """The command line, or a configuration file, cannot be used as given."""

    exit_code = 64


class DataError(TandemError):
    """An input is there but is not usable."""

    exit_code = 65


class ImageError(DataError):
    """An image is damaged, implausible, or not of the kind that is needed."""


class RecipeError(DataError):
    """A recipe does not follow its schema; names the field and the file."""


class BundleError(DataError):
    """A bundle is incomplete, or its weights do not match its manifest."""


class LeakageError(DataError):
    """A test could have been seen in training; names the participants."""


class TrainingError(DataError):
    """A cohort, plan or checkpoint cannot be trained with; says which part and what to do."""


class InputMissing(TandemError):
    """A file, participant or session that was asked for is absent or cannot be read."""

    exit_code = 66


class CannotWrite(TandemError):
    """An output cannot be created."""

    exit_code = 73


class IOFailure(TandemError):
    """Reading or writing failed half way (disk full, device gone)."""

    exit_code = 74


class TemporaryFailure(TandemError):
    """The same command is expected to work when run again (memory, a killed process)."""

    exit_code = 75


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop. Not a `TandemError`: no ``except Exception`` on the way may hold it up."""

    INTERRUPTED, AGAIN = 130, TemporaryFailure.exit_code

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, as a shell has it; else 75: a scheduler may start the same command again."""
        return self.INTERRUPTED if self.number == signal.SIGINT else self.AGAIN

    def __str__(self) -> str:
        asked = "interrupted" if self.number == signal.SIGINT else f"asked to stop ({signal.Signals(self.number).name})"
        return f"{asked}; the same command goes on where it stopped"
