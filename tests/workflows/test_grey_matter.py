"""The map of grey matter as a part of a session: where it is made, what it writes, when it is not made."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.selection import Choice, Selection
from bids_app.errors import UsageError
from bids_app.imaging.grey_matter import tissues
from bids_app.imaging.templates import Template
from bids_app.recipes.recipe import load_recipe
from bids_app.settings import Settings, to_plain
from tests.bids_app.imaging.test_grey_matter import head, saved
from workflows import wanted
from workflows.choosing import Group
from workflows.grey_matter import init_grey_matter_wf
from workflows.interfaces import grey_matter
from workflows.interfaces.grey_matter import MapGreyMatter, WriteGreyMatter
from workflows.outputs import writers_of
from workflows.session import init_session_wf
from workflows.wanted import anatomy_of, maps_grey_matter


def settings_of(tmp_path, **more):
    return Settings(tmp_path / "bids", tmp_path / "out", recipe=("anatomy",), grey_matter_map=True, **more)


def selection_of(tmp_path, reference="T1w"):
    path = tmp_path / f"bids/sub-01/anat/sub-01_{reference}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.float32), np.eye(4)), path)
    choice = Choice(sequence=reference, path=path, reason="the only one")
    return Selection(participant="01", session=None, reference=reference, choices={reference: choice})


def nodes_of(tmp_path, recipe, **more):
    settings, selection = settings_of(tmp_path, **more), selection_of(tmp_path)
    group = Group(selection, [load_recipe(recipe)], [])
    template = Template("MNI152NLin2009aSym", selection.reference_path, None, "", {})
    graph = init_session_wf(settings=settings, groups=[group], template=template, threads=1)
    return graph.list_node_names()


def test_the_graph_has_it_where_it_is_asked_for_and_not_for_crops(tmp_path):
    assert {"grey_matter_wf.compute", "outputs_wf.grey_matter"} <= set(nodes_of(tmp_path, "anatomy"))
    recipe, selection = load_recipe("anatomy"), selection_of(tmp_path)
    assert "grey_matter" in writers_of(recipe, selection, settings_of(tmp_path))
    assert not maps_grey_matter(settings_of(tmp_path), [recipe], "FLAIR")
    crops = load_recipe("hippocampus").settled((35.0, 50.0, 35.0))
    assert not maps_grey_matter(settings_of(tmp_path), [crops])
    assert "inputnode" in init_grey_matter_wf(settings=settings_of(tmp_path), template=None).list_node_names()


def test_it_needs_the_bundle(tmp_path, monkeypatch):
    assert anatomy_of(settings_of(tmp_path, brain_mask="template"), [load_recipe("ms")]) is not None
    monkeypatch.setattr("bids_app.predict.anatomy.anatomy_bundle", lambda given=None: None)
    with pytest.raises(UsageError, match="--grey-matter-map needs the bundle anatomy"):
        wanted.anatomy_of(settings_of(tmp_path), [load_recipe("ms")])


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A small head on a small template, through both nodes."""
    folder = tmp_path_factory.mktemp("map")
    labels, affine = head((60, 74, 58))
    path = saved(folder / "dseg.nii", labels, affine)
    picture = saved(folder / "template.nii", tissues(labels), affine)
    patch = pytest.MonkeyPatch()
    small = Template("MNI152NLin2009aSym", picture, None, "", {})
    patch.setattr("bids_app.imaging.templates.find_template", lambda name="": small)
    node = MapGreyMatter(in_file=str(path), to_template=np.eye(4).tolist(), seed=1)
    made = node.run(cwd=folder).outputs
    patch.undo()
    selection = selection_of(folder)
    plain = {"settings": to_plain(settings_of(folder)), "selection": selection.to_plain()}
    write = WriteGreyMatter(
        **plain, template="MNI152NLin2009aSym", files={}, density=made.density, inverse=made.inverse
    )
    return folder / "out", made, write.run(cwd=folder).outputs, labels


def test_what_is_written(mapped):
    out, made, written, labels = mapped
    image = nib.load(out / written.files["grey_matter"])
    ml = (labels == 3).sum() * 0.216
    assert image.get_fdata().sum() * 0.008 == pytest.approx(ml, rel=0.01)
    assert written.files["grey_matter"].endswith("_res-2_label-GM_desc-modulated_probseg.nii.gz")
    told = json.loads((out / written.files["grey_matter"].replace(".nii.gz", ".json")).read_text())
    assert told["SmoothingFWHM"] == 8.0
    assert (out / written.files["from_template"]).read_bytes()[1:4] == b"HDF"
    facts = made.facts["grey_matter"]
    assert facts["inside_ml"] == pytest.approx((labels > 0).sum() * 0.216, abs=0.01)
    assert facts["seconds"] >= 0
    assert "[@vbm" in made.facts["methods"][0]["text"]


def test_labels_in_doubt_give_no_map(tmp_path):
    labels, affine = head((60, 74, 58))
    path = saved(tmp_path / "dseg.nii", labels, affine)
    node = MapGreyMatter(in_file=str(path), doubt="it measures 20 ml", to_template=np.eye(4).tolist(), seed=1)
    made = node.run(cwd=tmp_path).outputs
    assert "it measures 20 ml" in made.facts["warnings"][0]
    plain = {"settings": to_plain(settings_of(tmp_path)), "selection": selection_of(tmp_path).to_plain()}
    written = WriteGreyMatter(**plain, template="x", files={}, inverse=[]).run(cwd=tmp_path).outputs
    assert written.files == {}
    assert grey_matter.sentence("a", "b") == {"step": "a", "text": "b"}
