"""What people thought of sessions, as the pages save it, and what the group level makes of it."""

from __future__ import annotations

import csv
import json

import pytest

from bids_app.group.ratings import read_ratings
from bids_app.group.tables import write_group
from tests.bids_app.group.test_tables import session_with

HEAD = "participant_id\tsession_id\trecipe\trating\tcomment\n"


def rate(root, name, *rows):
    (root / "ratings").mkdir(exist_ok=True)
    (root / "ratings" / name).write_text(HEAD + "".join("\t".join(row) + "\n" for row in rows))


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_the_worst_of_several_ratings_counts_and_is_said(tmp_path):
    rate(tmp_path, "a.tsv", ("sub-01", "n/a", "habenula", "good", "n/a"))
    rate(tmp_path, "b.tsv", ("sub-01", "n/a", "habenula", "bad", "moved"))
    found, told = read_ratings(tmp_path)
    assert found["sub-01", "n/a", "habenula"].rating == "bad"
    assert found["sub-01", "n/a", "habenula"].comment == "moved"
    assert told == ["sub-01 habenula is rated good and bad; the worse counts."]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "sub-01\tn/a\thabenula\tgreat\tx\n", "'great' is no rating"),
        ("participant_id\trating\nsub-01\tbad\n", "has no column session_id, recipe"),
    ],
)
def test_a_table_that_cannot_be_used_is_said(tmp_path, text, says):
    (tmp_path / "ratings").mkdir()
    (tmp_path / "ratings/a.tsv").write_text(text)
    found, told = read_ratings(tmp_path)
    assert not found
    assert says in told[0]


def test_what_is_rated_bad_is_left_out_and_said(tmp_path):
    for i, soft in enumerate((16.0, 17.0, 60.0)):
        session_with(tmp_path, f"sub-{i:02d}", soft)
    rate(tmp_path, "sub-02_rating.tsv", ("sub-02", "n/a", "habenula", "bad", "moved"))
    rate(
        tmp_path,
        "other.tsv",
        ("sub-77", "n/a", "habenula", "good", "n/a"),
        ("sub-00", "n/a", "habenula", "good", "n/a"),
    )
    write_group(tmp_path)
    long = [r for r in rows_of(tmp_path / "group_volumes.tsv") if r["measure"] == "soft_mm3"]
    assert {r["participant_id"]: r["qc"] for r in long} == {"sub-00": "ok", "sub-01": "ok", "sub-02": "rated bad"}
    wide = {r["participant_id"]: r["habenula_left_soft_mm3"] for r in rows_of(tmp_path / "group_volumes_wide.tsv")}
    assert wide == {"sub-00": "16", "sub-01": "17", "sub-02": "n/a"}
    ended = {r["participant_id"]: (r["rating"], r["comment"]) for r in rows_of(tmp_path / "group_attrition.tsv")}
    assert ended["sub-02"] == ("bad", "moved")
    page = (tmp_path / "group.html").read_text()
    assert "sub-02, 60.0" not in page
    assert "moved" in page.split('id="bad"')[1]
    assert "sub-77 n/a habenula is not in this folder" in page


def test_levels_and_units_of_participants_reach_the_dictionary(tmp_path):
    session_with(tmp_path, "sub-01", 17.0)
    (tmp_path / "logs/participants.tsv").write_text("participant_id\tage\tgroup\nsub-01\t39\t1\n")
    about = {"age": {"Units": "year"}, "group": {"Levels": {"1": "depression"}, "Description": "diagnosis"}}
    (tmp_path / "logs/participants.json").write_text(json.dumps(about))
    write_group(tmp_path)
    found = json.loads((tmp_path / "group_volumes.json").read_text())
    assert found["age"]["Units"] == "year"
    assert found["group"] == {"Description": "diagnosis", "Levels": {"1": "depression"}}


def test_people_and_sessions_are_counted_apart(tmp_path):
    for key in ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"):
        session_with(tmp_path, key, 17.0)
    write_group(tmp_path)
    page = (tmp_path / "group.html").read_text()
    assert "3 sessions of 2 participants" in page
    assert "n = 3 of 2 people" in page
