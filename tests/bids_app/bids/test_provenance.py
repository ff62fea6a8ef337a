import json

import pytest

from bids_app.bids.provenance import bids_uri, container, package_versions, provenance


def test_a_file_is_named_by_its_dataset(tmp_path):
    roots = {"raw": tmp_path, "": tmp_path / "derivatives" / "tandem"}
    assert bids_uri(tmp_path / "sub-01/anat/x.nii.gz", roots) == "bids:raw:sub-01/anat/x.nii.gz"
    assert bids_uri(tmp_path / "derivatives/tandem/sub-01/y.nii.gz", roots) == "bids::sub-01/y.nii.gz"


def test_a_link_into_the_annex_keeps_its_own_name(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.nii.gz").symlink_to(tmp_path / "elsewhere")
    assert bids_uri(tmp_path / "raw" / "x.nii.gz", {"raw": tmp_path / "raw"}) == "bids:raw:x.nii.gz"


def test_a_dataset_reached_through_a_link_is_found(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert bids_uri(tmp_path / "real" / "x.nii", {"raw": tmp_path / "link"}) == "bids:raw:x.nii"


def test_odd_characters_are_quoted(tmp_path):
    assert bids_uri(tmp_path / "a b#.nii", {"raw": tmp_path}) == "bids:raw:a%20b%23.nii"


def test_a_uri_is_handed_back():
    assert bids_uri("bids:raw:x", {}) == "bids:raw:x"


def test_a_file_of_no_dataset_has_no_uri(tmp_path):
    with pytest.raises(ValueError, match="lies in none"):
        bids_uri(tmp_path / "x", {"raw": tmp_path / "raw"})


def test_provenance_is_json_and_the_same_twice(settings):
    first = provenance(settings(), threads=2, device="cpu", weights={"habenula": "ab"})
    assert json.loads(json.dumps(first)) == provenance(settings(), threads=2, device="cpu", weights={"habenula": "ab"})
    assert first["random_seed"] == settings().random_seed


def test_versions_are_known_without_importing():
    assert "nibabel" in package_versions()


def test_a_container_is_named_when_in_one(monkeypatch):
    for name in ("TANDEM_CONTAINER_TYPE", "TANDEM_CONTAINER_TAG", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        monkeypatch.delenv(name, raising=False)
    assert container() is None
    monkeypatch.setenv("TANDEM_CONTAINER_TAG", "tandem:0.1.0")
    assert container() == {"Type": "docker", "Tag": "tandem:0.1.0"}
    monkeypatch.setenv("APPTAINER_CONTAINER", "/x.sif")
    assert container() == {"Type": "singularity", "Tag": "tandem:0.1.0"}
