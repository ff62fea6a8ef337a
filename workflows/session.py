"""The graph of one session."""

from __future__ import annotations

from nipype.pipeline.engine import Workflow

from bids_app.bids.selection import Selection
from bids_app.bundle.bundle import Bundle
from bids_app.imaging.templates import Template
from bids_app.recipes.recipe import ANATOMY, Recipe
from bids_app.recipes.series import SERIES
from bids_app.settings import Settings
from workflows.anatomical import init_reference_wf, init_sequence_wf, init_template_wf
from workflows.choosing import Group
from workflows.connections import FOR_A_SEED, connect_connections
from workflows.diffusion import connect_computed
from workflows.functional import PLACED, connect_functional, init_series_wf
from workflows.grey_matter import init_grey_matter_wf
from workflows.naming import slug
from workflows.outputs import OF_GREY_MATTER, init_outputs_wf
from workflows.prediction import has_lesions, init_prediction_wf, predicted_fields
from workflows.seeds import bundle_of_seed, seed_recipes
from workflows.wanted import CORRECTED, anatomy_of, is_prepared, maps_grey_matter, wants_bias_correction, way_of

NAME = "session_wf"
#: What the outputs say about the brain mask.
OF_MASK = ("stripped", "mask_method", "mask_bundle")
#: Output of a sequence's steps that a recipe reads, where it wants the bias corrected and where it does not.
IMAGE = {True: "image", False: "plain"}


def _same(name: str) -> tuple[str, str]:
    return f"outputnode.{name}", f"inputnode.{name}"


def group_name(reference: str) -> str:
    """Name of the graph of one reference, where a session has several."""
    return f"{slug(reference)}_wf"


def init_session_wf(*, settings: Settings, groups: list[Group], template: Template | None, threads: int) -> Workflow:
    """Everything that the recipes of a session need, once for each reference among them."""

    def init(group: Group, name: str) -> Workflow:
        return init_group_wf(
            settings=settings,
            selection=group.selection,
            recipes=group.recipes,
            template=template,
            threads=threads,
            name=name,
        )

    if len(groups) == 1:
        return init(groups[0], NAME)
    workflow = Workflow(name=NAME)
    workflow.add_nodes([init(group, group_name(group.reference)) for group in groups])
    return workflow


def init_group_wf(
    *,
    settings: Settings,
    selection: Selection,
    recipes: list[Recipe],
    template: Template | None,
    threads: int,
    name: str = NAME,
) -> Workflow:
    """Reference and other sequences, template, one prediction per recipe, outputs: for recipes of one reference.

    A list of what happens: a trace image and an ADC map that are missing are computed from a raw diffusion series, maps
    of activity from a resting-state series, whose mean volume is registered in their place; the
    reference is conformed, corrected and masked; every other sequence is corrected and registered to it; the reference
    is registered to the template; each recipe with a bundle predicts; all is written, the files of each recipe by a
    node of their own. What recipes share is made once: a recipe that wants no bias correction reads the images before
    it, and all are registered by the corrected ones. What the recipe ``anatomy`` says comes with the reference: its
    network has run for the brain mask, and for the places of recipes that are located by it; where it has run, it says
    in which structure a lesion lies, and the grey matter that it found is carried to the template where that is asked.
    Where all recipes take images as they are, there is no mask, no registration and no ``template``.
    """
    workflow, key = Workflow(name=name), (selection.participant, selection.session)
    reference, prepared = selection.reference, is_prepared(recipes)
    anatomy = anatomy_of(settings, recipes)
    labelled = [r.name for r in recipes if r.predicts and anatomy and r.name == anatomy.recipe.name]
    mapped = maps_grey_matter(settings, recipes, reference)
    reference_wf = init_reference_wf(
        image=selection.reference_path,
        settings=settings,
        reference=reference,
        bias=wants_bias_correction(recipes),
        prepared=prepared,
        anatomy=anatomy,
        labelled=bool(labelled),
        located=mapped or _needs_places(recipes, labelled),
        threads=threads,
        computed=bool(selection.choices[reference].computed),
    )
    outputs_wf = init_outputs_wf(
        settings=settings, selection=selection, recipes=recipes, template=template, threads=threads
    )
    workflow.connect([(reference_wf, outputs_wf, [_same(image) for image in _images_of(recipes)])])
    template_wf = None
    if not prepared:
        template_wf = _to_template(workflow, settings, selection, reference_wf, outputs_wf)
        if mapped:
            _map_grey_matter(workflow, settings, selection, template, (reference_wf, template_wf, outputs_wf))
    others = _add_sequences(workflow, settings, selection, recipes, reference_wf, outputs_wf)
    connect_computed(workflow, selection, settings, {reference: reference_wf, **others})
    series = connect_functional(workflow, selection, settings, reference_wf, others, outputs_wf, template_wf)
    places = anatomy.path if anatomy and not prepared else None
    predicted = dict.fromkeys(labelled, reference_wf)  # whose network has run for the brain mask
    for recipe in (one for one in recipes if one.predicts):
        if recipe.name not in predicted:
            predicted_wf = init_prediction_wf(
                recipe=recipe, settings=settings, threads=threads, key=key, reference=reference, anatomy=places
            )
            _feed(workflow, recipe, predicted_wf, reference_wf, template_wf, selection, others)
            _tell_structures(workflow, recipe, predicted_wf, reference_wf if places else None)
            predicted[recipe.name] = predicted_wf
        _hand_on(workflow, predicted[recipe.name], outputs_wf, predicted_fields(recipe), recipe.name)
    labels = _labels_of_seeds(workflow, settings, selection, recipes, predicted, (reference_wf, template_wf), threads)
    connect_connections(workflow, recipes, selection, series, others, template_wf, labels)
    return workflow


def _needs_places(recipes: list[Recipe], labelled: list[str]) -> bool:
    """Whether a seed, or a recipe other than those whose network runs for the brain mask, asks where structures are."""
    others = [recipe for recipe in recipes if recipe.predicts and recipe.name not in labelled]
    return ANATOMY in seed_recipes(recipes) or any(_needs_structures(recipe) for recipe in others)


def _labels_of_seeds(
    workflow: Workflow,
    settings: Settings,
    selection: Selection,
    recipes: list[Recipe],
    predicted: dict[str, Workflow],
    parts: tuple[Workflow, Workflow | None],
    threads: int,
) -> dict[str, tuple[Workflow, Recipe]]:
    """Where the labels of the recipes that seeds name come from: from this run, from the brain mask, or run for them.

    Args:
        predicted: the recipes of this run, by name.
        parts: workflows of the reference and of the template.
    """
    labels = {}
    for name in seed_recipes(recipes):
        bundle = bundle_of_seed(settings, name)
        found = predicted.get(name) or (parts[0] if name == ANATOMY else None)
        if found is None:
            found = _predict_for_a_seed(workflow, settings, bundle, selection, parts, threads)
        labels[name] = (found, bundle.recipe)
    return labels


def _predict_for_a_seed(
    workflow: Workflow,
    settings: Settings,
    bundle: Bundle,
    selection: Selection,
    parts: tuple[Workflow, Workflow | None],
    threads: int,
) -> Workflow:
    """Run a bundle for its labels alone: nothing of it is written."""
    found = init_prediction_wf(
        recipe=bundle.recipe,
        settings=settings.replace(bundle=bundle.path),
        threads=threads,
        reference=selection.reference,
        name=f"{FOR_A_SEED}{slug(bundle.recipe.name)}_wf",
    )
    _feed(workflow, bundle.recipe, found, parts[0], parts[1], selection, {})
    return found


def _images_of(recipes: list[Recipe]) -> tuple[str, ...]:
    """The images of a sequence that some recipe reads: bias corrected, not corrected, or both."""
    return tuple(IMAGE[way == CORRECTED] for way in sorted({way_of(recipe) for recipe in recipes}))


def _to_template(
    workflow: Workflow, settings: Settings, selection: Selection, reference_wf: Workflow, outputs_wf: Workflow
) -> Workflow:
    """Mask the reference and register it to the template."""
    template_wf = init_template_wf(settings=settings, reference=selection.reference, lesion_mask=selection.lesion_mask)
    workflow.connect(
        [
            (reference_wf, template_wf, [_same("image"), _same("mask"), _same("to_template")]),
            (reference_wf, outputs_wf, [_same("mask"), *(_same(name) for name in OF_MASK)]),
            (template_wf, outputs_wf, [_same("transforms"), ("outputnode.matrix", "inputnode.to_template")]),
        ]
    )
    return template_wf


def _tell_structures(workflow: Workflow, recipe: Recipe, predicted_wf: Workflow, reference_wf: Workflow | None) -> None:
    """In which structure a lesion lies, or where a whole head's structures are: for recipes that ask, where the
    structures are known of the reference."""
    if reference_wf is not None and (has_lesions(recipe) or recipe.needed_grid.kind == "head"):
        found = [("outputnode.dseg", "inputnode.structures"), _same("doubt")]
        workflow.connect([(reference_wf, predicted_wf, found)])


def _map_grey_matter(
    workflow: Workflow,
    settings: Settings,
    selection: Selection,
    template: Template | None,
    parts: tuple[Workflow, Workflow, Workflow],
) -> None:
    """Carry the grey matter of the reference to the template, and write it."""
    reference_wf, template_wf, outputs_wf = parts
    grey_wf = init_grey_matter_wf(settings=settings, template=template, lesion_mask=selection.lesion_mask)
    workflow.connect(
        [
            (reference_wf, grey_wf, [_same("dseg"), _same("doubt")]),
            (template_wf, grey_wf, [("outputnode.matrix", "inputnode.to_template")]),
            (grey_wf, outputs_wf, [_same(name) for name in OF_GREY_MATTER]),
        ]
    )


def _needs_structures(recipe: Recipe) -> bool:
    """Whether a recipe wants the structures of the bundle `anatomy`: to be located by them, to say where its lesions
    lie, or to label nothing outside them."""
    return recipe.needed_grid.kind in ("sides", "head") or has_lesions(recipe)


def _feed(
    workflow: Workflow,
    recipe: Recipe,
    predicted_wf: Workflow,
    reference_wf: Workflow,
    template_wf: Workflow | None,
    selection: Selection,
    others: dict[str, Workflow],
) -> None:
    """Hand the reference and every other sequence that the recipe knows to its prediction, in the way it wants."""
    image = f"outputnode.{IMAGE[recipe.preprocessing.bias]}"
    of_reference = [(image, "inputnode.image"), _same("conformed")]
    if not is_prepared([recipe]):
        of_reference.append(_same("mask"))
        workflow.connect(template_wf, "outputnode.matrix", predicted_wf, "inputnode.to_template")
    of_reference += [("outputnode.dseg", "inputnode.labels")] if recipe.needed_grid.kind == "sides" else []
    workflow.connect([(reference_wf, predicted_wf, of_reference)])
    for sequence in recipe.sequences:
        taken = others.get(selection.name_of(sequence.name))
        if taken is not None:
            workflow.connect(taken, image, predicted_wf, f"inputnode.image_{slug(sequence.name)}")
            _hand_on(workflow, taken, predicted_wf, ("matrix",), sequence.name)


def _hand_on(workflow: Workflow, source: Workflow, target: Workflow, fields: tuple[str, ...], name: str) -> None:
    """Connect outputs to the inputs that bear the name of a sequence or a recipe too."""
    for field in fields:
        workflow.connect(source, f"outputnode.{field}", target, f"inputnode.{field}_{slug(name)}")


def _add_sequences(
    workflow: Workflow,
    settings: Settings,
    selection: Selection,
    recipes: list[Recipe],
    reference_wf: Workflow,
    outputs_wf: Workflow,
) -> dict[str, Workflow]:
    """Correct and register every sequence but the reference; by name."""
    others: dict[str, Workflow] = {}
    prepared = is_prepared(recipes)
    images = _images_of(recipes)
    for name, choice in selection.choices.items():
        if name == selection.reference or choice.path is None:
            continue
        if choice.computed == SERIES:
            others[name] = init_series_wf(name=f"{slug(name)}_wf")
            _hand_on(workflow, others[name], outputs_wf, (*images, "matrix"), name)
            continue
        others[name] = init_sequence_wf(
            sequence=name,
            image=choice.path,
            settings=settings,
            reference=selection.reference,
            bias=wants_bias_correction(recipes) and choice.computed not in PLACED,
            lesion_mask=selection.lesion_mask,
            computed=bool(choice.computed),
            in_place=selection.from_one_series(name, selection.reference),
            placed=choice.computed in PLACED and not prepared,
            prepared=prepared,
        )
        if not prepared:
            workflow.connect(reference_wf, "outputnode.image", others[name], "inputnode.reference")
        _hand_on(workflow, others[name], outputs_wf, (*images, "matrix"), name)
    return others
