"""The graph of a session over many switches; nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_app.bids.selection import Choice, Selection
from bids_app.imaging.templates import Template
from bids_app.recipes.recipe import load_recipe
from bids_app.settings import Settings
from tests.bids_app.bids.samples import make_image
from workflows.session import init_group_wf


@pytest.fixture
def build(tmp_path):
    """A function that builds a session's graph for some sequences and settings."""
    files = {
        name: make_image(tmp_path / f"sub-01_{name}.nii.gz", shape=(8, 8, 8)) for name in ("T1w", "FLAIR", "lesion")
    }

    def build_graph(sequences=("T1w",), recipes=("habenula",), lesion=False, **options):
        chosen = {name: Choice(name, files[name], "the only one") for name in sequences}
        chosen["T2w"] = Choice("T2w", None, "no T2w")
        selection = Selection("01", None, "T1w", chosen, lesion_mask=files["lesion"] if lesion else None)
        return init_group_wf(
            settings=Settings(Path("in"), Path("out"), **options),
            selection=selection,
            recipes=[load_recipe(name) for name in recipes],
            threads=1,
            template=Template("MNI152NLin2009aSym", files["T1w"], None, "for tests", {}),
        )

    return build_graph


def names(workflow) -> set[str]:
    return {node.fullname.removeprefix("session_wf.") for node in workflow._get_all_nodes()}


@pytest.mark.parametrize("sequences", [("T1w",), ("T1w", "FLAIR")])
@pytest.mark.parametrize("recipes", [("habenula",), ("anatomical",), ("habenula", "anatomical")])
@pytest.mark.parametrize("denoise", [False, True])
def test_every_combination_connects(build, sequences, recipes, denoise):
    nodes = names(build(sequences, recipes, denoise=denoise))
    assert ("FLAIR_wf.rigid" in nodes) == ("FLAIR" in sequences)
    assert ("habenula_wf.predict" in nodes) == ("habenula" in recipes)
    assert ("reference_wf.denoise" in nodes) == denoise
    assert not any(name.startswith("T2w_wf") for name in nodes)


def test_a_deformation_is_only_computed_for_an_output_in_template_space(build):
    def nonlinear(workflow):
        return workflow.get_node("template_wf.register").inputs.nonlinear

    assert not nonlinear(build())
    assert nonlinear(build(output_spaces=("T1w", "MNI152NLin2009cAsym")))


def test_a_lesion_is_left_out_of_every_registration(build):
    for name in ("template_wf.register", "FLAIR_wf.rigid"):
        assert build(sequences=("T1w", "FLAIR"), lesion=True).get_node(name).inputs.lesion_mask
        assert not isinstance(build(sequences=("T1w", "FLAIR")).get_node(name).inputs.lesion_mask, str)


def test_a_quantitative_map_keeps_its_scale(build, tmp_path):
    from workflows.anatomical import init_sequence_wf

    made = init_sequence_wf(
        sequence="ADC", image=make_image(tmp_path / "adc.nii.gz"), settings=Settings(Path("in"), Path("out"))
    )
    assert "bias" not in {node.name for node in made._get_all_nodes()}


def test_a_graph_can_be_written_without_graphviz(build, tmp_path, monkeypatch):
    from workflows.run_session import write_graph

    monkeypatch.setenv("PATH", str(tmp_path))
    told = write_graph(build(), tmp_path)
    assert "Graphviz" in told[0]
    assert "reference" in (tmp_path / "graph.dot").read_text()


def test_a_whole_head_recipe_is_held_within_the_structures_of_anatomy(build):
    graph = build(("T1w",), ("healthy",))
    assert "healthy_wf.anatomy" in names(graph) or any(one.endswith("anatomy") for one in names(graph))
    edges = [
        (one.name, pair)
        for flow in (graph, *[n for n in graph._graph.nodes() if hasattr(n, "_graph")])
        for one, _, data in flow._graph.edges(data=True)
        for pair in data["connect"]
    ]
    assert any(pair[1].endswith("within") for _, pair in edges)
