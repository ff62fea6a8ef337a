"""One recipe's prediction: find the place, predict, measure."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_app.learning.bundle import load_bundle
from bids_app.learning.predict_targets import known_covariates
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings
from workflows.interfaces.prediction import Measure, Predict
from workflows.naming import slug


def predicted_fields(recipe: Recipe) -> tuple[str, ...]:
    """What a recipe's prediction hands on."""
    return (*(("dseg", "probseg", "volumes") if recipe.regions else ()), *(("scores",) if recipe.targets else ()))


def init_prediction_wf(
    *, recipe: Recipe, settings: Settings, threads: int, key: tuple[str, str | None] | None = None,
    name: str | None = None,
) -> Workflow:  # fmt: skip
    """Predict a recipe's regions and measure them; answer for its targets.

    ``key``: participant and session, whose row of participants.tsv holds what the network reads beside the image.

    Inputs: ``image`` and ``mask`` of the reference, ``to_template`` (reference world to template world; it and the mask
    are left out for images that are taken as they are), and for every further sequence ``image_<slug>`` and
    ``matrix_<slug>``.
    Outputs: ``dseg`` and ``probseg`` on the reference's grid, ``volumes`` (JSON), where there are regions; ``scores``
    (JSON), where there are targets.
    """
    workflow = Workflow(name=name or f"{slug(recipe.name)}_wf")
    bundle = load_bundle(settings.bundle or recipe.name)
    tta = settings.tta and bundle.recipe.learning.mirror  # else the network has never seen a mirror image
    covariates, told = known_covariates(bundle, settings.bids_dir, key) if key else ({}, [])
    others = [spec.name for spec in recipe.sequences if spec.name != recipe.reference]
    fields = [f"{field}_{slug(sequence)}" for sequence in others for field in ("image", "matrix")]
    inputnode = Node(IdentityInterface(["image", "mask", "to_template", *fields]), name="inputnode")
    predict = Node(
        Predict(
            sequences=others, recipe=recipe.name, bundle=str(bundle.path), weights=bundle.sha256,
            device=settings.device, tta=tta, low_mem=settings.low_mem,
            reproducible=settings.reproducible, threads=threads, covariates=covariates, warn=told,
        ),
        name="predict",
    )  # fmt: skip
    outputnode = Node(IdentityInterface(list(predicted_fields(recipe))), name="outputnode")
    workflow.connect([(inputnode, predict, [(name, name) for name in ("image", "mask", "to_template", *fields)])])
    if recipe.targets:
        workflow.connect(predict, "scores", outputnode, "scores")
    if recipe.regions:
        measure = Node(Measure(recipe=recipe.name, bundle=str(bundle.path), tta=tta), name="measure")
        workflow.connect(
            [
                (inputnode, measure, [("image", "image")]),
                (predict, measure, [("prediction", "prediction"), ("device", "device")]),
                (measure, outputnode, [(name, name) for name in ("dseg", "probseg", "volumes")]),
            ]
        )
    return workflow
