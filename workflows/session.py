"""The graph of one session."""

from __future__ import annotations

from nipype.pipeline.engine import Workflow

from bids_app.bids.selection import Selection
from bids_app.imaging.templates import Template
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings
from workflows.anatomical import init_reference_wf, init_sequence_wf, init_template_wf
from workflows.diffusion import connect_computed
from workflows.naming import slug
from workflows.outputs import init_outputs_wf
from workflows.prediction import init_prediction_wf, predicted_fields
from workflows.wanted import anatomy_of, is_prepared, wants_bias_correction

#: What the outputs say about the brain mask.
OF_MASK = ("stripped", "mask_method", "mask_bundle")


def _same(name: str) -> tuple[str, str]:
    return f"outputnode.{name}", f"inputnode.{name}"


def init_session_wf(
    *,
    settings: Settings,
    selection: Selection,
    recipes: list[Recipe],
    template: Template | None,
    threads: int,
) -> Workflow:
    """Reference and other sequences, template, one prediction per recipe, outputs.

    A list of what happens: a trace image and an ADC map that are missing are computed from a raw diffusion series; the
    reference is conformed, corrected and masked; every other sequence is corrected and registered to it; the reference
    is registered to the template; each recipe with a bundle predicts; all is written.
    What the recipe ``anatomy`` says comes with the reference: its network has run for the brain mask, and for the
    places of recipes that are located by it.
    Where the recipes take images as they are, there is no mask, no registration and no ``template``.
    """
    workflow = Workflow(name="session_wf")
    reference = selection.reference
    shared = {"settings": settings, "reference": reference}
    prepared = is_prepared(recipes)
    how = {**shared, "bias": wants_bias_correction(recipes), "prepared": prepared}
    anatomy = anatomy_of(settings, recipes)
    labelled = [r.name for r in recipes if r.predicts and anatomy and r.name == anatomy.recipe.name]
    located = any(r.predicts and r.grid.kind == "sides" for r in recipes)
    reference_wf = init_reference_wf(
        image=selection.path_of(reference),
        anatomy=anatomy,
        labelled=bool(labelled),
        located=located,
        threads=threads,
        computed=bool(selection.choices[reference].computed),
        **how,
    )
    outputs_wf = init_outputs_wf(
        settings=settings, selection=selection, recipes=recipes, template=template, threads=threads
    )
    joined = [("outputnode.image", "inputnode.image")]
    if prepared:
        workflow.connect([(reference_wf, outputs_wf, [*joined])])
    else:
        template_wf = init_template_wf(lesion_mask=selection.lesion_mask, **shared)
        joined.append(("outputnode.mask", "inputnode.mask"))
        start = ("outputnode.to_template", "inputnode.to_template")
        workflow.connect(
            [
                (reference_wf, template_wf, [*joined, start]),
                (reference_wf, outputs_wf, [*joined, *(_same(name) for name in OF_MASK)]),
                (template_wf, outputs_wf, [("outputnode.transforms", "inputnode.transforms")]),
            ]
        )
    others = _add_sequences(workflow, selection, reference_wf, outputs_wf, **how)
    connect_computed(workflow, selection, settings, {reference: reference_wf, **others})
    for recipe in recipes:
        if not recipe.predicts:
            continue
        predicted_wf = reference_wf  # its network has run for the brain mask
        if recipe.name not in labelled:
            key = (selection.participant, selection.session)
            predicted_wf = init_prediction_wf(
                recipe=recipe, settings=settings, threads=threads, key=key, reference=reference
            )
            if not prepared:
                workflow.connect(template_wf, "outputnode.matrix", predicted_wf, "inputnode.to_template")
            _feed(workflow, recipe, predicted_wf, reference_wf, joined, selection, others)
        _hand_on(workflow, predicted_wf, outputs_wf, predicted_fields(recipe), recipe.name)
    return workflow


def _feed(
    workflow: Workflow,
    recipe: Recipe,
    predicted_wf: Workflow,
    reference_wf: Workflow,
    joined: list[tuple[str, str]],
    selection: Selection,
    others: dict[str, Workflow],
) -> None:
    """Hand the reference and every other sequence that the recipe knows to its prediction."""
    of_reference = [*joined, ("outputnode.conformed", "inputnode.conformed")]
    of_reference += [("outputnode.dseg", "inputnode.labels")] if recipe.grid.kind == "sides" else []
    workflow.connect([(reference_wf, predicted_wf, of_reference)])
    for sequence in recipe.sequences:
        taken = others.get(selection.name_of(sequence.name))
        if taken is not None:
            _hand_on(workflow, taken, predicted_wf, ("image", "matrix"), sequence.name)


def _hand_on(workflow: Workflow, source: Workflow, target: Workflow, fields: tuple[str, ...], name: str) -> None:
    """Connect outputs to the inputs that bear the name of a sequence or a recipe too."""
    for field in fields:
        workflow.connect(source, f"outputnode.{field}", target, f"inputnode.{field}_{slug(name)}")


def _add_sequences(
    workflow: Workflow, selection: Selection, reference_wf: Workflow, outputs_wf: Workflow, *, prepared: bool, **how
) -> dict[str, Workflow]:
    """Correct and register every sequence but the reference; by name."""
    others = {}
    for name, choice in selection.choices.items():
        if name == selection.reference or choice.path is None:
            continue
        others[name] = init_sequence_wf(
            sequence=name,
            image=choice.path,
            lesion_mask=selection.lesion_mask,
            computed=bool(choice.computed),
            in_place=selection.from_one_series(name, selection.reference),
            prepared=prepared,
            **how,
        )
        if not prepared:
            workflow.connect(reference_wf, "outputnode.image", others[name], "inputnode.reference")
        _hand_on(workflow, others[name], outputs_wf, ("image", "matrix"), name)
    return others
