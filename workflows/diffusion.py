"""From a raw diffusion series to the images that a recipe wants; and ADC maps of any unit, in place."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids.selection import Selection
from bids_app.settings import Settings
from workflows.interfaces.diffusion import CheckPair, CommonUnit, ComputeDiffusion

#: Suffix of what is computed -> output of `init_diffusion_wf`.
OUTPUTS = {"trace": "trace", "ADC": "adc"}


def init_diffusion_wf(
    *, series: Path, gradients: tuple[Path, ...], settings: Settings, name: str = "diffusion_wf"
) -> Workflow:
    """Trace image and ADC map of one raw series with its b-values.

    ``gradients``: its b-values, and directions if it has any.

    Outputs: ``trace``, ``adc`` (1e-3 mm²/s), on the series' own grid.
    """
    workflow = Workflow(name=name)
    compute = Node(
        ComputeDiffusion(
            in_file=str(series), gradients=[str(path) for path in gradients], dataset=str(settings.bids_dir)
        ),
        name="compute",
    )
    outputnode = Node(IdentityInterface(["trace", "adc"]), name="outputnode")
    workflow.connect([(compute, outputnode, [("trace", "trace"), ("adc", "adc")])])
    return workflow


def connect_computed(workflow: Workflow, selection: Selection, settings: Settings, into: dict[str, Workflow]) -> None:
    """Give the sequences that are to be computed their images: one computation for each raw series.

    Args:
        workflow: of the session.
        into: workflow of every sequence by its name; its first node is ``conform``.
    """
    made: dict[Path, Workflow] = {}
    for name, choice in selection.choices.items():
        if choice.computed not in OUTPUTS or choice.path is None:
            continue
        if choice.path not in made:
            number = str(len(made) + 1) if made else ""
            made[choice.path] = init_diffusion_wf(
                series=choice.path, gradients=choice.beside, settings=settings, name=f"diffusion{number}_wf"
            )
        workflow.connect(made[choice.path], f"outputnode.{OUTPUTS[choice.computed]}", into[name], "conform.in_file")


def unit_node(source: Path) -> Node:
    """An ADC map as a scanner wrote it, in 1e-3 mm²/s."""
    return Node(CommonUnit(source=str(source)), name="unit")


def pair_node(source: Path) -> Node:
    """Stands where another sequence is registered: an ADC map has its trace image's position already."""
    return Node(CheckPair(source=str(source)), name="pair")
