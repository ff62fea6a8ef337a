"""From a raw resting-state series to the maps that a recipe wants, once for each series."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids.fmriprep import made_by_fmriprep, template_of
from bids_app.bids.selection import Choice, Selection
from bids_app.recipes.seeds import CONNECTION_MAPS
from bids_app.recipes.series import SERIES, SERIES_MAPS
from bids_app.settings import Settings
from workflows.interfaces.functional import FROM_SERIES, ComputeFunctional, PlaceByTemplate
from workflows.interfaces.imaging import Conform, RegisterSequence

#: Suffixes of what is computed, which are outputs of `init_functional_wf` too.
MAPS = SERIES_MAPS
#: Suffixes of all images of three dimensions that come of a series, and lie where it lies.
PLACED = (*MAPS, *CONNECTION_MAPS)
#: Name of the graph of a series: no recipe has an underscore in its name.
NAME = "resting_state_wf"
#: What else comes of a series.
OF_SERIES = ("courses", "mask", "carpet", "matrix")


def init_functional_wf(
    *, choice: Choice, settings: Settings, reference: str, wanted: tuple[str, ...] = MAPS, name: str = NAME
) -> Workflow:
    """Maps of one series, and where it lies on the reference.

    Steps: volumes before the steady state dropped, slice timing, rigid motion, nuisance and filter in one regression,
    maps; the mean volume is registered to the reference rigidly.

    A series that fMRIPrep preprocessed goes into the regression as it is; one in the template's space is brought back
    by the reference's affine registration.

    ``wanted``: suffixes of what is computed.

    Inputs: ``reference``, ``to_template`` (reference world to template world).
    Outputs: ``alff``, ``falff``, ``reho`` on the series' own grid; what is left of it, ``bold``, where that is
    wanted; ``matrix`` (its world to the reference's), ``courses`` and ``mask`` of what is left of the series in the
    brain, ``freedom`` (its degrees of freedom), ``carpet`` (picture of it before the regression).
    """
    workflow = Workflow(name=name)
    inputnode = Node(IdentityInterface(["reference", "to_template"]), name="inputnode")
    series = SERIES in wanted
    node = ComputeFunctional(in_file=str(choice.path), metadata=dict(choice.metadata), series=series)
    node.inputs.maps = any(one in MAPS for one in wanted)
    compute = Node(node, name="compute")
    conform = Node(Conform(), name="conform")
    path = choice.path
    in_template = path is not None and made_by_fmriprep(path) and template_of(path) is not None
    if in_template:
        place = Node(PlaceByTemplate(in_file=str(choice.path)), name="back")
    else:
        register = RegisterSequence(sequence="mean BOLD", reference_name=reference, seed=settings.random_seed)
        place = Node(register, name="rigid")
    made = (*MAPS, "freedom", *((SERIES,) if series else ()))
    outputnode = Node(IdentityInterface([*made, *OF_SERIES]), name="outputnode")
    workflow.connect(
        [
            (compute, outputnode, [(one, one) for one in (*made, *OF_SERIES[:-1])]),
            (compute, conform, [("mean", "in_file")]),
            (place, outputnode, [("matrix", "matrix")]),
        ]
    )
    if in_template:
        workflow.connect(inputnode, "to_template", place, "to_template")
    else:
        workflow.connect(
            [(conform, place, [("out_file", "in_file")]), (inputnode, place, [("reference", "reference")])]
        )
    return workflow


def init_series_wf(*, name: str) -> Workflow:
    """What is left of a series, as a sequence of a recipe: nothing more is done to it.

    Inputs: ``image``; ``reference`` (not read), ``matrix`` (its world to the reference's world).
    Outputs: as of `workflows.anatomical.init_sequence_wf`.
    """
    workflow = Workflow(name=name)
    inputnode = Node(IdentityInterface(["image", "reference", "matrix"]), name="inputnode")
    outputnode = Node(IdentityInterface(["image", "plain", "matrix"]), name="outputnode")
    same = [("image", "image"), ("image", "plain"), ("matrix", "matrix")]
    workflow.connect([(inputnode, outputnode, same)])
    return workflow


def series_of(selection: Selection) -> Path | None:
    """The resting-state series that is shown, and its parcels' courses kept: the first that a map is computed from."""
    found = (choice.path for choice in selection.choices.values() if choice.computed in FROM_SERIES and choice.path)
    return next(found, None)


def connect_functional(
    workflow: Workflow,
    selection: Selection,
    settings: Settings,
    reference_wf: Workflow,
    into: dict[str, Workflow],
    outputs_wf: Workflow,
    template_wf: Workflow | None = None,
) -> dict[Path, Workflow]:
    """Give the sequences that are computed from a resting-state series their maps and their place; maps of connections
    get their place alone (`workflows.connections`).

    Args:
        workflow: of the session.
        into: workflow of every sequence but the reference, by its name.
        outputs_wf: where its picture and courses are written.
        template_wf: of the reference; None where images are taken as they are.

    Returns:
        Workflow of every series, by its file.
    """
    made: dict[Path, Workflow] = {}
    for name, choice in selection.choices.items():
        if choice.computed not in FROM_SERIES or choice.path is None:
            continue
        if choice.path not in made:
            number = str(len(made) + 1) if made else ""
            one = init_functional_wf(
                choice=choice,
                settings=settings,
                reference=selection.reference,
                wanted=tuple(one.computed for one in selection.choices.values() if one.path == choice.path),
                name=NAME.replace("_wf", f"{number}_wf"),
            )
            made[choice.path] = one
            workflow.connect(reference_wf, "outputnode.image", one, "inputnode.reference")
            if template_wf is not None:
                workflow.connect(template_wf, "outputnode.matrix", one, "inputnode.to_template")
            if choice.path == series_of(selection):
                workflow.connect([(one, outputs_wf, [(f"outputnode.{f}", f"inputnode.series_{f}") for f in OF_SERIES])])
        workflow.connect(made[choice.path], "outputnode.matrix", into[name], "inputnode.matrix")
        if choice.computed not in CONNECTION_MAPS:
            first = "inputnode.image" if choice.computed == SERIES else "conform.in_file"
            workflow.connect(made[choice.path], f"outputnode.{choice.computed}", into[name], first)
    return made
