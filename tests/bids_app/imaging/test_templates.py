import sys

import pytest

from bids_app.errors import InputMissing
from bids_app.imaging.templates import find_template


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


def put(home, name, text="x"):
    folder = home / "tpl-MNI152NLin2009cAsym"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"tpl-MNI152NLin2009cAsym_{name}").write_text(text)


def test_without_a_store_the_packaged_template_says_its_true_name(home):
    template = find_template()
    assert template.name == "MNI152NLin2009aSym"
    assert "in place of MNI152NLin2009cAsym" in template.source
    assert template.image.exists()
    assert set(template.tissues) == {"GM", "WM"}


def test_looking_does_not_create_a_store(home):
    find_template()
    assert not home.exists()


def test_the_store_comes_first(home):
    put(home, "res-01_T1w.nii.gz")
    put(home, "res-01_desc-brain_mask.nii.gz")
    template = find_template()
    assert template.name == "MNI152NLin2009cAsym"
    assert template.mask.name.endswith("mask.nii.gz")


def test_an_empty_file_of_the_skeleton_does_not_count(home):
    put(home, "res-01_T1w.nii.gz", "")
    put(home, "res-01_desc-brain_mask.nii.gz", "")
    assert find_template().name == "MNI152NLin2009aSym"


def test_an_unknown_template_is_missing(home):
    with pytest.raises(InputMissing, match="TEMPLATEFLOW_HOME"):
        find_template("MNIInfant")


def test_nilearn_is_not_imported(home):
    before = "nilearn" in sys.modules
    find_template()
    assert ("nilearn" in sys.modules) == before
