"""What a run looks for, and when a session counts as finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.errors import UsageError
from bids_app.recipes.recipe import load_recipe
from bids_app.settings import Settings
from workflows.cohort import Unit, choose_plugin, node_name
from workflows.interfaces.process import environment
from workflows.resources import share_out
from workflows.wanted import load_recipes, parse_sequence, queries_of


def test_a_recipe_s_sequences_and_extra_ones_are_looked_for_once():
    queries = queries_of(load_recipe("anatomical"), ("FLAIR", "T1rho"))
    assert [q.name for q in queries] == ["T1w", "T2w", "FLAIR", "ce-gadolinium_T1w", "T1rho"]
    assert [q.required for q in queries] == [True, False, False, False, False]


def test_a_plain_sequence_has_no_contrast_agent():
    assert parse_sequence("T1w").entities == {"ceagent": None}
    assert parse_sequence("ce-gadolinium_T1w").entities == {"ceagent": "gadolinium"}


@pytest.mark.parametrize("name", ["run-1_T1w", "T1w.nii", "../T1w"])
def test_a_sequence_that_cannot_be_is_refused(name):
    with pytest.raises(UsageError, match="sequence"):
        parse_sequence(name)


def test_a_unit_is_called_as_its_files_are():
    assert Unit("01", "a").key == "sub-01_ses-a"
    assert Unit("01", None).key == "sub-01"


def test_nodes_have_names_that_nipype_takes():
    assert node_name(3).isidentifier()


@pytest.mark.parametrize(
    ("text", "plugin"), [("plugin: SLURM\nplugin_args: {template: x}", "SLURM"), ("plugin: Linear", "Linear")]
)
def test_a_plugin_file_is_believed(tmp_path, text, plugin):
    (tmp_path / "plugin.yml").write_text(text)
    settings = Settings(Path("in"), Path("out"), use_plugin=tmp_path / "plugin.yml")
    assert choose_plugin(settings, share_out(settings, 1))[0] == plugin


def test_a_plugin_file_without_a_plugin_is_refused(tmp_path):
    (tmp_path / "plugin.yml").write_text("n_procs: 2")
    settings = Settings(Path("in"), Path("out"), use_plugin=tmp_path / "plugin.yml")
    with pytest.raises(UsageError, match=r"plugin\.yml"):
        choose_plugin(settings, share_out(settings, 1))


def test_a_session_keeps_its_caches_in_the_work_folder_and_off_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    env = environment(Settings(tmp_path, tmp_path / "out", work_dir=tmp_path / "work"), threads=3)
    assert env["OMP_NUM_THREADS"] == "3"
    assert env["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "1"
    assert env["NO_ET"] == "1"
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCH_HOME"):
        assert env[name].startswith(str(tmp_path / "work"))


@pytest.mark.parametrize("name", ["stroke", "tbi"])
def test_a_bundle_that_ships_without_targets_is_asked_for_none(name):
    settings = Settings(Path("in"), Path("out"), recipe=(name,))
    (recipe,) = load_recipes(settings)
    assert load_recipe(name).targets
    assert recipe.targets == ()
    assert recipe.learning.covariates == ()
    assert recipe.regions == load_recipe(name).regions


def test_a_bundle_that_answers_targets_is_asked_for_all_of_them():
    (recipe,) = load_recipes(Settings(Path("in"), Path("out"), recipe=("healthy",)))
    assert {target.name for target in recipe.targets} == {"age", "sex"}
