"""Small datasets with the names of real ones; images of 32³ voxels of 2 mm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_app.settings import Settings
from tests.bids_app.bids.samples import make_image


@pytest.fixture
def dataset(tmp_path):
    """Make a raw dataset: ``dataset("sub-01/anat/sub-01_T1w.nii.gz", ...)`` gives its folder."""
    root = tmp_path / "raw"

    def make(*files: str, zoom: float = 2.0) -> Path:
        root.mkdir(exist_ok=True)
        description = {"Name": "A test", "BIDSVersion": "1.10.0", "License": "CC0"}
        (root / "dataset_description.json").write_text(json.dumps(description))
        for name in files:
            make_image(root / name, zoom=zoom)
        return root

    return make


@pytest.fixture
def settings(tmp_path):
    """Settings of a run on the dataset of the `dataset` fixture."""

    def make(**changes) -> Settings:
        return Settings(tmp_path / "raw", tmp_path / "out").replace(**changes)

    return make


@pytest.fixture
def filter_file(tmp_path):
    def write(content) -> Path:
        path = tmp_path / "filter.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write
