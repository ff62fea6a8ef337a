"""What is asked of a resting-state series' sidecar."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.functional import header_repetition, read_timing
from bids_app.errors import ImageError, InputMissing

PATH, SHAPE = Path("sub-01_task-rest_bold.nii.gz"), (8, 8, 4, 150)
GOOD = {"RepetitionTime": 2.0, "SliceTiming": [0.0, 1.0, 0.5, 1.5]}


def test_a_sound_sidecar_has_nothing_to_say():
    found = read_timing(PATH, GOOD, SHAPE, 2.0)
    assert found.tr == 2
    assert found.warnings == ()
    np.testing.assert_array_equal(found.slices, GOOD["SliceTiming"])


def test_slices_may_run_downwards_or_across():
    assert read_timing(PATH, {**GOOD, "SliceEncodingDirection": "k-"}, SHAPE, None).slices[0] == 1.5
    across = read_timing(PATH, {**GOOD, "SliceEncodingDirection": "i"}, SHAPE, None)
    assert across.slices is None
    assert "another axis" in across.warnings[0]


def test_the_header_helps_out_and_is_said():
    found = read_timing(PATH, {}, SHAPE, 2.5)
    assert found.tr == 2.5
    assert "of the header was taken" in found.warnings[0]
    assert "no SliceTiming" in found.warnings[1]


def test_the_header_says_its_unit():
    image = nib.Nifti1Image(np.zeros((2, 2, 2, 12), np.float32), np.eye(4))
    image.header.set_zooms((1, 1, 1, 2000))
    image.header.set_xyzt_units("mm", "msec")
    assert header_repetition(image) == 2
    image.header.set_xyzt_units("mm", 0)
    assert header_repetition(image) is None
    assert header_repetition(image.slicer[..., 0]) is None


def test_few_volumes_are_told():
    assert "too few for maps to rely on" in read_timing(PATH, GOOD, (8, 8, 4, 20), 2.0).warnings[0]


@pytest.mark.parametrize(
    ("metadata", "shape", "header", "error", "says"),
    [
        ({}, SHAPE, None, InputMissing, "no RepetitionTime"),
        (GOOD, (8, 8, 4, 5), 2.0, ImageError, "10 at least"),
        ({"RepetitionTime": 2000}, SHAPE, None, ImageError, "milliseconds"),
        ({"RepetitionTime": "fast"}, SHAPE, None, ImageError, "no number"),
        (GOOD, SHAPE, 3.0, ImageError, "correct the wrong one"),
        ({**GOOD, "SliceTiming": [0, 1]}, SHAPE, 2.0, ImageError, "do not fit"),
        ({**GOOD, "SliceTiming": [0, 500, 1000, 1500]}, SHAPE, 2.0, ImageError, "milliseconds"),
        ({**GOOD, "SliceTiming": ["a"] * 4}, SHAPE, 2.0, ImageError, "no list of numbers"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_file(metadata, shape, header, error, says):
    with pytest.raises(error, match=says) as caught:
        read_timing(PATH, metadata, shape, header)
    assert str(PATH) in str(caught.value)
