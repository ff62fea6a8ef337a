"""What a scanner makes of a phantom's head: contrast, grid, partial volume, bias field and noise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, reduce

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from bids_app.errors import UsageError
from bids_app.synthesis.heads.head import Ellipsoid, PhantomHead, load_tissue_maps, rotation, transform
from bids_app.synthesis.scanner import physics
from bids_app.synthesis.scanner.acquisition import Noise, ScannerStep, Shading, acquire

# Phantoms lie in a 3 T scanner, and hold these tissues.
FIELD_TESLA = 3.0
TISSUES = ("fluid", "grey", "white", "muscle", "fat", "bone")
SEQUENCES = ("T1w", "T2w", "FLAIR")

# A template is an average of many brains: this share of a T1w comes from it, the rest from tissue maps.
TEMPLATE_SHARE = 0.6
# Habenula: as if this share of it were white matter and the rest thalamus (it is richer in myelin than that).
HABENULA_WHITE_SHARE = (0.32, 0.08)
LATTICE_STEP = 3
SLAB = 16
# SciPy interpolates outside the interpreter lock; slabs are independent, so the result does not depend on this.
THREADS = 2
FINE_MM = {"left": 0.125, "right": 0.125}
COARSE_MM = 0.33
MOST_CELLS = 24
HEAD_GRID_MM = 2.0
#: Share of compact bone's signal that is left at the echo; a round number chosen here.
BONE_LEFT = 0.2


@dataclass(frozen=True)
class ScanGrid:
    """Voxels of a scan: ``shape`` and ``affine`` (voxel to scanner world, mm)."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size along each array axis, mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


@dataclass(frozen=True)
class PhantomScan:
    """How one scan is acquired.

    Attributes:
        sequence: one of ``SEQUENCES``.
        grid: its voxels.
        pose: participant world to scanner world, rigid, ``(4, 4)``.
        whole_head: with skull and scalp; without, everything outside the brain is exactly 0.
        noise: standard deviation as a share of the signal of white matter.
        bias: strength of the bias field, as the standard deviation of its logarithm.
        gain: value of white matter in the file.
    """

    sequence: str
    grid: ScanGrid
    pose: np.ndarray
    whole_head: bool = False
    noise: float = 0.025
    bias: float = 0.12
    gain: float = 700.0


def tissue_signal(sequence: str, tissue: str, *, factor: float = 1.0) -> float:
    """Signal of a tissue relative to white matter, from the signal equation of the sequence (see `physics`).

    ``factor`` scales the inversion time of a T1w or the echo time of a T2w, and so moves the contrast a little.
    """
    how, tissues = physics.pulse_sequence(sequence, FIELD_TESLA), physics.tissues(FIELD_TESLA)
    if sequence == "T1w":
        how = replace(how, inversion_ms=how.inversions[0] * factor)
    elif sequence == "T2w":
        how = replace(how, echo_ms=how.echo_ms * factor)
    return physics.signal(how, tissues[tissue]) / physics.signal(how, tissues["white"])


def acquisition_grid(
    head: PhantomHead,
    pose: np.ndarray,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    axes: str = "RAS",
    oblique_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    whole_head: bool = False,
    margin_mm: float = 6.0,
) -> ScanGrid:
    """A field of view that covers the brain, or the head.

    Args:
        head, pose: whose head, and how it lies in the scanner.
        spacing: voxel size in mm along right-left, anterior-posterior and inferior-superior.
        axes: orientation of the array axes as in ``nibabel.aff2axcodes``, for example ``"LIA"``.
        oblique_deg: turns of the slice block about the three axes.
        whole_head: cover skull and scalp too.
        margin_mm: air around what is covered.

    Raises:
        UsageError: a spacing that is not positive, or ``axes`` that do not name the three directions once each.
    """
    if min(spacing) <= 0:
        raise UsageError(f"voxel size {tuple(spacing)} must be positive in every direction")
    if sorted("RAS"["LPI".find(c)] if c in "LPI" else c for c in axes) != sorted("RAS"):
        raise UsageError(f"axes {axes!r} must name the three directions once each, for example RAS or LIA")
    turn = rotation(np.radians(oblique_deg))
    corners = head.deformation.to_participant(_outline(whole_head), iterations=8)
    corners = transform(pose, corners) @ turn
    low, high = corners.min(axis=0) - margin_mm, corners.max(axis=0) + margin_mm
    shape = np.ceil((high - low) / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = turn @ ((low + high) / 2 - (shape - 1) / 2 * np.array(spacing))
    orientation = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    affine = affine @ nib.orientations.inv_ornt_aff(orientation, tuple(shape))
    new_shape = np.empty(3, dtype=int)
    new_shape[orientation[:, 0].astype(int)] = shape
    first, second, third = (int(n) for n in new_shape)
    return ScanGrid((first, second, third), affine)


@lru_cache(maxsize=2)
def _outline(whole_head: bool) -> np.ndarray:
    """Points on the surface, template mm, that a field of view has to hold."""
    mask, affine = load_tissue_maps().brain > 0.5, load_tissue_maps().affine
    if whole_head:
        mask, affine = head_tissues()["inside"] > 0.5, head_tissues()["affine"]
    step = 2 if whole_head else 4
    mask = mask[::step, ::step, ::step]
    index = np.argwhere(mask & ~ndimage.binary_erosion(mask)) * step
    return transform(affine, index)


@lru_cache(maxsize=1)
def head_tissues() -> dict[str, np.ndarray]:
    """Shares of what lies around the template brain on a 2 mm grid: ``fluid``, ``bone``, ``marrow``, ``fat``,
    ``muscle``, ``cord``; beside them ``inside`` (the head, 0 or 1) and ``affine`` (voxel to template mm).

    Skull and scalp follow the distance from the closed brain; face, neck, spine, airways and eyes are simple solids.
    Coarse on purpose: enough for bias correction, brain extraction and registration to have a head to deal with.
    """
    template = load_tissue_maps()
    pad = 12
    coarse = np.pad(template.brain[::2, ::2, ::2] > 0.5, pad)
    affine = template.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] -= 2.0 * pad
    away = ndimage.distance_transform_edt(~coarse) * HEAD_GRID_MM
    closed = ndimage.distance_transform_edt(away <= 10) * HEAD_GRID_MM > 10
    away = ndimage.distance_transform_edt(~closed) * HEAD_GRID_MM
    axis = [np.arange(n, dtype=np.float32) * 2 + affine[k, 3] for k, n in enumerate(coarse.shape)]
    x, y, z = np.meshgrid(*axis, indexing="ij", sparse=True)
    neck = ((x / 52) ** 2 + ((y + 38) / 52) ** 2 < 1) & (z < -30)
    face = (x / 62) ** 2 + ((y - 30) / 62) ** 2 + ((z + 55) / 62) ** 2 < 1
    inside = (away < 14) | neck | face
    depth = ndimage.distance_transform_edt(inside) * HEAD_GRID_MM
    tissues = {"affine": affine, "inside": inside.astype(np.float32)}
    free = inside.copy()
    for name, where in _around_the_brain(x, y, z, away, depth):
        mine = where & free
        free &= ~mine
        tissues[name] = tissues.get(name, 0) + ndimage.gaussian_filter(mine.astype(np.float32), 0.5)
    return tissues


def _around_the_brain(x, y, z, away, depth) -> list[tuple[str, np.ndarray]]:
    """Tissues by name, those that come first lying over the others; ``away`` and ``depth``: mm from brain and skin."""
    canal = ((x / 9) ** 2 + ((y + 48) / 8) ** 2 < 1) & (z < -66)
    cord = ((x / 6) ** 2 + ((y + 48) / 4.5) ** 2 < 1) & (z < -66)
    spine = ((x / 13) ** 2 + ((y + 29) / 10) ** 2 < 1) & (z < -74)
    pharynx = ((x / 10) ** 2 + ((y + 4) / 7) ** 2 < 1) & (z < -48)
    nose = (((abs(x) - 7) / 5) ** 2 + ((y - 45) / 32) ** 2 + ((z + 50) / 15) ** 2 < 1) & (away > 8)
    antrum = ((abs(x) - 28) / 12) ** 2 + ((y - 52) / 13) ** 2 + ((z + 62) / 13) ** 2 < 1
    eyes = ((abs(x) - 33) / 12) ** 2 + ((y - 68) / 12) ** 2 + ((z + 36) / 12) ** 2 < 1
    orbits = ((abs(x) - 30) / 15) ** 2 + ((y - 55) / 26) ** 2 + ((z + 36) / 15) ** 2 < 1
    petrous = (((abs(x) - 40) / 20) ** 2 + ((y + 28) / 11) ** 2 + ((z + 44) / 10) ** 2 < 1) & (away > 2)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(away.shape, dtype=np.float32), 2.5)
    return [
        ("cord", cord & (away > 0)),
        ("fluid", canal | (away < 2) | eyes & (away >= 8)),
        ("bone", (away < 4) | (away >= 6) & (away < 8) | petrous),
        ("marrow", away < 6),
        ("air", nose | antrum | pharynx),
        ("fat", orbits | (depth > 1.5) & (depth < 6)),
        ("bone", spine & (z % 18 < 4)),
        ("marrow", spine),
        # fat fills the gaps between muscles: sheets where smooth noise crosses zero
        ("fat", abs(noise) < 0.15 * noise.std()),
        ("muscle", away >= 0),
    ]


def fractions(head: PhantomHead, scan: PhantomScan) -> dict[str, tuple[tuple[slice, ...], np.ndarray]]:
    """Share of each voxel that a structure fills: ``{name: (box of the grid, share)}``.

    Voxels around a habenula are divided into cells of at most 0.125 mm, so that shares add up to its volume.
    """
    solids = {
        "left": head.habenulae["left"],
        "right": head.habenulae["right"],
        "commissure": head.commissure,
        "pineal": head.pineal,
    }
    if head.cyst:
        solids["cyst"] = head.cyst
    return {
        name: _share(solid.moved(scan.pose), scan.grid, FINE_MM.get(name, COARSE_MM)) for name, solid in solids.items()
    }


def _share(solid: Ellipsoid, grid: ScanGrid, cell_mm: float) -> tuple[tuple[slice, ...], np.ndarray]:
    centre = np.linalg.solve(grid.affine, [*solid.centre, 1])[:3]
    reach = (solid.semi_axes.max() + cell_mm) / grid.spacing + 0.5
    low = np.maximum(np.ceil(centre - reach).astype(int), 0)
    high = np.minimum(np.floor(centre + reach).astype(int) + 1, grid.shape)
    cells = np.clip(np.ceil(grid.spacing / cell_mm), 1, MOST_CELLS).astype(int)
    axes = [
        (np.arange(a, b)[:, None] + (np.arange(c) + 0.5) / c - 0.5).ravel()
        for a, b, c in zip(low, high, cells, strict=True)
    ]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    points = transform(grid.affine, index)
    fine = solid.occupancy(points, float(np.cbrt(np.prod(grid.spacing / cells))))
    n = high - low
    share = fine.reshape(n[0], cells[0], n[1], cells[1], n[2], cells[2]).mean(axis=(1, 3, 5))
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)), share


def render(head: PhantomHead, scan: PhantomScan, rng: np.random.Generator) -> np.ndarray:
    """Draw one scan.

    Args:
        head: the participant.
        scan: sequence, grid, pose and quality.
        rng: of contrast, bias field and noise; the head does not depend on it.

    Returns:
        Intensities, float32, in the shape of ``scan.grid``; not below 0.
    """
    if scan.sequence not in SEQUENCES:
        raise UsageError(f"phantoms have no sequence {scan.sequence!r}; there are {', '.join(SEQUENCES)}")
    factor = float(np.exp(rng.normal(0, 0.05)))
    signal = {name: tissue_signal(scan.sequence, name, factor=factor) for name in TISSUES}
    volume = _template_signal(head, scan.sequence, signal)
    image, brain = _sample(head, scan, volume, signal)
    _blend_structures(image, head, scan, signal, rng)
    steps: list[ScannerStep] = [draw_shading(scan.bias, rng), draw_noise(scan.grid.shape, scan.noise, rng)]
    image = acquire(torch.from_numpy(image), steps).numpy()
    if not scan.whole_head:
        image *= brain > 0.5
    return image * np.float32(scan.gain)


def _template_signal(head: PhantomHead, sequence: str, signal: dict[str, float]) -> np.ndarray:
    """The template brain in the contrast of the sequence, white matter at 1, with the participant's own texture."""
    template = load_tissue_maps()
    image = (
        template.fluid * np.float32(signal["fluid"])
        + template.grey * np.float32(signal["grey"])
        + template.white * np.float32(signal["white"])
    )
    if sequence == "T1w":
        curve = np.interp(
            np.arange(256), [0, *template.levels, 255], [0, *(signal[t] for t in ("fluid", "grey", "white")), 1.05]
        ).astype(np.float32)
        own = curve[template.t1.astype(np.uint8)]
        image = TEMPLATE_SHARE * own + (1 - TEMPLATE_SHARE) * image
    return image * _texture(head.texture_seed)


@lru_cache(maxsize=1)
def _texture(seed: int) -> np.ndarray:
    """A participant's own fine structure: a factor around 1, coarser in fluid, where vessels and membranes lie."""
    fluid = load_tissue_maps().fluid
    noise = np.random.default_rng(seed).standard_normal(fluid.shape, dtype=np.float32)
    smooth = ndimage.uniform_filter(noise, 2)
    return 1 + (0.04 + 0.12 * fluid) * smooth


def _sample(head, scan: PhantomScan, volume: np.ndarray, signal: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate brain and head once, slab by slab, so that memory stays small."""
    template = load_tissue_maps()
    grid = scan.grid
    nodes = _template_points_on_lattice(head, scan)
    image = np.empty(grid.shape, dtype=np.float32)
    brain = np.empty(grid.shape, dtype=np.float32)
    around = _outer_signal(signal) if scan.whole_head else None
    thick = np.clip(np.round(grid.spacing / 1.3), 1, 4 if grid.spacing.min() < 2 else 2).astype(int)

    def fill(start: int) -> None:
        stop = min(start + SLAB, grid.shape[0])
        values, inside = 0.0, 0.0
        for offset in _offsets(thick):
            points = _upsample(nodes, range(start, stop), grid.shape, offset)
            index = points - template.affine[:3, 3].reshape(3, 1, 1, 1).astype(np.float32)
            mask = ndimage.map_coordinates(template.brain, index, order=1)
            part = np.zeros_like(mask)
            part[mask > 0] = ndimage.map_coordinates(volume, index[:, mask > 0], order=1)
            if around is not None:
                outer, outer_affine = around
                out = mask < 1
                index = (points[:, out] - outer_affine[:3, 3:].astype(np.float32)) / np.float32(HEAD_GRID_MM)
                part[out] += (1 - mask[out]) * ndimage.map_coordinates(outer, index, order=1)
            values, inside = values + part, inside + mask
        image[start:stop], brain[start:stop] = values / np.prod(thick), inside / np.prod(thick)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(0, grid.shape[0], SLAB)))
    return image, brain


def _offsets(thick: np.ndarray) -> list[tuple[float, float, float]]:
    """Sub-positions, in voxels, over which a thick voxel is averaged."""
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in thick]
    return [(float(a), float(b), float(c)) for a in axes[0] for b in axes[1] for c in axes[2]]


def _template_points_on_lattice(head: PhantomHead, scan: PhantomScan) -> np.ndarray:
    """TissueMaps world points, ``(3, a, b, c)``, of every third voxel (and one step beyond the edges)."""
    axes = [np.arange(-LATTICE_STEP, n + 2 * LATTICE_STEP, LATTICE_STEP) for n in scan.grid.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    to_participant = np.linalg.inv(scan.pose) @ scan.grid.affine
    points = transform(to_participant, index)
    return np.moveaxis(head.deformation.to_template(points), -1, 0).astype(np.float32)


def _upsample(nodes: np.ndarray, rows: range, shape: tuple[int, ...], offset) -> np.ndarray:
    """Linear interpolation of the lattice at voxels ``rows`` of the first axis and all of the other two."""
    result = nodes
    for axis, positions in enumerate((np.array(rows), np.arange(shape[1]), np.arange(shape[2]))):
        where = (positions + offset[axis]) / LATTICE_STEP + 1
        low = np.floor(where).astype(int)
        weight = (where - low).astype(np.float32).reshape([-1 if k == axis + 1 else 1 for k in range(4)])
        result = result.take(low, axis + 1) * (1 - weight) + result.take(low + 1, axis + 1) * weight
    return result


def _outer_signal(signal: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    tissues = head_tissues()
    levels = {tissue: signal[tissue] for tissue in ("fluid", "fat", "muscle")}
    # Fat is shifted and partly suppressed on real scans; its full signal would dwarf the brain.
    levels["fat"] = min(levels["fat"], 1.1)
    levels["marrow"] = 0.45 * levels["fat"]
    levels["cord"] = (signal["grey"] + signal["white"]) / 2
    # the equations take an echo as short beside T2*, and compact bone has none left (T2* below 1 ms)
    levels["bone"] = BONE_LEFT * signal["bone"]
    parts = [np.float32(level) * tissues[name] for name, level in levels.items()]
    return reduce(np.add, parts), tissues["affine"]


def _blend_structures(
    image, head: PhantomHead, scan: PhantomScan, signal: dict[str, float], rng: np.random.Generator
) -> None:
    """Put the small structures into the image, each voxel mixed by the share it is filled."""
    white_share = float(np.clip(rng.normal(*HABENULA_WHITE_SHARE), 0.2, 0.6))
    between = signal["grey"] + (signal["white"] - signal["grey"]) * white_share
    commissure = signal["grey"] + 0.3 * (signal["white"] - signal["grey"])
    pineal = 0.85 * signal["grey"] + 0.15 * signal["fluid"]
    levels = {"pineal": pineal, "cyst": signal["fluid"], "commissure": commissure, "left": between, "right": between}
    shares = fractions(head, scan)
    for name, level in levels.items():
        if name in shares:
            box, share = shares[name]
            image[box] = image[box] * (1 - share) + level * share


def draw_shading(spread: float, rng: np.random.Generator) -> Shading:
    """A coil's field that bends smoothly through four random nodes along each axis; see `Shading`."""
    nodes = np.linspace(0.5, 2.5, 24)
    field = ndimage.map_coordinates(
        rng.normal(size=(4, 4, 4)), np.meshgrid(nodes, nodes, nodes, indexing="ij"), order=3
    )
    field = spread * (field - field.mean()) / field.std()
    return Shading(torch.from_numpy(field.astype(np.float32))[None, None])


def draw_noise(shape: tuple[int, ...], level: float, rng: np.random.Generator) -> Noise:
    """Complex noise of a standard deviation; see `Noise`."""
    parts = (torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) for _ in range(2))
    return Noise(level, tuple(parts))
