"""The methods text describes what ran, and nothing else."""

from __future__ import annotations

import copy

import pytest

from bids_app.report.methods import build_methods, methods_markdown
from bids_app.report.references import REFERENCES, SHORT


@pytest.fixture
def record(finished):
    return copy.deepcopy(finished[1])


def text_of(record) -> str:
    return " ".join(build_methods(record)["paragraphs"])


def test_what_ran_is_described_and_cited(record):
    text = text_of(record)
    for words in (
        "N4 (Tustison",
        "rigid transform",
        "MNI152NLin2009aSym",
        "inside nilearn",
        "MONAI (Cardoso",
        "0.5 × 0.5",
    ):
        assert words in text


def test_what_did_not_run_is_not_described(record):
    record["preprocessing"].update(bias={}, registrations=[])
    text = text_of(record)
    for words in ("N4", "SyN", "rigid", "denoised", "flips"):
        assert words not in text


def test_deformable_registration_is_cited(record):
    record["preprocessing"]["registrations"].append({"moving": "T1w", "fixed": "x", "kind": "syn"})
    assert "SyN (Avants et al., 2008)" in text_of(record)


def test_flips_are_described_when_they_were_used(record):
    record["predictions"][0]["tta"] = True
    assert "flips" in text_of(record)


def test_each_reference_is_listed_once_and_each_is_cited(record):
    methods = build_methods(record)
    assert len(methods["references"]) == len(set(methods["references"]))
    text = " ".join(methods["paragraphs"])
    for key, reference in REFERENCES.items():
        assert (reference in methods["references"]) <= (SHORT[key] in text)


def test_every_reference_has_a_short_form():
    assert set(REFERENCES) == set(SHORT)


def test_failed_session_has_an_honest_text():
    assert "No usable image" in text_of({"version": "1"})


def test_markdown_numbers_the_references(record):
    text = methods_markdown(record)
    assert text.startswith("# Methods\n")
    assert "\n1. Gorgolewski" in text


def test_empty_methods_in_a_record_are_written_anew(record):
    record["methods"] = {"paragraphs": [], "references": []}
    assert "N4" in methods_markdown(record)
