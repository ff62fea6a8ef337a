"""Where one session's numbers lie among people of the same age: table, record and page."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from bids_app.bids.record_file import read_session, write_record
from bids_app.cli.again import reports
from bids_app.errors import DataError
from bids_app.group.normative_scores import read_normative
from bids_app.group.plan import GroupPlan
from bids_app.group.profile import add_profile, profile_of
from bids_app.group.tables import write_group
from bids_app.settings import Settings
from tests.bids_app.group.test_normative_answers import make, rows_of
from tests.bids_app.group.test_tables import session_with
from workflows.run_session import place


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("taught")
    make(root, 80, 0, "cp")
    write_group(root, GroupPlan("group", "c", ("sex",), "site", normative="fit"))
    return root / "group_normative_model.json"


@pytest.fixture
def folder(tmp_path):
    """One new man of 40 years at a known site, with a small left habenula."""
    session_with(tmp_path, "sub-007", 20.0)
    people = "participant_id\tage\tsex\tsite\nsub-007\t40\tM\ta\nsub-2\tn/a\tF\ta\n"
    (tmp_path / "logs/participants.tsv").write_text(people)
    return tmp_path


def test_a_profile_is_what_the_group_level_says_of_the_same_person(folder, model):
    found = profile_of(folder, read_session(folder, "sub-007"), read_normative(model))
    write_group(folder, GroupPlan(normative=str(model)))
    rows = {r["measure"]: r for r in rows_of(folder / "group_normative.tsv")}
    assert {row.measure for row in found.rows} == set(rows)
    for row in found.rows:
        assert row.z == pytest.approx(float(rows[row.measure]["z"]), rel=1e-4)
        assert row.centile == pytest.approx(float(rows[row.measure]["centile"]), rel=1e-3, abs=1e-6)
    (left,) = [row for row in found.rows if row.measure == "habenula_left_soft_mm3"]
    assert left.z < -5  # 33 ± 1 is expected at 40
    assert (left.region, left.unit) == ("Left habenula", "mm3")


def test_record_table_and_page_have_it(folder, model):
    settings = Settings(bids_dir=folder, output_dir=folder, work_dir=folder / "work", normative=model)
    record = read_session(folder, "sub-007")
    place(settings, record)
    write_record(folder, record)
    again = read_session(folder, "sub-007")
    assert again.profile == record.profile
    rows = rows_of(folder / again.profile.file)
    assert again.profile.file == "sub-007/anat/sub-007_desc-normative_volumes.tsv"
    told = json.loads((folder / again.profile.file).with_suffix(".json").read_text())
    assert set(rows[0]) == set(told)
    assert "no finding about a person" in told["z"]["Description"]
    assert reports(settings, [SimpleNamespace(key="sub-007")]) == 0
    page = (folder / "sub-007.html").read_text()
    assert 'id="profile"' in page
    assert "A z-score is no finding about a person" in page
    assert "far" in page[page.index('id="profile"') :]


def test_reports_alone_add_a_profile_to_what_was_finished_before(folder, model):
    settings = Settings(bids_dir=folder, output_dir=folder, work_dir=folder / "work", normative=model)
    reports(settings, [SimpleNamespace(key="sub-007")])
    assert read_session(folder, "sub-007").profile is not None
    assert 'id="profile"' in (folder / "sub-007.html").read_text()


def test_without_an_age_there_is_a_sentence_and_no_profile(folder, model):
    (folder / "logs/participants.tsv").write_text("participant_id\tage\tsex\tsite\nsub-007\tn/a\tM\ta\n")
    record = read_session(folder, "sub-007")
    add_profile(folder, record, read_normative(model))
    assert record.profile is None
    assert "age" in record.warnings[-1]
    (folder / "logs/participants.tsv").write_text("participant_id\tsex\nsub-007\tM\n")
    with pytest.raises(DataError, match="age"):
        profile_of(folder, record, read_normative(model))


def test_an_age_outside_and_a_new_site_are_said(folder, model):
    (folder / "logs/participants.tsv").write_text("participant_id\tage\tsex\tscanner\nsub-007\t95\tM\tnew\n")
    found = profile_of(folder, read_session(folder, "sub-007"), read_normative(model), site="scanner")
    assert "age outside" in found.note
    assert "new site" in found.note
