"""What an option is, and the kinds of value that one takes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SPACES = ("T1w", "orig", "MNI152NLin2009cAsym")
UNITS = {"": None, "K": 1 / 1024**2, "M": 1 / 1024, "G": 1.0, "T": 1024.0}


@dataclass(frozen=True)
class Option:
    """One option: the field of `Settings` it sets, how it is spelled, what it takes, and a sentence of help."""

    name: str
    flags: tuple[str, ...]
    help: str
    group: str
    kind: Callable[[str], Any] | None = str
    nargs: str | None = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_flag(self) -> bool:
        return self.kind is None


def memory(text: str) -> float:
    """``16G``, ``1.5GB``, ``16000M`` as GiB; a number without a unit is refused, other apps disagree on its meaning."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?)(i?B)?\s*", text, flags=re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of memory; write for example 16G or 16000M")
    factor = UNITS[match[2].upper()]
    if factor is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no unit (is it MB or GB?); write {match[1]}G or {match[1]}M")
    if float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: some memory is needed")
    return float(match[1]) * factor


def gigabytes(text: str) -> float:
    return memory(text + "G" if text.replace(".", "").isdigit() else text)


def megabytes(text: str) -> float:
    return memory(text + "M" if text.replace(".", "").isdigit() else text)


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def named_path(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    if not found or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=PATH, for example manual=derivatives/manual")
    return name, Path(path)


def space(text: str) -> str:
    name, *modifiers = text.split(":")
    if name not in SPACES or any(not re.fullmatch(r"res-[12]", m) for m in modifiers):
        raise argparse.ArgumentTypeError(
            f"unknown space {text!r}; known are {', '.join(SPACES)}, with :res-1 or :res-2"
        )
    return text


def device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"unknown device {text!r}; write auto, cpu, cuda or cuda:N")
    return text


def _spellings(*names: str) -> tuple[str, ...]:
    """Each long option with hyphens and with underscores."""
    both = []
    for name in names:
        both.append(name)
        if name.startswith("--") and "-" in name[2:]:
            both.append("--" + name[2:].replace("-", "_"))
    return tuple(dict.fromkeys(both))


def make_option(name: str, flags: tuple[str, ...], help: str, group: str, **more: Any) -> Option:
    return Option(name, _spellings(*flags), help, group, **more)


def amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def height(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -130 <= value <= 130:
        raise argparse.ArgumentTypeError(f"{text!r} is no height in a head: a number from -130 to 130 mm")
    return value


def count_or_none(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def below_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not -20 <= value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no threshold of atrophy: a z below zero, for example -2")
    return value
