"""Text that people write."""

import json
import math

import pytest

from bids_app.text import MAX_DEPTH, TextError, is_missing, parse_json, parse_number, read_json, read_text, read_toml


@pytest.mark.parametrize(
    ("text", "value"),
    [("34.5", 34.5), ("34,5", 34.5), (" 7 ", 7), ("89+", 89), ("-1e3", -1000), ("\u22122", -2), ("+4", 4), (".5", 0.5),
     ("0,125", 0.125), ("12,25", 12.25), ("5.", 5)],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [("1,234", "thousands"), ("1,234.5", "thousands"), ("1.234.567", "thousands"), ("1 234", "thousands"),
     ("1_000", "thousands"), ("34 years", "unit"), ("34y", "unit"), ("12%", "unit"), ("5ml", "unit"), ("<18", "range"),
     ("20-30", "range"), ("3/4", "range"), ("inf", "finite"), ("1e999", "finite"), ("many", "no number"),
     ("\u0663\u0664", "no number"), ("0x10", "unit"), ("+", "no number")],
)  # fmt: skip
def test_what_is_no_plain_number_is_refused_with_a_reason(text, why):
    with pytest.raises(TextError, match=why):
        parse_number(text)


@pytest.mark.parametrize(
    "word", ["", " ", "n/a", "N/A", "NA", "nan", "NaN", "None", "null", "-", "?", ".", "\u00a0", "#N/A"]
)
def test_words_for_not_known(word):
    assert is_missing(word)


@pytest.mark.parametrize("word", ["0", "no", "false", "absent", "control", "-1", "x"])
def test_values_are_not_missing(word):
    assert not is_missing(word)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_json_and_toml_are_read_in_every_encoding(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"Authors": ["M. Müller"]}'.encode(encoding))
    (tmp_path / "a.toml").write_bytes('author = "Müller"\rrun = 1\r'.encode(encoding))
    content, told = read_json(tmp_path / "a.json")
    assert content == {"Authors": ["M. Müller"]}
    assert bool(told) == (encoding != "utf-8-sig")
    assert read_toml(tmp_path / "a.toml")[0] == {"author": "Müller", "run": 1}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 200 + "]" * 200, "{", "9" * 5000, ""])
def test_json_that_is_too_deep_or_broken_is_refused(text):
    with pytest.raises(TextError, match=r"nested|not a JSON file"):
        parse_json(text)


def test_json_of_usual_depth_is_read():
    text = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse_json(text) == json.loads(text)
    assert math.isnan(parse_json("NaN"))


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "[" * 300 + "]" * 300, "a = ", "a = " + "9" * 5000])
def test_toml_that_is_too_deep_or_broken_is_refused(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(TextError, match=r"a\.toml"):
        read_toml(tmp_path / "a.toml")


def test_a_huge_text_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("bids_app.text.MAX_BYTES", 10)
    (tmp_path / "a.json").write_text(" " * 11)
    with pytest.raises(TextError, match="larger"):
        read_text(tmp_path / "a.json")
