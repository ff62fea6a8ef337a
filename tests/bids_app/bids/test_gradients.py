"""A trace image and an ADC map that are not there are looked for as a raw series with its b-values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_app.bids.gradients import find_gradients, read_bvalues, read_directions
from bids_app.bids.select import select_participant
from bids_app.bids.selection import Selection
from bids_app.errors import ImageError, InputMissing
from tests.bids_app.bids.samples import Query, make_image

DWI = "sub-01/dwi/sub-01"
TRACE, ADC = Query("trace", "trace"), Query("ADC", "ADC")


def series(root: Path, name: str, bvalues: str | None = "0 1000 1000") -> Path:
    path = make_image(root / f"{name}_dwi.nii.gz", shape=(4, 4, 4, 3))
    if bvalues is not None:
        path.with_name(path.name.replace(".nii.gz", ".bval")).write_text(bvalues)
    return path


def only(settings) -> Selection:
    (selection,) = select_participant(settings(), "01", [TRACE, ADC], "trace")
    return selection


def test_both_are_computed_from_the_one_series_that_can(dataset, settings):
    root = dataset()
    series(root, f"{DWI}_dir-AP", "0 0 0")  # a field map of reversed phase encoding
    path = series(root, f"{DWI}_dir-PA")
    found = only(settings)
    assert {c.path for c in found.choices.values()} == {path}
    assert [c.computed for c in found.choices.values()] == ["trace", "ADC"]
    assert found.from_one_series("trace", "ADC")
    assert found.datatype == "dwi"
    choice = found.choices["ADC"]
    assert choice.reason.startswith("no ADC in sub-01; computed from sub-01_dir-PA_dwi.nii.gz")
    assert "no volume with a b-value between" in choice.rejected[0].reason
    assert choice.beside == (path.with_name("sub-01_dir-PA_dwi.bval"),)
    assert Selection.from_plain(found.to_plain()) == found


def test_images_of_the_scanner_go_before_computed_ones(dataset, settings):
    root = dataset(f"{DWI}_trace.nii.gz")
    series(root, DWI)
    found = only(settings)
    assert (found.choices["trace"].computed, found.choices["ADC"].computed) == ("", "ADC")
    assert (found.choices["trace"].suffix, found.choices["ADC"].suffix) == ("trace", "ADC")
    assert not found.from_one_series("trace", "ADC")


def test_without_images_and_series_the_reason_names_both(dataset, settings):
    dataset("sub-01/anat/sub-01_T1w.nii.gz")
    assert only(settings).choices["trace"].reason == "no trace in sub-01, and no dwi to compute it from"


def test_a_series_without_b_values_is_chosen_for_the_preflight_to_refuse(dataset, settings):
    path = series(dataset(), DWI, None)
    assert only(settings).path_of("trace") == path
    with pytest.raises(InputMissing, match=r"sub-01_dwi.bval is missing beside it"):
        read_bvalues(path, path.parents[2])


def test_b_values_are_inherited_and_the_nearest_hold(dataset):
    root = dataset()
    path = series(root, f"{DWI}_run-1", None)
    (root / "dwi.bval").write_text("0 500 500")
    assert read_bvalues(path, root, 3).tolist() == [0, 500, 500]
    (path.parent / "sub-01_dwi.bval").write_text("0\n700\n700\n")
    (path.parent / "sub-01_run-2_dwi.bval").write_text("0 1 1")
    assert read_bvalues(path, root, 3).tolist() == [0, 700, 700]
    assert find_gradients(path, root, ".bvec") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 1000", "has 2 b-values, .* has 3 volumes"),
        ("0 1 0\n1 0 0\n0 0 1", "is it a .bvec"),
        ("0 x 1000", "no table of numbers"),
        ("", "is empty"),
        ("1000 1000 1000", "dwi.bval: no volume without diffusion weighting"),
    ],
)
def test_what_is_wrong_with_b_values_is_said_with_their_file(dataset, text, why):
    path = series(dataset(), DWI, text)
    with pytest.raises(ImageError, match=why):
        read_bvalues(path, path.parents[2], 3)


def test_directions_of_another_shape_are_not_used_and_it_is_said(dataset):
    path = series(dataset(), DWI)
    beside = path.with_name("sub-01_dwi.bvec")
    beside.write_text("0 1 0\n0 0 1\n0 0 0\n")
    found, told = read_directions(path, path.parents[2], 3)
    np.testing.assert_array_equal(found, [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert told == []
    beside.write_text("0 1\n0 0\n")
    found, told = read_directions(path, path.parents[2], 3)
    assert found is None
    assert "3 x 3 are expected" in told[0]
