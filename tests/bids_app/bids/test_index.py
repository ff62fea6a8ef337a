from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_app.bids.index import Index, index_participant
from bids_app.errors import InputMissing
from bids_app.settings import Settings
from tests.phantoms import tiny_dataset

IMAGE = "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"


def written(folder: Path, fields: dict[str, str]) -> Index:
    paths = []
    for name, text in fields.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        paths.append(path)
    return Index((folder / IMAGE,), tuple(paths))


def test_the_nearest_sidecar_has_the_last_word(tmp_path):
    index = written(
        tmp_path,
        {
            "T1w.json": json.dumps({"EchoTime": 1, "FlipAngle": 9}),
            "sub-01/sub-01_T1w.json": json.dumps({"EchoTime": 2}),
            "sub-01/ses-1/anat/sub-01_ses-1_T1w.json": json.dumps({"EchoTime": 3}),
        },
    )
    assert index.metadata(tmp_path / IMAGE) == ({"EchoTime": 3, "FlipAngle": 9}, [])


def test_a_sidecar_of_another_image_is_not_even_opened(tmp_path):
    index = written(tmp_path, {"T2w.json": "{", "sub-01/ses-1/anat/sub-01_ses-1_acq-fast_T1w.json": "{"})
    assert index.metadata(tmp_path / IMAGE) == ({}, [])


def test_a_sidecar_that_cannot_be_read_is_named(tmp_path):
    index = written(tmp_path, {"T1w.json": "{", "sub-01/sub-01_T1w.json": "[1]"})
    fields, told = index.metadata(tmp_path / IMAGE)
    assert fields == {}
    assert ["T1w.json" in told[0], "holds no object" in told[1]] == [True, True]


def test_only_the_asked_participant_is_listed(tmp_path):
    data = tiny_dataset(tmp_path / "data", ("sub-01/anat/sub-01_T1w.nii.gz", "sub-011/anat/sub-011_T1w.nii.gz"))
    settings = Settings(bids_dir=data, output_dir=tmp_path / "out")
    index = index_participant(settings, "01")
    assert [path.name for path in index.images] == ["sub-01_T1w.nii.gz"]
    with pytest.raises(InputMissing, match="no participant 02"):
        index_participant(settings, "02")
