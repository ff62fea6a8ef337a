"""What stays of a session."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids.selection import Selection
from bids_app.imaging.templates import Template
from bids_app.recipes.recipe import Recipe
from bids_app.settings import Settings, to_plain
from workflows.interfaces.outputs import WriteOutputs
from workflows.naming import slug
from workflows.prediction import predicted_fields


def init_outputs_wf(
    *,
    settings: Settings,
    selection: Selection,
    recipes: list[Recipe],
    template: Template | None,
    threads: int,
    name: str = "outputs_wf",
) -> Workflow:
    """Write derivatives.

    Inputs: ``image``, ``mask``, ``stripped``, ``mask_method``, ``mask_bundle``, ``transforms`` (reference to template;
    of these only the image where the recipes take images as they are); for every other sequence ``image_<slug>`` and
    ``matrix_<slug>``; for every predicting recipe ``dseg_<slug>``, ``volumes_<slug>`` and, if not too many,
    ``probseg_<slug>`` of its regions and ``scores_<slug>`` of its targets.
    """
    workflow = Workflow(name=name)
    others = [n for n, c in selection.choices.items() if n != selection.reference and c.path]
    predicted = {recipe.name: list(predicted_fields(recipe)) for recipe in recipes if recipe.predicts}
    fields = ["image", "mask", "stripped", "mask_method", "mask_bundle", "transforms"]
    fields += [f"{field}_{slug(n)}" for n in others for field in ("image", "matrix")]
    fields += [f"{field}_{slug(n)}" for n, found in predicted.items() for field in found]
    inputnode = Node(IdentityInterface(fields), name="inputnode")
    write = Node(
        WriteOutputs(
            sequences=others,
            predicted=predicted,
            settings=to_plain(settings),
            selection=selection.to_plain(),
            recipes=list(predicted),
            threads=threads,
            sides=[r.name for r in recipes if r.name in predicted and r.grid.kind == "sides"],
            **({"template": template.name, "template_image": str(template.image)} if template else {}),
        ),
        name="write",
    )
    workflow.connect([(inputnode, write, [(field, field) for field in fields])])
    return workflow
