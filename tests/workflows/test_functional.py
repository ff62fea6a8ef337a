"""Resting state: a simulated run through the node, a session from raw BIDS, and real data."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.fmriprep import MOTION, mask_beside
from bids_app.bids.selection import Choice, Selection
from bids_app.bids.tables import read_numbers
from bids_app.errors import ImageError
from bids_app.group.tables import write_group
from bids_app.recipes.recipe import load_recipe
from bids_app.settings import Settings
from bids_app.synthesis.bold.bold import Alteration, BoldSettings, draw_bold
from bids_app.synthesis.datasets.demo_images import EXTENT_MM
from bids_app.synthesis.fields import stream
from bids_app.synthesis.heads.brains import draw_brain
from tests.data import real
from tests.workflows.real_restingstate import run_real
from workflows.choosing import preflight
from workflows.functional import MAPS
from workflows.interfaces.functional import ComputeFunctional, brain_of, doubts

SPACING = 6.0


def bold(seed: int = 1):
    """A run of 60 volumes at 6 mm with an altered region."""
    shape = [int(np.ceil(mm / SPACING)) for mm in EXTENT_MM]
    brain = draw_brain("template", stream(seed, 0, 1), shape, SPACING)
    how = BoldSettings(frames=60, parcels=6)
    return draw_bold(brain, SPACING, stream(seed, 0, 2), settings=how, alteration=Alteration(alff=3.0, coherence=0.95))


def write_bold(path: Path, run, **changes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = -SPACING * (np.array(run.frames.shape[:3]) - 1) / 2
    image = nib.Nifti1Image(run.frames.numpy().astype(np.float32), affine)
    image.header.set_zooms((SPACING, SPACING, SPACING, run.tr_s))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    sidecar = {"RepetitionTime": run.tr_s, "TaskName": "rest", **changes}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))


def test_the_node_finds_what_was_altered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = bold()
    path = tmp_path / "sub-01_task-rest_bold.nii.gz"
    write_bold(path, run)
    done = ComputeFunctional(in_file=str(path), metadata={"RepetitionTime": run.tr_s}).run()
    region, inside = run.altered.numpy() > 0, run.parcels.numpy() > 0
    for name in ("alff", "reho"):
        values = np.asarray(nib.load(getattr(done.outputs, name)).dataobj)
        assert values[region].mean() > 1.3 * values[inside & ~region].mean()
    facts = done.outputs.facts["functional"]
    assert facts["volumes"] + facts["dropped"] == 60
    assert len(facts["fd_mm"]) == facts["volumes"]
    assert facts["mean_fd_mm"] == pytest.approx(run.latents["displacement_mm"], abs=0.3)
    assert any("too few for maps" in text for text in done.outputs.facts["warnings"])


def test_doubts():
    facts = {"mean_fd_mm": 0.9, "nuisance": 6, "volumes": 40}
    told = doubts("x", facts, 3)
    assert len(told) == 3
    assert doubts("x", {"mean_fd_mm": 0.1, "nuisance": 24, "volumes": 200}, 0) == []


@pytest.mark.parametrize(
    ("sidecar", "refused"), [({}, ""), ({"RepetitionTime": 2.0}, ""), ({"RepetitionTime": 3}, "wrong")]
)
def test_the_preflight_takes_the_repetition_time_that_the_session_takes(tmp_path, sidecar, refused):
    image = nib.Nifti1Image(
        np.random.default_rng(1).normal(900, 50, (40, 40, 30, 12)).astype(np.float32), np.eye(4) * 4
    )
    image.header.set_zooms((4, 4, 4, 2))
    image.header.set_xyzt_units("mm", "sec")
    path = tmp_path / "sub-01_task-rest_bold.nii.gz"
    nib.save(image, path)
    choice = Choice("alff", path, "", metadata=sidecar, computed="alff")
    selection = Selection("01", None, "T1w", {"alff": choice})
    with pytest.raises(ImageError, match=refused) if refused else nullcontext():
        preflight(Settings(tmp_path, tmp_path / "out"), selection)


@pytest.mark.parametrize(("name", "targets"), [("restingstate", ["diagnosis"]), ("functional", [])])
def test_the_recipes_that_ship_take_their_maps_from_a_run(name, targets):
    recipe = load_recipe(name)
    assert [s.suffix for s in recipe.sequences] == ["T1w", *MAPS]
    assert all(s.quantitative for s in recipe.sequences[1:])
    assert [target.name for target in recipe.targets] == targets
    assert recipe.predicts == bool(targets)


def write_fmriprep(tmp_path: Path) -> Path:
    """A derivative as fMRIPrep writes it, made of the real raw series itself."""
    raw = next((real("restingstate") / "sub-001").rglob("*_bold.nii.gz"))
    home = tmp_path / "fmriprep" / "sub-001" / "func"
    home.mkdir(parents=True)
    path = home / "sub-001_task-rest_space-T1w_desc-preproc_bold.nii.gz"
    image = nib.load(raw)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine, image.header), path)
    mask = brain_of(image.get_fdata(dtype=np.float32).mean(-1), image.affine)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), image.affine), mask_beside(path))
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"RepetitionTime": 2.52}')
    rows = ["\t".join([*MOTION, "framewise_displacement", "dvars"]), *["\t".join(["0"] * 8)] * image.shape[3]]
    (home / "sub-001_task-rest_desc-confounds_timeseries.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "fmriprep"


@pytest.mark.slow
def test_a_session_from_fmriprep_has_the_files_that_a_raw_series_gives(tmp_path):
    """The derivative is made of the raw series itself."""
    record = run_real(tmp_path, "functional", derivatives={"fmriprep": write_fmriprep(tmp_path)})
    images = record.images["T1w"]
    files = images.files.sequences["preproc"]
    assert files["alff"] == "sub-001/func/sub-001_task-rest_space-T1w_desc-preproc_alff.nii.gz"
    assert images.files.courses == "sub-001/func/sub-001_task-rest_desc-cubes_timeseries.tsv"
    assert images.preprocessing.functional["prepared_by"] == "fMRIPrep"
    about = json.loads((tmp_path / "out" / files["alff"].replace(".nii.gz", ".json")).read_text())
    assert any(source.startswith("bids:fmriprep:") and "confounds" in source for source in about["Sources"])
    assert "preprocessed by fMRIPrep" in (tmp_path / "out" / "sub-001.html").read_text()


@pytest.mark.slow
def test_real_series_from_raw_to_page_and_group(tmp_path):
    record = run_real(tmp_path, "functional")
    images = record.images["T1w"]
    assert set(images.files.sequences["preproc"]) == set(MAPS)
    assert images.preprocessing.functional["volumes"] == 20
    names, courses = read_numbers(tmp_path / "out" / images.files.courses)
    shown = np.isfinite(courses).all(0)
    assert 40 < shown.sum() < 100
    assert "x15_y-75_z0" in np.array(names)[shown]
    assert any(row.moving == "mean BOLD" for row in images.preprocessing.registrations)
    assert images.preprocessing.functional["slice_timing"] is True
    page = (tmp_path / "out" / "sub-001.html").read_text()
    assert "too few for maps to rely on" in page
    assert "Framewise displacement" in page
    assert images.files.carpet == "sub-001/figures/sub-001_task-rest_desc-carpet_bold.png"
    assert 'href="data:image/png;base64,' in page
    assert "Zou et al., 2008" in page
    write_group(tmp_path / "out")
    assert "mean_fd_mm" in (tmp_path / "out" / "group_volumes.tsv").read_text()
