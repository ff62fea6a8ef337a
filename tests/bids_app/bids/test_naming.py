import pytest

from bids_app.bids.naming import check_label, derivative_name, derivative_path, parse_name, source_entities
from bids_app.errors import DataError


def test_entities_come_in_the_order_of_the_schema():
    name = derivative_name(
        "01",
        "02",
        desc="x",
        res="1",
        seg="habenula",
        space="MNI152NLin2009cAsym",
        run="1",
        ce="gad",
        acq="hi",
        suffix="dseg",
        extension=".nii.gz",
    )
    assert name == ("sub-01_ses-02_acq-hi_ce-gad_run-1_space-MNI152NLin2009cAsym_seg-habenula_res-1_desc-x_dseg.nii.gz")


def test_a_transform_has_from_to_and_mode():
    name = derivative_name("01", None, from_="T1w", to="MNI305", mode="image", suffix="xfm", extension=".h5")
    assert name == "sub-01_from-T1w_to-MNI305_mode-image_xfm.h5"


def test_a_path_has_a_session_folder_only_where_there_are_sessions():
    one = derivative_path("01", None, suffix="T1w", extension=".nii.gz", desc="preproc")
    two = derivative_path("01", "a", suffix="T1w", extension=".nii.gz", desc="preproc")
    assert one.as_posix() == "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert two.as_posix() == "sub-01/ses-a/anat/sub-01_ses-a_desc-preproc_T1w.nii.gz"


def test_unknown_entity_is_refused():
    with pytest.raises(ValueError, match="unknown entity segment"):
        derivative_name("01", None, segment="habenula", suffix="dseg", extension=".nii.gz")


@pytest.mark.parametrize(
    ("suffix", "entity"), [("mask", "seg"), ("mask", "hemi"), ("dseg", "hemi"), ("probseg", "hemi")]
)
def test_entities_that_the_validator_refuses_are_refused(suffix, entity):
    with pytest.raises(ValueError, match=f"{entity}-L is not allowed"):
        derivative_name("01", None, suffix=suffix, extension=".nii.gz", desc="x", **{entity: "L"})


def test_a_name_that_a_raw_file_could_have_is_refused():
    with pytest.raises(ValueError, match="could be a raw file"):
        derivative_name("01", None, suffix="T1w", extension=".nii.gz", run="1")


@pytest.mark.parametrize("label", ["01; rm -rf x", "$(id)", "a/b", "", "a_b", "é", ".."])
def test_a_label_with_other_characters_is_refused(label):
    with pytest.raises(DataError, match="no BIDS name"):
        check_label("sub", label)


def test_a_name_is_read_into_its_parts():
    assert parse_name("x/sub-01_ses-a_run-1_T1w.nii.gz") == ({"sub": "01", "ses": "a", "run": "1"}, "T1w", ".nii.gz")


def test_source_entities_leave_out_participant_and_session():
    assert source_entities("sub-01_ses-a_acq-x_odd-1_T1w.nii.gz") == {"acq": "x"}
