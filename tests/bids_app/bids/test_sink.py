import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_app.bids.digest import sha256_of
from bids_app.bids.sink import Sink, prepare_image, tsv

AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture
def sink(tmp_path):
    return Sink(tmp_path / "out", "01", "a", datasets={"raw": tmp_path / "raw"}, provenance={"threads": 1})


def image(values):
    return nib.Nifti1Image(values, AFFINE)


def random(shape=(8, 8, 8)):
    return np.random.default_rng(0).random(shape)


def test_an_image_lies_under_its_name_with_a_sidecar(sink, tmp_path):
    path = sink.image(
        image(random()),
        "T1w",
        desc="preproc",
        sources=[tmp_path / "raw/sub-01/anat/sub-01_T1w.nii.gz"],
        sidecar={"SkullStripped": False},
    )
    assert path == tmp_path / "out/sub-01/ses-a/anat/sub-01_ses-a_desc-preproc_T1w.nii.gz"
    fields = json.loads(path.with_name("sub-01_ses-a_desc-preproc_T1w.json").read_text())
    assert fields["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert fields["Provenance"] == {"threads": 1}


def test_every_file_is_remembered_with_its_checksum(sink):
    path = sink.image(image(random()), "T1w", desc="preproc", sidecar={"SkullStripped": True})
    assert list(sink.outputs) == [
        "sub-01/ses-a/anat/sub-01_ses-a_desc-preproc_T1w.json",
        "sub-01/ses-a/anat/sub-01_ses-a_desc-preproc_T1w.nii.gz",
    ]
    assert sink.outputs[path.relative_to(sink.output_dir).as_posix()] == sha256_of(path)


def test_the_same_image_gives_the_same_bytes(sink, tmp_path):
    first = sink.image(image(random()), "T1w", desc="preproc", sidecar={"SkullStripped": True}).read_bytes()
    again = Sink(tmp_path / "other", "02", None, datasets={})
    assert again.image(image(random()), "T1w", desc="x", sidecar={"SkullStripped": True}).read_bytes() == first


@pytest.mark.parametrize(
    ("suffix", "values", "dtype"),
    [
        ("mask", np.ones((4, 4, 4), np.int16), np.uint8),
        ("mask", np.ones((4, 4, 4), np.float64), np.uint8),
        ("dseg", np.full((4, 4, 4), 2, np.int64), np.uint8),
        ("dseg", np.full((4, 4, 4), 300, np.int32), np.int16),
        ("probseg", np.full((4, 4, 4), 0.5), np.float32),
        ("T1w", np.full((4, 4, 4), 7, np.int16), np.float32),
    ],
)
def test_numbers_have_the_type_of_their_suffix(suffix, values, dtype):
    made = prepare_image(nib.Nifti1Image(values, AFFINE, dtype=values.dtype), suffix)
    assert made.get_data_dtype() == dtype


@pytest.mark.parametrize(
    ("suffix", "value", "text"),
    [
        ("mask", 2, "holds 0 and 1"),
        ("mask", 0.5, "whole numbers"),
        ("dseg", -1, "not -1"),
        ("probseg", 1.5, "probabilities"),
        ("T1w", np.nan, "NaN"),
    ],
)
def test_values_that_the_suffix_cannot_have_are_refused(suffix, value, text):
    with pytest.raises(ValueError, match=text):
        prepare_image(image(np.full((4, 4, 4), value, np.float64)), suffix)


def test_both_forms_say_the_same():
    turned = AFFINE.copy()
    turned[:3, :3] = nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ AFFINE[:3, :3]
    header = prepare_image(nib.Nifti1Image(random(), turned), "T1w").header
    assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)


def test_a_sheared_affine_has_no_quaternion():
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.5
    header = prepare_image(nib.Nifti1Image(random(), sheared), "T1w").header
    assert int(header["qform_code"]) == 0
    assert np.allclose(header.get_sform(), sheared)


@pytest.mark.parametrize(
    ("suffix", "options", "text"),
    [
        ("mask", {"desc": "x"}, "Type"),
        ("T1w", {"desc": "x"}, "SkullStripped"),
        ("dseg", {"space": "T1w", "seg": "x"}, "reference"),
        ("dseg", {"segmentation": "x"}, "unknown entity"),
    ],
)
def test_what_bids_asks_for_is_asked_for(sink, suffix, options, text):
    with pytest.raises(ValueError, match=text):
        sink.image(image(np.ones((4, 4, 4))), suffix, **options)
    assert sink.outputs == {}


def test_a_probseg_of_several_regions_needs_their_names(sink):
    with pytest.raises(ValueError, match="LabelMap"):
        sink.image(image(random((4, 4, 4, 2))), "probseg", seg="habenula")


def test_a_standard_space_needs_no_reference(sink):
    path = sink.image(image(np.ones((4, 4, 4))), "dseg", space="MNI152NLin2009cAsym", seg="habenula")
    assert int(nib.load(path).header["sform_code"]) == 4


def test_a_table_has_its_dictionary_and_no_empty_cells(sink):
    frame = pd.DataFrame({"index": [1, 2], "soft_mm3": [17.123456789012, np.nan], "space": ["T1w", None]})
    path = sink.table(frame, "volumes", desc="habenula", columns={"index": {"Description": "of the region"}})
    assert path.read_text() == "index\tsoft_mm3\tspace\n1\t17.12345679\tT1w\n2\tn/a\tn/a\n"
    assert path.with_suffix(".json").is_file()


def test_a_table_may_be_a_list_of_rows():
    assert tsv([{"a": True, "b": "x\ty"}, {"a": 2, "b": ""}]) == "a\tb\nTrue\tx y\n2\tn/a\n"


def test_a_transform_is_copied_to_its_name(sink, tmp_path):
    (tmp_path / "x.h5").write_bytes(b"transform")
    path = sink.file(tmp_path / "x.h5", "xfm", ".h5", from_="T1w", to="MNI152NLin2009cAsym", mode="image")
    assert path.name == "sub-01_ses-a_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5"
    assert path.read_bytes() == b"transform"


def test_the_page_lies_at_the_root(sink, tmp_path):
    assert sink.report("<html>") == tmp_path / "out/sub-01_ses-a.html"
