"""``tandem recipe new``: what is asked, what is written, and that it can be used."""

from __future__ import annotations

import pytest

from bids_app.__main__ import main
from bids_app.cli.recipe_new import QUESTIONS, answers, written
from bids_app.errors import UsageError
from bids_app.recipes.recipe import load_recipe

GIVEN = {
    "name": "memory", "title": "Hippocampi and diagnosis", "sequences": "T1w FLAIR?", "grid": "whole", "spacing": "1.5",
    "regions": "left hippocampus, right hippocampus, ventricles",
    "targets": "diagnosis:ordinal:CN/MCI/AD, age:continuous:years",
    "covariates": "sex",
}  # fmt: skip


def flags(given: dict[str, str]) -> list[str]:
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def test_a_recipe_from_options_loads_and_says_what_was_meant(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipe", "new", *flags(GIVEN)]) == 0
    assert "train --recipe memory.toml" in capsys.readouterr().out
    found = load_recipe(str(tmp_path / "memory.toml"))
    assert [(s.name, s.required) for s in found.sequences] == [("T1w", True), ("FLAIR", False)]
    assert found.sequences[0].entities == {"ceagent": None}
    assert [(r.index, r.side, r.partner) for r in found.regions] == [(1, "left", 2), (2, "right", 1), (3, "none", None)]
    assert [(t.name, t.kind, t.levels, t.unit) for t in found.targets] == [
        ("diagnosis", "ordinal", ("CN", "MCI", "AD"), ""), ("age", "continuous", (), "years"),
    ]  # fmt: skip
    assert found.learning.covariates == ("sex",)
    assert found.learning.sequence_dropout > 0
    assert main(["recipe", "new", *flags(GIVEN)]) == UsageError.exit_code  # what is there is never overwritten


def test_what_was_not_given_is_asked_and_nothing_typed_takes_the_usual():
    shown: list[str] = []

    def ask(text: str) -> str:
        shown.append(text)
        return {"Name": "stain", "Titl": "Lesions", "Regi": "lesion"}.get(text[:4], "")

    told = answers(dict.fromkeys(q.flag for q in QUESTIONS), ask)
    assert len(shown) == len(QUESTIONS)
    assert told["sequences"] == "T1w"
    text = written(told)
    assert 'kind = "lesion"' in text
    assert 'suffix = "mask"' in text


def test_a_question_without_a_usual_answer_is_asked_again():
    lines = iter(["", "", "mine"])
    given = {q.flag: "x" for q in QUESTIONS} | {"name": None}
    assert answers(given, lambda text: next(lines))["name"] == "mine"


def test_nobody_to_ask_and_answers_that_end_are_errors():
    given = dict.fromkeys(q.flag for q in QUESTIONS)
    with pytest.raises(UsageError, match="--name and --title"):
        answers(given, None)

    def end(text: str) -> str:
        raise EOFError

    with pytest.raises(UsageError, match="--name"):
        answers(given, end)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "a b"}, "name"),
        ({"sequences": " "}, "--sequences"),
        ({"sequences": "T1w? FLAIR"}, "required"),
        ({"spacing": "fine"}, "--spacing"),
        ({"spacing": "99"}, "spacing_mm"),
        ({"grid": "somewhere"}, "grid"),
        ({"regions": "", "targets": ""}, "--regions or --targets"),
        ({"targets": "diagnosis"}, "says no kind"),
        ({"targets": "diagnosis:guess"}, "guess"),
        ({"targets": "diagnosis:binary:one"}, "diagnosis"),
    ],
)
def test_an_answer_that_makes_no_recipe_is_named(change, said):
    with pytest.raises(UsageError, match=said):
        written({**GIVEN, **change})


def test_a_sequence_with_an_agent_and_one_with_a_scale():
    text = written({**GIVEN, "sequences": "T1w ce-gadolinium_T1w? ADC"})
    assert 'ceagent = "gadolinium"' in text
    assert "quantitative = true" in text
