"""Records: typed, of any version that was ever written, and refused with a sentence where they are damaged."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from bids_app.bids.record import CORRECTED, UNCORRECTED, Images, RecipePart, SessionRecord
from bids_app.bids.record_file import read_record, read_session, record_path, session_keys, write_record
from bids_app.bids.record_part import Profile
from bids_app.bids.status import start_status, write_status
from bids_app.errors import DataError, InputMissing
from tests.bids_app.report.fake import write_session


@pytest.fixture
def record() -> SessionRecord:
    """One recipe done and one running, on one reference."""
    images = Images(reference="T1w", files={"reference": {CORRECTED: "a.nii.gz"}}, outputs={"a.nii.gz": "1"})
    parts = {
        "habenula": RecipePart(recipe="habenula", state="done", reference="T1w", outputs={"b.tsv": "2"}),
        "tumour": RecipePart(recipe="tumour", state="running", reference="T1w"),
    }
    return SessionRecord(
        key="sub-01_ses-a", participant="01", session="a", state="running", images={"T1w": images}, recipes=parts
    )


def test_a_record_survives_its_file(tmp_path, record):
    write_record(tmp_path, record)
    assert read_record(tmp_path, record.key) == record
    assert session_keys(tmp_path) == [record.key]
    assert record.outputs() == {"a.nii.gz": "1", "b.tsv": "2"}


def test_a_session_that_never_ran_has_no_record(tmp_path):
    assert read_record(tmp_path, "sub-01") is None
    with pytest.raises(InputMissing, match="run the participant level on sub-01 first"):
        read_session(tmp_path, "sub-01")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold a JSON object, not a list"),
        ("[" * 100_000, "nested more than"),
        ('{"format": 2, "key": 3, "participant": "01"}', "key: input should be a valid string, not '3'"),
        ('{"format": 2, "key": "sub-01", "participant": "01", "recipes": []}', "recipes: input should be"),
        ('{"format": 2, "key": "sub-01", "participant": "01", "seconds": "4"}', "seconds: input should be"),
        ('{"format": 3, "version": "9"}', "written by a later version of Tandem (9)"),
        ('{"state": "done", "files": "all"}', "files: must be an object, not 'all'"),
        ('{"state": "done", "predictions": [{"recipe": "a", "regions": [{"name": 4}]}]}', "regions.0.name: input"),
        ('{"state": "done", "predictions": 5}', "not iterable"),
    ],
)
def test_a_record_that_cannot_be_used_gives_a_sentence(tmp_path, content, says):
    path = record_path(tmp_path, "sub-01")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(DataError) as told:
        read_record(tmp_path, "sub-01")
    assert says in str(told.value)
    assert str(path) in str(told.value)
    found = read_session(tmp_path, "sub-01")  # a list of sessions shows the others
    assert (found.state, found.participant) == ("unknown", "01")
    assert says in found.reason


def test_recipes_that_were_running_when_their_process_ended_have_failed_and_others_have_not(tmp_path, record):
    write_record(tmp_path, record)
    write_status(tmp_path, start_status("01", "a", pid=2**22 + 1))  # gone
    found = read_session(tmp_path, record.key)
    assert found.state == "failed"
    assert found.recipes["tumour"].state == "failed"
    assert "ended without a word" in found.recipes["tumour"].reason
    assert found.recipes["habenula"].state == "done"


def test_a_session_that_runs_is_running(tmp_path, record):
    write_record(tmp_path, record)
    write_status(tmp_path, start_status("01", "a"))
    assert read_session(tmp_path, record.key).recipes["tumour"].state == "running"


def test_a_record_of_the_first_format_is_read(tmp_path):
    key = write_session(tmp_path, sequences=("FLAIR",))["key"]
    found = read_session(tmp_path, key)
    assert list(found.recipes) == ["habenula"]
    part = found.recipes["habenula"]
    assert (part.state, part.reference, part.way, part.settings_hash) == ("done", "T1w", CORRECTED, "")
    assert [region.name for region in part.prediction.regions] == ["Left habenula", "Right habenula"]
    assert part.files.volumes.endswith("desc-habenula_volumes.tsv")
    images = found.images_of(part)
    assert images.raw()["FLAIR"].endswith("_FLAIR.nii.gz")
    assert set(images.of_way(CORRECTED)) == {"T1w", "FLAIR"}
    assert images.preprocessing.brain_ml == 1376.0
    assert found.seconds == 41.2


def test_an_old_record_whose_image_was_not_corrected_says_so(tmp_path):
    record = write_session(tmp_path)
    del record["preprocessing"]["bias"]
    record_path(tmp_path, record["key"]).write_text(json.dumps(record))
    assert list(read_session(tmp_path, record["key"]).images["T1w"].files.reference) == [UNCORRECTED]


def test_later_images_are_joined_with_those_of_other_recipes():
    old = Images(
        reference="T1w",
        selection={"reference": "T1w", "sequences": [{"sequence": "T1w", "file": "a"}]},
        preprocessing={"brain_ml": 1300.0, "registrations": [{"moving": "T1w", "fixed": "MNI", "kind": "affine"}]},
        files={"reference": {CORRECTED: "a"}, "sequences": {CORRECTED: {"FLAIR": "f"}}, "brain_mask": "m"},
    )
    new = Images(
        reference="T1w",
        selection={"reference": "T1w", "sequences": [{"sequence": "T2w", "file": "b"}]},
        preprocessing={"registrations": [{"moving": "T2w", "fixed": "T1w", "kind": "rigid"}]},
        files={"reference": {UNCORRECTED: "u"}, "sequences": {CORRECTED: {"T2w": "t"}}},
    )
    both = old.joined(new)
    assert both.files.reference == {CORRECTED: "a", UNCORRECTED: "u"}
    assert both.files.sequences == {CORRECTED: {"FLAIR": "f", "T2w": "t"}}
    assert both.files.brain_mask == "m"
    assert both.selection.used() == ["T1w", "T2w"]
    assert both.preprocessing.brain_ml == 1300.0
    assert [one.moving for one in both.preprocessing.registrations] == ["T1w", "T2w"]


def test_a_profile_is_kept_with_its_record_and_a_wrong_number_is_refused():
    row = {"measure": "volume", "value": 1.0, "expected": 2.0, "deviation": -1.0, "z": -0.5, "centile": 31.0}
    record = SessionRecord(key="sub-01", participant="01", profile=Profile(fitted_on="us", ages=[20, 80], rows=[row]))
    again = SessionRecord.model_validate_json(record.model_dump_json())
    assert again == record
    assert again.profile.rows[0].z == -0.5
    with pytest.raises(ValidationError, match="centile"):
        Profile(fitted_on="us", ages=[20, 80], rows=[{**row, "centile": "high"}])
