from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.synthesis.datasets.files import (
    TRUTH,
    save_image,
    scanner_fields,
    truth_fields,
    write_description,
    write_json,
    write_labels,
    write_table,
)
from bids_app.synthesis.scanner.physics import SEQUENCES, pulse_sequence

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def test_an_image_has_the_same_bytes_wherever_it_lies(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    one, two = (save_image(tmp_path / name / "image.nii.gz", array, AFFINE) for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()
    assert np.array_equal(np.asarray(nib.load(one).dataobj), array)


def test_a_series_knows_the_time_between_its_frames(tmp_path):
    path = save_image(tmp_path / "run.nii.gz", np.zeros((2, 2, 2, 3), np.int16), AFFINE, frame_s=2.5)
    assert nib.load(path).header.get_zooms() == (2, 2, 2, 2.5)
    assert nib.load(path).header.get_xyzt_units() == ("mm", "sec")


def test_the_sidecar_of_an_image_lies_beside_it(tmp_path):
    assert write_json(tmp_path / "sub-01_T1w.nii.gz", {"a": 1}) == tmp_path / "sub-01_T1w.json"


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_every_sequence_has_a_name_for_its_pulses(sequence):
    fields = scanner_fields(3.0, pulse_sequence(sequence, 3.0))
    assert fields["PulseSequenceType"]
    assert fields["MagneticFieldStrength"] == 3.0


def test_labels_and_shares_point_to_their_scan(tmp_path):
    soft = np.zeros((2, 2, 2, 2), np.float32)
    fields = truth_fields("sub-01/anat/sub-01_T1w.nii.gz")
    write_labels(tmp_path / "sub-01_seg-x", np.zeros((2, 2, 2), np.uint8), soft, ("L", "R"), AFFINE, fields)
    sidecar = json.loads((tmp_path / "sub-01_seg-x_probseg.json").read_text())
    assert sidecar["LabelMap"] == ["L", "R"]
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert "LabelMap" not in json.loads((tmp_path / "sub-01_seg-x_dseg.json").read_text())


def test_the_truth_says_whose_it_is(tmp_path):
    write_description(tmp_path / TRUTH, "Truth", "What was drawn.\n", truth=True)
    about = json.loads((tmp_path / TRUTH / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert (tmp_path / TRUTH / about["DatasetLinks"]["raw"]).resolve() == tmp_path.resolve()


def test_a_table_has_a_row_for_each_mapping(tmp_path):
    path = write_table(
        tmp_path / "t.tsv", [{"participant_id": "sub-01", "age": 30}, {"participant_id": "b", "age": 1.5}]
    )
    assert path.read_text() == "participant_id\tage\nsub-01\t30\nb\t1.5\n"
