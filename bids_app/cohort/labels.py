"""Which file holds a session's labels, and whether it can be right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bids_app.bids.naming import IMAGE_EXTENSIONS, parse_name, short_entity
from bids_app.bids.preflight import check_image
from bids_app.errors import TandemError
from bids_app.imaging.stacking import Grid, transform_points
from bids_app.imaging.voxels import is_mask, marked, read_voxels, whole_numbers
from bids_app.recipes.recipe import Recipe
from bids_app.text import some

#: A voxel of an MRI label with an edge outside this is a damaged header, mm.
PLAUSIBLE_MM = (0.05, 20.0)


def find_labels(recipe: Recipe, root: Path, participant: str, session: str | None) -> tuple[Path | None, str | None]:
    """The file of a derivative that holds a session's labels, as the recipe names it.

    Args:
        recipe: its ``labels`` name suffix and entities; an entity that they don't name may have any value.
        root: folder of the derivative.
        participant, session: labels.

    Returns:
        The file or None where nobody labelled this session; what is wrong where several fit.
    """
    wanted = {short_entity(name) or name: value or None for name, value in recipe.labels.entities.items()}
    home = root / f"sub-{participant}" / (f"ses-{session}" if session is not None else "")
    found = []
    for path in sorted(home.glob(f"*/*_{recipe.labels.suffix}.nii*")):
        entities, suffix, extension = parse_name(path)
        here = entities.get("sub") == participant and entities.get("ses") == session
        if here and suffix == recipe.labels.suffix and extension in IMAGE_EXTENSIONS:
            found += [path] if all(entities.get(name) == value for name, value in wanted.items()) else []
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        return None, f"{home}: several files fit the recipe's labels ({names}); name more of their entities in [labels]"
    return (found[0] if found else None), None


def check_labels(path: Path, recipe: Recipe, reference: Grid) -> tuple[list[str], list[str], frozenset[int] | None]:
    """Look for what cannot be right in a label image.

    Args:
        path: a dseg or mask, on any grid of the reference's world.
        recipe: whose regions' indices it may hold.
        reference: grid of the image that was labelled.

    Returns:
        What is wrong, what a person should know, and the indices that are labelled (None where it cannot be read).
    """
    import nibabel as nib

    try:
        check_image(path, head=False, constant=True)
        image = nib.load(path)
        values = read_voxels(image, path)
    except TandemError as error:
        text = str(error).removeprefix(f"{path} ")
        return [f"{path}: {text}"], [], None
    affine = np.asarray(image.affine, dtype=float)
    if trouble := _not_a_label_image(values, affine, mask=recipe.labels.suffix == "mask"):
        return [f"{path}: {trouble}"], [], None
    wrong, told = [], []
    as_mask = recipe.labels.suffix == "mask" and is_mask(values)
    numbers = marked(values).astype(np.int64) if as_mask else whole_numbers(values)
    assert numbers is not None  # others are no label image
    values = numbers
    allowed = {1} if recipe.labels.suffix == "mask" else {region.index for region in recipe.regions}
    there = frozenset(np.unique(values).tolist()) - {0}
    strange = sorted(there - allowed)
    if recipe.labels.others == "background":
        there -= frozenset(strange)
    elif strange:
        wrong.append(f"{path}: holds {some(strange)}; the recipe's regions are {some(sorted(allowed))}")
    values = np.where(np.isin(values, list(there)), values, 0)
    share = _share_inside(values, np.asarray(image.affine), reference)
    if share == 0:
        what = "its labelled voxels lie" if values.any() else "it lies"
        wrong.append(f"{path}: {what} outside the image: it is in another space than the labelled image")
    elif share < 0.99:
        told.append(f"{path.name}: {100 * (1 - share):.0f} % of its labelled voxels lie outside the image")
    return wrong, told, there


def _not_a_label_image(values: np.ndarray, affine: np.ndarray, *, mask: bool) -> str | None:
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if edges.min() < PLAUSIBLE_MM[0] or edges.max() > PLAUSIBLE_MM[1]:
        return f"its voxels would be {' x '.join(f'{e:g}' for e in edges)} mm: the affine cannot be right"
    if whole_numbers(values) is None and not (mask and is_mask(values)):
        return "holds values that are no whole numbers: was a probability map given?"
    return None


def _share_inside(values: np.ndarray, affine: np.ndarray, reference: Grid) -> float:
    """Part of the labelled voxels that lie in the reference's box; of an empty image's own box, 1 where they meet."""
    to_reference = np.linalg.inv(reference.affine) @ affine
    index = np.argwhere(values)
    if not len(index):
        ends = [np.linspace(0, n - 1, 16) for n in values.shape]
        index = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T
    place = transform_points(to_reference, index)
    inside = ((place > -1) & (place < np.asarray(reference.shape))).all(axis=1)
    return float(inside.mean()) if values.any() else float(inside.any())


def declared(recipe: Recipe, row: Mapping[str, str], lesion_column: str) -> bool | None:
    """Whether a participant's row says that there is a lesion; None where it says nothing.

    Of a column ``lesion``: 1, yes, true and present mean that there is one; 0, no, false, none and absent that there is
    none. Where a binary target of the recipe reads that column, its second level means that there is one.
    """
    value = row.get(lesion_column, "").strip().lower()
    for target in recipe.targets:
        if (target.column or target.name) == lesion_column and target.behaviour.level_count == 2 and target.levels:
            levels = [level.lower() for level in target.levels]
            return bool(levels.index(value)) if value in levels else None
    if value in ("1", "1.0", "yes", "true", "present"):
        return True
    return False if value in ("0", "0.0", "no", "false", "none", "absent") else None
