from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_app.bids import index as module
from bids_app.bids.index import DATABASE, Index, index_participant, planning
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


def test_a_plan_of_many_reads_one_index_and_finds_the_same(tmp_path, monkeypatch):
    names = ["01", "011", "01a", "2"]
    data = tiny_dataset(tmp_path / "data", tuple(f"sub-{name}/anat/sub-{name}_T1w.nii.gz" for name in names))
    (data / "T1w.json").write_text("{}")
    (data / "sub-01" / "anat" / "sub-01_T1w.json").write_text("{}")
    settings = Settings(bids_dir=data, output_dir=tmp_path / "out")
    monkeypatch.setattr(module, "MANY", 4)
    alone = {name: index_participant(settings, name) for name in names}
    with planning(settings, 4) as fast:
        assert fast.bids_database_dir is not None
        assert {name: index_participant(fast, name) for name in names} == alone
        assert (fast.bids_database_dir / DATABASE).is_file()
    assert not fast.bids_database_dir.exists()
    with planning(settings, 3) as few:
        assert few is settings
