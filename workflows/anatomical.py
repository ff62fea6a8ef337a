"""Reference, other sequences, template: from a scanner's file to images that share one space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids.thickness import one_slice, slice_thickness
from bids_app.bundle.bundle import Bundle
from bids_app.settings import Settings
from workflows.diffusion import pair_node, unit_node
from workflows.interfaces.anatomy import Anatomy
from workflows.interfaces.imaging import BrainMask, Conform, CorrectBias, Denoise, RegisterSequence, RegisterTemplate
from workflows.naming import slug

#: Maps with a physical scale: a bias field would change what they mean.
QUANTITATIVE = ("ADC", "T1map", "T2map", "R1map", "R2map", "MTRmap", "alff", "falff", "reho")
#: Reference and sequence that come from one series, so that registering them could only move them apart.
PAIR = ("trace", "ADC")
#: The template the recipes' coordinates are given in.
TEMPLATE = "MNI152NLin2009cAsym"


def init_reference_wf(
    *,
    image: Path,
    settings: Settings,
    reference: str = "T1w",
    bias: bool = True,
    prepared: bool = False,
    anatomy: Bundle | None = None,
    labelled: bool = False,
    located: bool = False,
    computed: bool = False,
    threads: int = 1,
    name: str = "reference_wf",
) -> Workflow:
    """Conform, label the head, mask the brain, denoise on request, correct the bias field.

    No brain is looked for in a ``prepared`` image, such as a crop; the outputs about it are then not set. An image that
    is ``computed`` from ``image`` has to be connected to ``conform.in_file``.

    The brain is looked for in the image as it came: in one whole head of 1 mm, correction made it harder to find.
    Where there is a bundle for ``anatomy``, its network runs once: for the mask, and for the recipe's labels where they
    are wanted (``labelled``, or ``located`` where only other recipes want them, to find their places); a stripped image
    of which nobody wants labels is not looked at.

    Outputs: ``image`` (corrected, on its own grid), ``plain`` (the same before its bias was corrected), ``conformed``,
    ``mask`` (brain), ``stripped`` (it came without its skull), ``to_template`` (where finding the brain or its
    structures put it; else empty), ``mask_method`` and ``mask_bundle`` (how it was found), ``dseg`` and ``volumes``
    (where ``labelled`` or ``located``), ``doubt`` (why these cannot be right).
    """
    workflow = Workflow(name=name)
    plain, corrected = _corrected(
        workflow, image, settings, sequence=reference, reference=True, bias=bias, computed=computed
    )
    found = ["mask", "stripped", "to_template", "mask_method", "mask_bundle"]
    fields = ["image", "plain", "conformed", *found, "dseg", "volumes", "doubt"]
    outputnode = Node(IdentityInterface(fields), name="outputnode")
    workflow.connect([(corrected, outputnode, [("out_file", "image")]), (plain, outputnode, [("out_file", "plain")])])
    workflow.connect(workflow.get_node("conform"), "out_file", outputnode, "conformed")
    if prepared:
        return workflow
    mask = mask_node(settings, anatomy)
    workflow.connect(
        [
            (workflow.get_node("conform"), mask, [("out_file", "in_file")]),
            (mask, outputnode, list(zip(("mask", "stripped", "to_template", "how", "bundle"), found, strict=True))),
        ]
    )
    if anatomy is not None:
        label = anatomy_node(anatomy, settings, sequence=reference, wanted=labelled or located, threads=threads)
        label.inputs.told = labelled
        workflow.connect(
            [
                (workflow.get_node("conform"), label, [("out_file", "in_file")]),
                (label, mask, [("mask", "found"), ("doubt", "doubt"), ("to_template", "placed")]),
                (label, outputnode, [("dseg", "dseg"), ("volumes", "volumes"), ("doubt", "doubt")]),
            ]
        )
    return workflow


def mask_node(settings: Settings, anatomy: Bundle | None) -> Node:
    """The search for the brain, with a network that labels whole heads where there is one."""
    return Node(
        BrainMask(
            skull_strip=settings.skull_strip,
            template=TEMPLATE,
            seed=settings.random_seed,
            sloppy=settings.sloppy,
            method=settings.brain_mask,
            **({"bundle": str(anatomy.path)} if anatomy else {}),
        ),
        name="mask",
    )


def anatomy_node(bundle: Bundle, settings: Settings, *, sequence: str, wanted: bool, threads: int) -> Node:
    """One run of a network that labels whole heads."""
    return Node(
        Anatomy(
            bundle=str(bundle.path),
            weights=bundle.sha256,
            wanted=wanted,
            sequence=sequence,
            skull_strip=settings.skull_strip,
            device=settings.device,
            low_mem=settings.low_mem,
            tta=settings.tta and bundle.recipe.learning.mirror,
            reproducible=settings.reproducible,
            threads=threads,
        ),
        name="anatomy",
    )


def init_sequence_wf(
    *,
    sequence: str,
    image: Path,
    settings: Settings,
    reference: str = "T1w",
    lesion_mask: Path | None = None,
    bias: bool = True,
    prepared: bool = False,
    computed: bool = False,
    in_place: bool = False,
    placed: bool = False,
    name: str | None = None,
) -> Workflow:
    """Conform, denoise on request, correct the bias field (not of a quantitative map), register to the reference.

    A ``prepared`` image, such as a crop, is taken to lie on its reference already; so is one that was computed from the
    same series (``in_place``), or is one slice. An ADC map is brought to 1e-3 mm²/s; where the reference is the
    trace image, it is not registered but must lie on it. ``computed``: as in `init_reference_wf`.

    Inputs: ``reference``; ``matrix`` where the sequence is ``placed`` by what it was computed from. A lesion mask is
    left out of what is compared.
    Outputs: ``image`` (corrected, on its own grid), ``plain`` (the same before its bias was corrected), ``matrix`` (its
    world to the reference's world).
    """
    workflow = Workflow(name=name or f"{slug(sequence)}_wf")
    inputnode = Node(IdentityInterface(["reference", "matrix"] if placed else ["reference"]), name="inputnode")
    plain, corrected = _corrected(
        workflow, image, settings, sequence=sequence, reference=False, bias=bias, computed=computed
    )
    outputnode = Node(IdentityInterface(["image", "plain", "matrix"]), name="outputnode")
    workflow.connect([(corrected, outputnode, [("out_file", "image")]), (plain, outputnode, [("out_file", "plain")])])
    workflow.add_nodes([inputnode])
    if placed:
        workflow.connect(inputnode, "matrix", outputnode, "matrix")
        return workflow
    if prepared or in_place or one_slice(image) is not None:
        outputnode.inputs.matrix = np.eye(4).tolist()
        return workflow
    if (reference, sequence) == PAIR:
        place = pair_node(image)
    else:
        place = Node(
            RegisterSequence(
                sequence=sequence,
                reference_name=reference,
                seed=settings.random_seed,
                **_lesion(lesion_mask),
            ),
            name="rigid",
        )
    workflow.connect(
        [
            (corrected, place, [("out_file", "in_file")]),
            (inputnode, place, [("reference", "reference")]),
            (place, outputnode, [("matrix", "matrix")]),
        ]
    )
    return workflow


def init_template_wf(
    *, settings: Settings, reference: str = "T1w", lesion_mask: Path | None = None, name: str = "template_wf"
) -> Workflow:
    """Register the reference to the template: affine, and SyN where an output space or a recipe asks for it.

    Inputs: ``image``, ``mask``, ``to_template`` (to begin with). A lesion mask is left out of what is compared.
    Outputs: ``matrix`` (reference world to template world), ``transforms`` (reference to template), ``inverse``.
    """
    workflow = Workflow(name=name)
    inputnode = Node(IdentityInterface(["image", "mask", "to_template"]), name="inputnode")
    register = Node(
        RegisterTemplate(
            template=TEMPLATE,
            reference_name=reference,
            nonlinear=wants_template_space(settings),
            fast=settings.fast,
            seed=settings.random_seed,
            sloppy=settings.sloppy,
            **_lesion(lesion_mask),
        ),
        name="register",
    )
    outputnode = Node(IdentityInterface(["matrix", "transforms", "inverse"]), name="outputnode")
    workflow.connect(
        [
            (inputnode, register, [("image", "in_file"), ("mask", "mask")]),
            (inputnode, register, [("to_template", "initial")]),
            (register, outputnode, [("matrix", "matrix"), ("transforms", "transforms"), ("inverse", "inverse")]),
        ]
    )
    return workflow


def _lesion(mask: Path | None) -> dict[str, str]:
    return {"lesion_mask": str(mask)} if mask else {}


def wants_template_space(settings: Settings) -> bool:
    """True when some output is asked for in the template's space."""
    return any(space.split(":")[0] not in ("T1w", "orig") for space in settings.output_spaces)


def _corrected(
    workflow: Workflow, image: Path, settings: Settings, *, sequence: str, reference: bool, bias: bool, computed: bool
) -> tuple[Node, Node]:
    """Add the steps that every sequence goes through; returns the last before the correction of the bias and the last
    of all, whose ``out_file`` is the image."""
    known: dict[str, object] = {} if computed else {"in_file": str(image)}
    if not computed and (thickness := slice_thickness(image, settings.bids_dir)) is not None:
        known["thickness"] = thickness
    last = Node(Conform(**known), name="conform")
    workflow.add_nodes([last])
    steps = [unit_node(image)] if sequence == "ADC" and not computed else []
    one = "thickness" in known  # what needs a volume is left out, and `Conform` says so
    steps += [Node(Denoise(), name="denoise")] if settings.denoise and not one else []
    for step in steps:
        workflow.connect(last, "out_file", step, "in_file")
        last = step
    if not bias or one or sequence in QUANTITATIVE:
        return last, last
    corrected = Node(CorrectBias(reference=reference, sequence=sequence, sloppy=settings.sloppy), name="bias")
    workflow.connect(last, "out_file", corrected, "in_file")
    return last, corrected
