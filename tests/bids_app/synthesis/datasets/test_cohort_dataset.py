from __future__ import annotations

import json

import numpy as np
import pytest

from bids_app.bids.tables import read_rows
from bids_app.cohort.labels import check_labels, find_labels
from bids_app.errors import CannotWrite, UsageError
from bids_app.recipes.recipe import load_recipe
from bids_app.scans.lay import lay, lay_labels
from bids_app.synthesis.datasets.cohort_dataset import phantom_recipe, scans_for, write_cohort, write_recipe
from bids_app.synthesis.datasets.cohorts import draw_cohort


@pytest.fixture(scope="module")
def drawn():
    # lesions of every size on a grid that is fine enough to hold them, and as small as can be
    return draw_cohort(3, seed=5, anatomy="procedural", shape=(34, 40, 34), spacing=5.0, sites=2, prefix="P")


@pytest.fixture(scope="module")
def written(drawn, tmp_path_factory):
    return write_cohort(drawn, tmp_path_factory.mktemp("cohort") / "bids")


def test_what_is_written_is_read_as_the_scans_that_were_drawn(drawn, written):
    recipe = phantom_recipe(spacing=5.0)
    for scan in drawn.scans:
        images = {name: written / scan.key / "anat" / f"{scan.key}_{name}.nii.gz" for name in drawn.sequences}
        stack, present, grid = lay(recipe, images, {}, None, None)
        labels, trouble = find_labels(recipe, written / "derivatives" / "manual", scan.participant, None)
        assert trouble is None
        assert present.all()
        assert np.abs(stack - scan.stack).max() <= 1
        assert ((stack != 0) == (scan.stack != 0)).all()
        assert np.array_equal(lay_labels(labels, recipe, grid), scan.labels)
        assert check_labels(labels, recipe, grid) == ([], [], True)


def test_the_table_holds_targets_in_levels_that_the_json_knows(drawn, written):
    _, rows, told = read_rows(written / "participants.tsv")
    levels = list(json.loads((written / "participants.json").read_text())["outcome"]["Levels"])
    assert not told
    assert [levels.index(row["outcome"]) for row in rows] == list(drawn.latents["outcome"])
    assert [float(row["score"]) for row in rows] == pytest.approx(list(drawn.latents["score"]), abs=1e-3)
    assert [row["participant_id"] for row in rows] == [scan.key for scan in drawn.scans]


def test_the_train_level_finds_the_sessions_and_knows_their_targets(drawn, written):
    from bids_app.cohort.tables import code_all, read_tables

    keys = [(scan.participant, None) for scan in drawn.scans]
    known = code_all(phantom_recipe(), read_tables(written, keys), keys)
    assert not known.wrong
    assert np.allclose(known.targets, [scan.targets for scan in drawn.scans], atol=1e-3)


def test_a_recipe_comes_back_from_its_file(tmp_path):
    recipe = phantom_recipe(("FLAIR", "T1w"), targets=("outcome",), mirror=False, sequence_dropout=0.3)
    assert load_recipe(write_recipe(recipe, tmp_path / "phantom.toml")) == recipe


def test_scans_follow_the_recipe_in_order(drawn):
    scan = scans_for(drawn, phantom_recipe(("FLAIR", "T1w"), targets=("score",)))[1]
    assert np.array_equal(scan.stack, drawn.scans[1].stack[[2, 0]])
    assert scan.targets.tolist() == [drawn.latents["score"][1]]


def test_a_recipe_that_the_cohort_cannot_serve_is_refused(drawn):
    with pytest.raises(UsageError, match="diagnosis"):
        phantom_recipe(targets=("diagnosis",))
    only = draw_cohort(1, seed=1, anatomy="procedural", shape=(12, 14, 12), spacing=14.0, sequences=("T1w",))
    with pytest.raises(UsageError, match="FLAIR"):
        scans_for(only, phantom_recipe(("T1w", "FLAIR")))


def test_a_folder_with_something_in_it_is_left_alone(drawn, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CannotWrite, match="not an empty folder"):
        write_cohort(drawn, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
