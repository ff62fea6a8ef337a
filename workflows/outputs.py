"""What stays of a session: a node for the reference, one for every other sequence, and one for every recipe."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids.selection import Selection
from bids_app.imaging.templates import Template
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings, to_plain
from workflows.functional import OF_SERIES, series_of
from workflows.interfaces.functional import WriteSeries
from workflows.interfaces.grey_matter import WriteGreyMatter
from workflows.interfaces.outputs import WriteReference, WriteSequence
from workflows.interfaces.recipe_outputs import WriteRecipe
from workflows.naming import slug
from workflows.prediction import predicted_fields
from workflows.wanted import CORRECTED, maps_grey_matter, template_spaces, way_of

OF_GREY_MATTER = ("density", "inverse")
OF_REFERENCE = ("mask", "mask_method", "mask_bundle", "stripped", "transforms")


def writers_of(recipe: Recipe, selection: Selection, settings: Settings) -> set[str]:
    """Names of the nodes that have to end before all files of a recipe are written."""
    used = {selection.name_of(sequence.name) for sequence in recipe.sequences} | set(settings.sequences)
    there = [name for name in others_of(selection) if name in used]
    own = {f"recipe_{slug(recipe.name)}"} if recipe.predicts else set()
    own |= {"grey_matter"} if maps_grey_matter(settings, [recipe], selection.reference) else set()
    own |= {"series"} if series_of(selection) else set()
    return {"reference", *(f"sequence_{slug(name)}" for name in there)} | own


def others_of(selection: Selection) -> list[str]:
    """Names of the sequences that there are beside the reference."""
    return [name for name, choice in selection.choices.items() if name != selection.reference and choice.path]


def init_outputs_wf(
    *,
    settings: Settings,
    selection: Selection,
    recipes: list[Recipe],
    template: Template | None,
    threads: int,
    name: str = "outputs_wf",
) -> Workflow:
    """Write derivatives, so that a recipe that fails takes nothing from the others.

    Inputs: ``image`` (bias corrected) and ``plain`` (not corrected), those that some recipe wants; ``mask``,
    ``stripped``, ``mask_method``, ``mask_bundle``, ``transforms`` (reference to template; none of these where the
    recipes take images as they are); for every other sequence ``image_<slug>``, ``plain_<slug>`` and
    ``matrix_<slug>``; ``density`` and ``inverse`` of grey matter where that is wanted; of a resting-state series
    ``series_courses``, ``series_mask``, ``series_carpet``, ``series_matrix`` and, for its parcels, ``to_template``;
    for every predicting recipe ``dseg_<slug>``, ``volumes_<slug>`` and, if not too many, ``probseg_<slug>`` of its
    regions and ``scores_<slug>`` of its targets.
    """
    workflow = Workflow(name=name)
    others = others_of(selection)
    ways = sorted({way_of(recipe) for recipe in recipes})
    images = ["image" if way == CORRECTED else "plain" for way in ways]
    inputnode = Node(IdentityInterface(_fields(others, recipes)), name="inputnode")
    shared = {"settings": to_plain(settings), "selection": selection.to_plain(), "threads": threads}
    in_template = {"template": template.name, "template_image": str(template.image)} if template else {}
    reference = Node(WriteReference(**shared, **in_template), name="reference")
    if series_of(selection) is not None:
        _write_series(workflow, inputnode, shared, template)
    workflow.connect([(inputnode, reference, [(field, field) for field in (*images, *OF_REFERENCE)])])
    if maps_grey_matter(settings, recipes, selection.reference):
        node = Node(WriteGreyMatter(**shared, template=template.name if template else ""), name="grey_matter")
        workflow.connect([(inputnode, node, [(field, field) for field in OF_GREY_MATTER])])
        workflow.connect(reference, "files", node, "files")
    sequences = {}
    for sequence in others:
        node = sequences[sequence] = Node(WriteSequence(sequence=sequence, **shared), name=f"sequence_{slug(sequence)}")
        own = [(f"{field}_{slug(sequence)}", field) for field in (*images, "matrix")]
        workflow.connect([(inputnode, node, [*own, ("stripped", "stripped")]), (reference, node, [("files", "files")])])
    for recipe in (one for one in recipes if one.predicts):
        used = {selection.name_of(one.name) for one in recipe.sequences}
        read = [sequence for sequence in others if sequence in used]
        node = _recipe_node(recipe, read, {**shared, **(in_template if template_spaces(settings) else {})})
        workflow.connect([(inputnode, node, [(f"{f}_{slug(recipe.name)}", f) for f in predicted_fields(recipe)])])
        workflow.connect([(inputnode, node, [("transforms", "transforms")]), (reference, node, [("files", "files")])])
        for sequence in read:
            workflow.connect(sequences[sequence], "files", node, f"files_{slug(sequence)}")
    return workflow


def _fields(others: list[str], recipes: list[Recipe]) -> list[str]:
    """Inputs of `init_outputs_wf`."""
    fields = ["image", "plain", *OF_REFERENCE, *OF_GREY_MATTER, "to_template", *(f"series_{f}" for f in OF_SERIES)]
    fields += [f"{field}_{slug(n)}" for n in others for field in ("image", "plain", "matrix")]
    return fields + [f"{field}_{slug(r.name)}" for r in recipes if r.predicts for field in predicted_fields(r)]


def _recipe_node(recipe: Recipe, read: list[str], shared: dict[str, Any]) -> Node:
    """The node that writes the files of a recipe, which reads some sequences beside the reference."""
    sides = recipe.needed_grid.kind == "sides"
    write = WriteRecipe(others=read, recipe=recipe.name, way=way_of(recipe), sides=sides, **shared)
    return Node(write, name=f"recipe_{slug(recipe.name)}")


def _write_series(workflow: Workflow, inputnode: Node, shared: dict[str, Any], template: Template | None) -> None:
    """The node that writes a resting-state series, its parcels where there is a template."""
    node = Node(WriteSeries(**shared), name="series")
    workflow.connect([(inputnode, node, [(f"series_{field}", field) for field in OF_SERIES])])
    if template is not None:
        workflow.connect(inputnode, "to_template", node, "to_template")
