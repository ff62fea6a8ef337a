"""Every lesion in a table, all of them in a mask: from the network's probabilities to files, record, page and group."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record import Images, Prediction, RecipeFiles, RecipePart, empty_record
from bids_app.bids.record_file import write_record
from bids_app.bids.selection import Choice, Selection
from bids_app.group.tables import write_group
from bids_app.report.session import write_session_report
from bids_app.settings import Settings, to_plain
from tests.learned.small_bundle import small_recipe, write_small
from tests.learned.small_head import head_bundle
from workflows.interfaces.prediction import Measure
from workflows.interfaces.recipe_outputs import LESION_COLUMNS, WriteRecipe
from workflows.prediction import predicted_fields

REGIONS = [{"index": 1, "name": "core", "kind": "lesion"}, {"index": 2, "name": "oedema", "kind": "lesion"}]
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = -20.0


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A reference, bundles, and structures of the left and the right half."""
    root = tmp_path_factory.mktemp("lesions")
    recipe = small_recipe(targets=False, regions=False).model_dump(mode="json")
    recipe |= {"regions": REGIONS, "grid": {"kind": "whole", "spacing_mm": 2.0}}
    recipe["sequences"] = recipe["sequences"][:1]
    write_small(root / "bundle", recipe=small_recipe().model_validate(recipe))
    head_bundle(root / "anatomy")
    values = np.full((20, 20, 20), 100, np.float32)
    (root / "bids/sub-01/anat").mkdir(parents=True)
    (root / "out/sub-01/anat").mkdir(parents=True)
    for path in ("bids/sub-01/anat/sub-01_T1w.nii.gz", "out/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"):
        nib.save(nib.Nifti1Image(values, AFFINE), root / path)
    halves = np.full(values.shape, 41, np.uint8)
    halves[:10] = 2
    nib.save(nib.Nifti1Image(halves, AFFINE), root / "halves.nii")
    return root


def measured(root, folder, spots, **more):
    """What the node says of spots: ``(place, region, probability)``."""
    probability = np.zeros((2, 20, 20, 20), np.float32)
    for place, region, value in spots:
        probability[(region, *place)] = value
    folder.mkdir()
    np.savez(folder / "prediction.npz", probability=probability, affine=AFFINE)
    return Measure(
        recipe="small",
        bundle=str(root / "bundle"),
        prediction=str(folder / "prediction.npz"),
        image=str(root / "out/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"),
        to_template=np.eye(4).tolist(),
        **more,
    )._work(folder)


SPOTS = [((slice(4, 7), slice(4, 7), slice(4, 7)), 0, 0.9), ((15, 10, 10), 1, 0.7)]


def written(root, made) -> dict:
    """The files of the node that writes."""
    choice = Choice("T1w", root / "bids/sub-01/anat/sub-01_T1w.nii.gz", "the only one")
    settings = Settings(root / "bids", root / "out", bundle=root / "bundle", device="cpu")
    node = WriteRecipe(
        recipe="small",
        way="preproc",
        settings=to_plain(settings),
        selection=Selection("01", None, "T1w", {"T1w": choice}).to_plain(),
        files={"reference": {"preproc": "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"}},
        **{name: made[name] for name in ("dseg", "probseg", "volumes", "lesions")},
    )
    return node._work(root)["files"]


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_a_recipe_with_lesions_hands_them_on():
    assert predicted_fields(small_recipe().model_copy(update={"targets": ()})) == ("dseg", "probseg", "volumes")
    plain = small_recipe(targets=False).model_dump() | {"regions": REGIONS}
    assert predicted_fields(small_recipe().model_validate(plain)) == ("dseg", "probseg", "volumes", "lesions")


def test_table_mask_page_and_group_tell_of_every_lesion(root, tmp_path):
    made = measured(root, tmp_path / "m", SPOTS, structures=str(root / "halves.nii"), anatomy=str(root / "anatomy"))
    files = written(root, made)
    assert files["lesions"] == "sub-01/anat/sub-01_desc-small_lesions.tsv"
    assert files["lesion_mask"] == "sub-01/anat/sub-01_space-T1w_label-L_desc-small_mask.nii.gz"
    first, second = rows_of(root / "out" / files["lesions"])
    assert list(first) == list(LESION_COLUMNS)
    assert (first["volume_mm3"], first["region"], first["side"]) == ("216", "left half", "left")
    assert (second["contains"], second["side"], second["template_x_mm"]) == ("oedema", "right", "10")
    mask = nib.load(root / "out" / files["lesion_mask"])
    assert int(np.asarray(mask.dataobj).sum()) == 28
    sidecar = json.loads((root / "out" / files["lesion_mask"].replace(".nii.gz", ".json")).read_text())
    assert (sidecar["Type"], sidecar["Use"]) == ("Lesion", "research use only")

    record = empty_record("01", None)
    record.state = "done"
    record.images["T1w"] = Images(reference="T1w", files={"reference": {"preproc": "gone.nii.gz"}})
    row = made["facts"]["predictions"][0]
    record.recipes["small"] = RecipePart(
        recipe="small",
        state="done",
        reference="T1w",
        files=RecipeFiles(**files),
        prediction=Prediction.model_validate({k: v for k, v in json.loads(json.dumps(row)).items() if v is not None}),
    )
    write_record(root / "out", record)
    page = write_session_report(root / "out", "sub-01").read_text()
    assert "2 of together 0.22 ml" in page
    assert "left half" in page.split('id="lesions"')[1]
    write_group(root / "out")
    found = {r["measure"]: r["value"] for r in rows_of(root / "out/group_volumes.tsv") if r["region"] == "lesions"}
    assert found == {"lesion_count": "2", "lesion_load_mm3": "224"}


def test_no_lesion_leaves_a_table_with_its_head_and_an_empty_mask(root, tmp_path):
    files = written(root, measured(root, tmp_path / "m", []))
    assert (root / "out" / files["lesions"]).read_text() == "\t".join(LESION_COLUMNS) + "\n"
    assert not np.asarray(nib.load(root / "out" / files["lesion_mask"]).dataobj).any()


def test_labels_that_cannot_be_right_name_no_region(root, tmp_path):
    labels = {"structures": str(root / "halves.nii"), "anatomy": str(root / "anatomy")}
    made = measured(root, tmp_path / "m", SPOTS, doubt="it measures 90 ml", **labels)
    rows = made["facts"]["predictions"][0]["lesions"]
    assert [(row["region"], row["side"]) for row in rows] == [(None, "left"), (None, "right")]
