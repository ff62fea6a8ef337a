"""A recipe of one's own, taught by drawn scans and one's own real ones: from its TOML file to a bundle that answers."""

import contextlib
import json

import pytest
import torch

from bids_app.bundle.bundle import load_bundle
from bids_app.cli.main import main
from bids_app.errors import TandemError, UsageError
from bids_app.lessons.export import export_drawn
from bids_app.lessons.keep import voters, write_lesson
from bids_app.lessons.lesson import DrawPlan, taught_by
from bids_app.lessons.train import load_lesson, new_state
from bids_app.recipes.recipe import load_recipe
from bids_app.synthesis.heads.labelmaps import load_label_map
from bids_app.synthesis.heads.placed import place_map
from bids_app.synthesis.pathology.painting import PathologyPainter
from tests.bids_app.lessons.test_lesions import SMALL
from tests.bids_app.lessons.test_real import write_participant
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

RECIPE = """
name = "ms2"
title = "Lesions of our clinic"
reference = "FLAIR"

[[sequences]]
name = "FLAIR"
suffix = "FLAIR"

[[sequences]]
name = "T1w"
suffix = "T1w"
required = false

[grid]
kind = "whole"
spacing_mm = 3.5

[[regions]]
index = 1
name = "plaque"
kind = "lesion"

[labels]
suffix = "mask"
entities = { label = "L" }

[network]
filters = 8
blocks = [1, 1]
fold = 2

[lesson]
kind = "lesions"
pathology = "ms"
label_maps = "our_maps"
mimics = 0.5
real_share = 0.5

[[lesson.real]]
folder = "clinic"
licence = "scans of our clinic, consent for research"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "our_maps").mkdir()
    for name in "ab":
        save_labels(folder / "our_maps" / f"{name}.nii.gz", head_labels(), spacing=3.5)
    for name in ("sub-1", "sub-2"):
        write_participant(folder, name, dataset="clinic")
    (folder / "ms2.toml").write_text(RECIPE)
    return folder


def test_it_trains_and_the_bundle_says_what_it_learned_from(root, tmp_path, monkeypatch):
    monkeypatch.setattr("bids_app.lessons.lesions.JUDGED", (32, 32, 32))
    monkeypatch.setitem(export_drawn.__kwdefaults__, "counts", (1, 1))
    words = ["--data", str(root), "--out", str(tmp_path), "--steps", "2", "--threads", "1", "--leave-out", "sub-2"]
    assert main(["train-bundle", str(root / "ms2.toml"), *words]) == 0
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.recipe == load_recipe(root / "ms2.toml")
    assert bundle.manifest["real_images"] == ["sub-1"]
    assert bundle.manifest["held_out"] == ["b"]
    assert "train-bundle ms2.toml" in bundle.manifest["command"]
    card, licence = ((tmp_path / "bundle" / name).read_text() for name in ("MODEL_CARD.md", "LICENSE"))
    assert "50 % were synthetic" in card
    assert "scans of our clinic" in licence
    assert "without T1w" in json.dumps(bundle.metrics)


def test_as_many_real_scans_are_mixed_in_as_it_says(root, tmp_path):
    lesson = load_lesson(root / "ms2.toml", root, tmp_path, 1)
    lesson.patch = (16, 16, 16)
    lesson.real.__dict__["patches"].patch = (16, 16, 16)
    drawn = []
    lesson.draw = lambda number: drawn.append(number) or 1 / 0
    for number in range(200):
        with contextlib.suppress(ZeroDivisionError):
            lesson[number]
    assert len(drawn) / 200 == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("mimics", [0.0, 1.0])
def test_without_mimics_nothing_but_lesions_is_drawn(root, mimics):
    placed = place_map(load_label_map(root / "our_maps/a.nii.gz"))
    labels = placed.label_map.labels
    at = torch.stack(torch.meshgrid(*[torch.arange(n).float() for n in labels.shape], indexing="ij"))
    paint = PathologyPainter(placed, "ms", ("FLAIR",), 3.5, mimics=mimics)
    others = []
    for seed in range(4):
        paint(labels, at, torch.Generator().manual_seed(seed))
        others += [part.share.sum() for part in paint.drawn.compartments if not part.region]
    assert bool(others) == bool(mimics)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('pathology = "ms"', 'pathology = "flu"'), "no pathology 'flu'; there are stroke, ms"),
        (('name = "T1w"\nsuffix', 'name = "MPRAGE"\nsuffix'), "no signal equation for the sequence 'MPRAGE'"),
        (('label_maps = "our_maps"', 'label_maps = "nowhere"'), "nowhere"),
        (('[[regions]]\nindex = 1', '[[regions]]\nindex = 9\nname = "b"\nkind = "lesion"\n\n[[regions]]\nindex = 1'),
         "drawn with 1 region"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said_with_the_file(root, tmp_path, change, said):
    content = RECIPE.replace('suffix = "mask"', 'suffix = "dseg"').replace(*change)
    assert change[1] in content
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(TandemError, match=said):
        load_lesson(tmp_path / "mine.toml", root, tmp_path, 1)


def test_a_recipe_without_the_table_names_those_that_have_one():
    with pytest.raises(UsageError, match=r"'alzheimer' has no table \[lesson\].*anatomy, habenula, healthy, ms"):
        taught_by(load_recipe("alzheimer"))


def test_a_recipe_that_ships_is_named_without_its_file(tmp_path):
    recipe = load_recipe("ms").model_copy(update={"network": SMALL})
    state = new_state(recipe, DrawPlan(), 1)
    path = write_lesson(
        tmp_path / "bundle", state, recipe, voters(state, ()), seed=3, note="", trained={"held_out": []}, plan=None,
        calibration={"threshold": 0.5, "temperature": 1.0}, metrics={}, card=write_card(tmp_path), licence="none",
    )  # fmt: skip
    command = load_bundle(path).manifest["command"]
    assert command == "tandem train-bundle ms --data DIR --out DIR --steps 0 --seed 3"


def write_card(folder):
    (folder / "card.md").write_text("{{ recipe.title }}")
    return folder / "card.md"
