"""From the labels of a head to the map of its grey matter in the template's space."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_app.imaging.templates import Template
from bids_app.settings import Settings
from workflows.interfaces.grey_matter import MapGreyMatter


def init_grey_matter_wf(
    *, settings: Settings, template: Template | None, lesion_mask: Path | None = None, name: str = "grey_matter_wf"
) -> Workflow:
    """Register a picture of the tissues to the template, and carry grey matter there with its volume.

    Inputs: ``dseg`` and ``doubt`` (labels of the bundle anatomy, and why they cannot be right), ``to_template``
    (reference world to template world). A lesion mask is left out of what is compared.
    Outputs: ``density``, ``inverse`` (template to reference, as ANTs applies them); not set where labels are in doubt.
    """
    workflow = Workflow(name=name)
    inputnode = Node(IdentityInterface(["dseg", "doubt", "to_template"]), name="inputnode")
    compute = Node(
        MapGreyMatter(
            seed=settings.random_seed,
            **({"template": template.name} if template else {}),
            **({"lesion_mask": str(lesion_mask)} if lesion_mask else {}),
        ),
        name="compute",
    )
    outputnode = Node(IdentityInterface(["density", "inverse"]), name="outputnode")
    workflow.connect(
        [
            (inputnode, compute, [("dseg", "in_file"), ("doubt", "doubt"), ("to_template", "to_template")]),
            (compute, outputnode, [("density", "density"), ("inverse", "inverse")]),
        ]
    )
    return workflow
