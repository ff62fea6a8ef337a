"""Atrophy as a person asks for it: fitted in a folder, used in another, written for each session, told on the page."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.naming import parse_name
from bids_app.cli.main import main
from bids_app.cohort.labels import check_labels, find_labels
from bids_app.errors import DataError
from bids_app.group import atrophy_answers, atrophy_regions, atrophy_shown, atrophy_write
from bids_app.group.atrophy_file import packed_model, read_model
from bids_app.group.atrophy_maps import DensityMap, check_alike, read_density
from bids_app.group.plan import GroupPlan
from bids_app.group.tables import write_group
from bids_app.imaging.grey_matter import SHAPE, map_grid
from bids_app.imaging.stacking import Grid
from bids_app.recipes.recipe import load_recipe
from tests.bids_app.group.atrophy_people import BOX, HOLE, SHIFT, TEMPLATE, add_map, density_of, regions, write_people

PLAN = GroupPlan("group", "control", ("sex",), atrophy="fit", permutations=200)
STEM = f"space-{TEMPLATE}_res-2_label-GM_desc-atrophy"


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(autouse=True)
def known_regions(monkeypatch):
    monkeypatch.setattr(atrophy_answers, "template_regions", lambda template: regions())


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """22 controls and 8 patients, by the command line."""
    root = tmp_path_factory.mktemp("atrophy")
    bids, out = root / "bids", root / "out"
    (bids / "sub-00").mkdir(parents=True)
    (bids / "dataset_description.json").write_text('{"Name": "made up", "BIDSVersion": "1.10.0"}')
    out.mkdir()
    write_people(out)
    patch = pytest.MonkeyPatch()
    patch.setattr(atrophy_answers, "template_regions", lambda template: regions())
    words = ["--group-column", "group", "--control-group", "control", "--covariates", "sex", "--permutations", "200"]
    assert main([str(bids), str(out), "group", *words, "--atrophy-fit", "--atrophy-extent", "0.3"]) == 0
    patch.undo()
    return out


def test_the_planted_loss_is_in_the_table(answered):
    rows = [r for r in rows_of(answered / "group_atrophy.tsv") if r["region"] == "left hippocampus"]
    z = {r["participant_id"]: float(r["mean_z"]) for r in rows}
    patients, controls = [z[f"sub-{i:02d}"] for i in range(22, 30)], [z[f"sub-{i:02d}"] for i in range(22)]
    assert np.mean(patients) < -2.5
    assert abs(np.mean(controls)) < 0.3
    assert {r["scored"] for r in rows[:22]} == {"leave-one-out"}
    assert {r["scored"] for r in rows[22:]} == {"new"}
    assert float(rows[25]["atrophied_ml"]) > 0.7 * float(rows[25]["region_ml"])
    assert set(json.loads((answered / "group_atrophy.json").read_text())) == set(rows[0])


def test_each_session_has_a_map_and_a_mask(answered):
    z = nib.load(answered / f"sub-25/anat/sub-25_{STEM}_statmap.nii.gz")
    mask = nib.load(answered / f"sub-25/anat/sub-25_{STEM}_mask.nii.gz")
    assert z.shape == SHAPE
    np.testing.assert_allclose(mask.affine, map_grid().affine)
    hit = np.asarray(mask.dataobj) > 0
    assert hit[HOLE].mean() > 0.7
    assert hit[HOLE].sum() / hit.sum() > 0.7  # the rest is chance: 2.3 % of voxels lie below -2 in anybody
    assert (z.get_fdata()[hit] < -2).all()
    told = json.loads((answered / f"sub-25/anat/sub-25_{STEM}_mask.json").read_text())
    assert (told["ZThreshold"], told["ClusterExtentMl"], told["Type"]) == (-2.0, 0.3, "ROI")
    assert told["NormativeModel"] == "22 participants of the group control"


def test_the_mask_on_the_sessions_own_image_is_a_label_that_a_cohort_reads(answered):
    base = load_recipe("ms")
    labels = base.labels.model_copy(update={"entities": {"space": "T1w", "label": "GM", "desc": "atrophy"}})
    assert labels.suffix == "mask"
    recipe = base.model_copy(update={"labels": labels, "regions": base.regions[:1]})
    path, trouble = find_labels(recipe, answered, "25", None)
    assert path is not None
    assert trouble is None
    assert parse_name(path)[0]["space"] == "T1w"
    reference = Grid.of(answered / "sub-25/anat/sub-25_desc-preproc_T1w.nii.gz")
    wrong, told, there = check_labels(path, recipe, reference)
    assert (wrong, told, there) == ([], [], frozenset({1}))
    image = nib.load(path)
    centre = image.affine[:3, :3] @ np.argwhere(np.asarray(image.dataobj)).mean(0) + image.affine[:3, 3]
    there = np.asarray(nib.load(answered / f"sub-25/anat/sub-25_{STEM}_mask.nii.gz").dataobj)
    middle = map_grid().affine[:3, :3] @ np.argwhere(there).mean(0) + map_grid().affine[:3, 3]
    np.testing.assert_allclose(centre, middle - [SHIFT, 0, 0], atol=1.5)  # voxels of 4 mm


def test_the_group_test_and_frequencies(answered):
    rows = {r["what"]: r for r in rows_of(answered / "group_maps.tsv")}
    assert float(rows["patient-control"]["p"]) < 0.01
    assert float(rows["patient-control"]["peak"]) < 0
    t = nib.load(answered / rows["patient-control"]["map"]).get_fdata()
    beyond = np.abs(t) >= float(rows["patient-control"]["threshold"])
    assert beyond[HOLE].sum() / beyond.sum() > 0.8
    assert beyond.sum() == int(rows["patient-control"]["significant"])
    assert float(rows["frequency, patient"]["peak"]) > 0.8
    assert float(rows["frequency, control"]["peak"]) < 0.3
    page = (answered / "group.html").read_text()
    assert page.count("data:image/jpeg") >= 5
    assert "A normative model of grey matter was fitted voxel by voxel on 22 participants" in page


def test_the_model_scores_another_folder_and_says_which_ages_it_has_not_seen(answered, tmp_path):
    write_people(tmp_path, 6, patients=2, seed=1, ages=(75, 90))
    plan = GroupPlan("group", "control", atrophy=str(answered / "group_atrophy_model.npz"))
    write_group(tmp_path, plan)
    rows = [r for r in rows_of(tmp_path / "group_atrophy.tsv") if r["region"] == "left hippocampus"]
    assert {r["scored"] for r in rows} == {"new"}
    assert all(r["note"].startswith("age outside") for r in rows)
    assert "ages outside are taken as the nearest" in (tmp_path / "group.html").read_text()
    assert not (tmp_path / "group_atrophy_model.npz").exists()


def test_a_model_comes_back_from_its_file_as_it_was(answered, tmp_path):
    path = answered / "group_atrophy_model.npz"
    model = read_model(path)
    assert packed_model(model) == path.read_bytes()
    assert model.names == regions()[1]
    assert model.mask[BOX].mean() > 0.9
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:5000])
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name in ("cut.npz", "other.npz"):
        with pytest.raises(DataError, match=f"{name} is no model of grey matter"):
            read_model(tmp_path / name)
    with pytest.raises(DataError, match=r"gone.npz is not there"):
        read_model(tmp_path / "gone.npz")


def test_what_cannot_be_answered_is_said(tmp_path):
    write_people(tmp_path, 24, patients=2)
    with pytest.raises(DataError, match="nobody is in the control group 'healthy'"):
        write_group(tmp_path, GroupPlan("group", "healthy", atrophy="fit"))
    with pytest.raises(DataError, match="there is no column 'years'"):
        write_group(tmp_path, GroupPlan("group", "control", age="years", atrophy="fit"))
    table = (tmp_path / "participants.tsv").read_text().splitlines()
    lost = [line if i > 3 or i == 0 else "\t".join(["n/a" if j == 2 else c for j, c in enumerate(line.split("\t"))])
            for i, line in enumerate(table)]  # fmt: skip
    (tmp_path / "participants.tsv").write_text("\n".join(lost) + "\n")
    with pytest.raises(DataError, match=r"needs 20 controls .* whose age and covariates are known; there are 19"):
        write_group(tmp_path, GroupPlan("group", "control", atrophy="fit"))
    add_map(tmp_path, "sub-05", density_of(np.random.default_rng(0), 50)[:90])
    with pytest.raises(DataError, match=r"sub-05.*is on another grid \(90 x 109 x 91 voxels\).*--grey-matter-map"):
        write_group(tmp_path, GroupPlan(atrophy="fit"))
    add_map(tmp_path, "sub-05", density_of(np.random.default_rng(0), 50), fwhm=6.0)
    with pytest.raises(DataError, match=r"sub-05.*smoothed by 6 mm; others.*smoothed by 8 mm"):
        write_group(tmp_path, GroupPlan(atrophy="fit"))
    assert not list(tmp_path.glob("group_*"))


def test_a_folder_without_maps(tmp_path):
    from tests.bids_app.group.test_tables import session_with

    session_with(tmp_path, "sub-01", 20.0)
    with pytest.raises(DataError, match="no session of this folder has a map of grey matter: run each session again"):
        write_group(tmp_path, GroupPlan(atrophy="fit"))


def test_a_broken_map_names_its_file(tmp_path):
    (tmp_path / "m.nii.gz").write_bytes(b"nothing")
    one = DensityMap("k", "01", None, tmp_path / "m.nii.gz", None, None, 1500, TEMPLATE, 8.0)
    with pytest.raises(DataError, match=r"m.nii.gz cannot be read .*--grey-matter-map"):
        read_density(one)
    check_alike([one])
    below = np.full(SHAPE, -1, np.float32)
    nib.save(nib.Nifti1Image(below, map_grid().affine), tmp_path / "m.nii.gz")
    with pytest.raises(DataError, match="below zero"):
        read_density(one)


def test_small_pieces_do_not_count():
    z, mask = np.zeros(SHAPE, np.float32), np.ones(SHAPE, bool)
    z[10:15, 10:15, 10:15] = -3  # 1 ml
    z[40:42, 40:42, 40:42] = -3  # 0.06 ml
    found = atrophy_write.atrophied(z[mask], mask, -2, 0.5)
    assert found.sum() == 125


def test_regions_grow_into_what_has_none(monkeypatch):
    labels = np.zeros(SHAPE, np.int16)
    labels[40:45, 40:45, 40:45], labels[50:60, 40:50, 40:50] = 17, 2
    grown = atrophy_regions.nearest_grey(labels)
    assert set(np.unique(grown)) == {0, 17}
    assert (grown == 17).sum() > 125
    monkeypatch.setattr(atrophy_regions, "anatomy_bundle", lambda: None)
    assert atrophy_regions.template_regions(TEMPLATE)[1] == {}


def test_columns_that_follow_from_others_are_left_out():
    columns = np.c_[np.ones(9), np.arange(9), 2 * np.arange(9) + 1, np.arange(9) ** 2]
    assert atrophy_shown._independent(columns).shape == (9, 3)
