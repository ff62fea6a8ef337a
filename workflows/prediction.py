"""One recipe's prediction: find the place, predict, measure."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_app.bundle.bundle import Bundle, bundle_for
from bids_app.predict.targets import known_covariates
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings
from workflows.anatomical import anatomy_node
from workflows.interfaces.prediction import Measure, Predict
from workflows.naming import slug

#: A recipe with more regions than these leaves no probabilities: those of 34 structures of a whole head are a gigabyte.
MOST_PROBABILITIES = 12


def predicted_fields(recipe: Recipe) -> tuple[str, ...]:
    """What a recipe's prediction hands on; no probabilities of a whole head or of many regions."""
    few = len(recipe.regions) <= MOST_PROBABILITIES and recipe.grid is not None and recipe.grid.kind != "head"
    lesions = ("lesions",) if has_lesions(recipe) else ()
    segmented = ("dseg", *(("probseg",) if few else ()), "volumes", *lesions) if recipe.regions else ()
    return (*segmented, *(("scores",) if recipe.targets else ()))


def has_lesions(recipe: Recipe) -> bool:
    """Whether some region may be absent and in many pieces, so that a table lists them."""
    return any(region.kind == "lesion" for region in recipe.regions) and recipe.needed_grid.kind != "head"


def init_prediction_wf(
    *,
    recipe: Recipe,
    settings: Settings,
    threads: int,
    key: tuple[str, str | None] | None = None,
    reference: str = "T1w",
    anatomy: Path | None = None,
    name: str | None = None,
) -> Workflow:
    """Predict a recipe's regions and measure them; answer for its targets.

    ``key``: participant and session, whose row of participants.tsv holds what the network reads beside the image.
    ``anatomy``: the bundle that made ``structures``.

    Inputs: ``image`` and ``mask`` of the reference, ``to_template`` (reference world to template world; it and the mask
    are left out for images that are taken as they are), ``conformed`` (all that a whole head is labelled by),
    ``labels`` (of a whole head, for a recipe that is located by them), ``structures`` and ``doubt`` (of a whole head,
    for a recipe that looks for lesions, to say where they lie; left out where nobody labels heads), and for every
    further sequence ``image_<slug>`` and ``matrix_<slug>``, by the recipe's names.
    Outputs: ``dseg`` and ``probseg`` (if not too many regions) on the reference's grid, ``volumes`` (JSON), where there
    are regions; ``scores`` (JSON), where there are targets.
    """
    workflow = Workflow(name=name or f"{slug(recipe.name)}_wf")
    bundle = bundle_for(recipe, settings.bundle)
    others = [spec.name for spec in recipe.sequences if spec.name != recipe.reference]
    fields = ["image", "mask", "to_template", "labels"]
    fields += [f"{f}_{slug(name)}" for name in others for f in ("image", "matrix")]
    inputnode = Node(IdentityInterface([*fields, "conformed", "structures", "doubt"]), name="inputnode")
    outputnode = Node(IdentityInterface(list(predicted_fields(recipe))), name="outputnode")
    if recipe.needed_grid.kind == "head":
        label = anatomy_node(bundle, settings, sequence=reference, wanted=True, threads=threads)
        workflow.connect(inputnode, "conformed", label, "in_file")
        if anatomy:
            workflow.connect([(inputnode, label, [("structures", "within"), ("doubt", "distrust")])])
        workflow.connect([(label, outputnode, [(field, field) for field in predicted_fields(recipe)])])
        return workflow
    tta = settings.tta and bundle.recipe.learning.mirror  # else the network has never seen a mirror image
    predict = _predict_node(recipe, bundle, settings, key, others, tta=tta, threads=threads)
    workflow.connect([(inputnode, predict, [(name, name) for name in fields])])
    if recipe.targets:
        workflow.connect(predict, "scores", outputnode, "scores")
    if recipe.regions:
        measure = _measure_node(workflow, recipe, bundle, inputnode, anatomy, tta=tta)
        workflow.connect(
            [
                (inputnode, measure, [("image", "image")]),
                (predict, measure, [("prediction", "prediction"), ("device", "device")]),
                (measure, outputnode, [(field, field) for field in predicted_fields(recipe) if field != "scores"]),
            ]
        )
    return workflow


def _predict_node(
    recipe: Recipe,
    bundle: Bundle,
    settings: Settings,
    key: tuple[str, str | None] | None,
    others: list[str],
    *,
    tta: bool,
    threads: int,
) -> Node:
    """The network's run, with what participants.tsv says of the person ``key``."""
    covariates, told = known_covariates(bundle, settings.bids_dir, key) if key else ({}, [])
    predict = Predict(
        sequences=others,
        recipe=recipe.name,
        bundle=str(bundle.path),
        weights=bundle.sha256,
        device=settings.device,
        low_mem=settings.low_mem,
        reproducible=settings.reproducible,
        tta=tta,
        threads=threads,
        covariates=covariates,
        warn=told,
        one_slice=recipe.flat and recipe.needed_grid.kind != bundle.recipe.needed_grid.kind,
        **({} if settings.slice_at is None else {"level": settings.slice_at}),
    )
    return Node(predict, name="predict")


def _measure_node(
    workflow: Workflow, recipe: Recipe, bundle: Bundle, inputnode: Node, anatomy: Path | None, *, tta: bool
) -> Node:
    """Masks and volumes; of lesions also where they lie."""
    sides = recipe.needed_grid.kind == "sides"
    measure = Node(Measure(recipe=recipe.name, bundle=str(bundle.path), tta=tta, sides=sides), name="measure")
    if has_lesions(recipe):
        places = [("to_template", "to_template"), *([(n, n) for n in ("structures", "doubt")] if anatomy else [])]
        workflow.connect([(inputnode, measure, places)])
        measure.inputs.anatomy = str(anatomy or "")
    return measure
