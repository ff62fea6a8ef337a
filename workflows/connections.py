"""Maps of a series' connections in the graph of a session: seeds, and networks that a person gives."""

from __future__ import annotations

from pathlib import Path

from nipype.pipeline.engine import Node, Workflow

from bids_app.bids.digest import sha256_of
from bids_app.bids.selection import Selection
from bids_app.recipes.recipe import ANATOMY, Recipe, SequenceSpec
from bids_app.recipes.seeds import Seed
from workflows.interfaces.connections import NetworkMap, SeedMap
from workflows.seeds import connection_maps

#: Begins the name of the graph of a bundle that runs for a seed alone.
FOR_A_SEED = "seed_in_"


def connect_connections(
    workflow: Workflow,
    recipes: list[Recipe],
    selection: Selection,
    series: dict[Path, Workflow],
    into: dict[str, Workflow],
    template_wf: Workflow | None,
    labels: dict[str, tuple[Workflow, Recipe]],
) -> None:
    """Give every map of connections what it is computed from.

    Args:
        workflow: of the session.
        series: workflow of every resting-state series, by its file.
        into: workflow of every sequence but the reference, by its name.
        template_wf: of the reference.
        labels: for each recipe in whose regions there are seeds the workflow with the output ``dseg`` (and ``doubt``
            of whole heads), and the recipe as its bundle has it.
    """
    for name, sequence in connection_maps(recipes).items():
        choice = selection.choices.get(name)
        if choice is None or choice.path is None or template_wf is None:
            continue
        node = map_node(sequence)
        made = series[choice.path]
        of_series = [(f"outputnode.{field}", field) for field in ("courses", "mask", "matrix")]
        of_series += [("outputnode.freedom", "freedom")] if sequence.dual_regression else []
        workflow.connect(
            [
                (made, node, of_series),
                (template_wf, node, [("outputnode.matrix", "to_template")]),
                (node, into[name], [("out_file", "conform.in_file")]),
            ]
        )
        if sequence.seed and sequence.seed.recipe:
            found, recipe = labels[sequence.seed.recipe]
            node.inputs.indices = [one.index for one in recipe.regions if one.name in sequence.seed.regions]
            doubt = [("outputnode.doubt", "doubt")] if recipe.name == ANATOMY else []
            workflow.connect([(found, node, [("outputnode.dseg", "labels"), *doubt])])


def map_node(sequence: SequenceSpec) -> Node:
    """The node of one map."""
    name, part = f"map_{sequence.name}", sequence.dual_regression
    if part is not None:
        path = Path(part.file)
        more = {"networks": str(path), "digest": sha256_of(path), "volume": part.volume}
        return Node(NetworkMap(sequence=sequence.name, words=part.words(), **more), name=name)
    seed = sequence.seed or Seed()
    points = [[float(v) for v in point] for point in seed.points_mm]
    return Node(SeedMap(sequence=sequence.name, words=seed.words(), points=points, radius=seed.radius), name=name)
