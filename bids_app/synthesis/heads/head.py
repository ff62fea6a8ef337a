"""The anatomy of a phantom participant: a deformed template with habenulae of known size.

Brain tissue comes from the ICBM152 maps inside nilearn (T1w, grey and white matter; MNI152NLin2009aSym). The habenulae,
the commissure between them and the pineal gland are ellipsoids in the participant's own space, so that their volume is
known exactly and does not suffer from the deformation. World coordinates are RAS millimetres throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from bids_app.errors import InputMissing

TEMPLATE_NAME = "MNI152NLin2009aSym"

# Position: CIT168 (Pauli 2018) centroids in MNI space. Size: 1001 HCP participants; shape: 51 of their masks.
HABENULA_CENTRE_MM = {"left": (-3.0, -23.9, 2.6), "right": (3.3, -23.2, 2.5)}
HABENULA_CENTRE_SD_MM = 0.5
HABENULA_MEAN_MM3 = {"left": 16.7, "right": 17.7}
HABENULA_SD_MM3 = 3.6
HABENULA_SIDE_CORRELATION = 0.455
HABENULA_SMALLEST_MM3 = 8.0
HABENULA_SEMI_AXES_MM = (1.25, 1.62, 2.03)

# A habenula bulges into the third ventricle: its centre lies this share of its semi-axis inside the wall.
DEPTH_IN_WALL = (0.9, 0.12)

LATTICE_SPACING_MM = 20.0
LATTICE_EXTENT_MM = ((-140.0, 140.0), (-180.0, 140.0), (-140.0, 140.0))
VENTRICLE_CENTRE_MM = (0.0, -14.0, 2.0)


@dataclass(frozen=True)
class TissueMaps:
    """Tissue maps of the template brain.

    Attributes:
        t1: shape ``(x, y, z)``, intensity as distributed (0 to 255), skull-stripped, own habenulae toned down.
        grey, white, fluid: fractions in [0, 1].
        brain: 1 inside the brain, 0 outside, float32.
        affine: voxel to world, mm.
        levels: mean T1w intensity of pure fluid, grey and white matter.
    """

    t1: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    fluid: np.ndarray
    brain: np.ndarray
    affine: np.ndarray
    levels: tuple[float, float, float]


@dataclass(frozen=True)
class Ellipsoid:
    """A solid of exactly known volume.

    Attributes:
        centre: world, mm.
        semi_axes: mm.
        rotation: shape ``(3, 3)``, rows are the directions of the semi-axes.
    """

    centre: np.ndarray
    semi_axes: np.ndarray
    rotation: np.ndarray

    @property
    def volume(self) -> float:
        """Volume in mm³."""
        return float(4 / 3 * np.pi * np.prod(self.semi_axes))

    def occupancy(self, points: np.ndarray, width: float) -> np.ndarray:
        """Share of a small cell of edge ``width`` (mm) around each of ``points`` ``(..., 3)`` that lies inside."""
        local = np.einsum("ij,...j->...i", self.rotation / self.semi_axes[:, None], points - self.centre)
        radius = np.linalg.norm(local, axis=-1)
        slope = np.linalg.norm(local / self.semi_axes, axis=-1)
        distance = radius * (radius - 1) / np.maximum(slope, 1e-9)
        inside = np.clip(0.5 - distance / width, 0, 1)
        return np.where(radius < 1e-6, 1.0, inside)

    def moved(self, pose: np.ndarray) -> Ellipsoid:
        """The same solid after the rigid motion or mirroring ``pose`` ``(4, 4)``."""
        return Ellipsoid(pose[:3, :3] @ self.centre + pose[:3, 3], self.semi_axes, self.rotation @ pose[:3, :3].T)


@dataclass(frozen=True)
class Deformation:
    """Participant world to template world: an affine, a smooth random part and a wider or narrower third ventricle.

    Attributes:
        affine: shape ``(4, 4)``.
        coefficients: cubic B-spline coefficients of the displacement, mm, shape ``(3, nx, ny, nz)``.
        widening: by how much each wall of the third ventricle moves outwards, mm.
    """

    affine: np.ndarray
    coefficients: np.ndarray
    widening: float

    def to_template(self, points: np.ndarray) -> np.ndarray:
        """Carry participant points ``(..., 3)`` to the template."""
        linear = transform(self.affine, points)
        shape = np.array(self.coefficients.shape[1:])
        low = np.array([a for a, _ in LATTICE_EXTENT_MM])
        index = np.clip((linear - low) / LATTICE_SPACING_MM, 0, shape - 1)
        index = index.reshape(-1, 3).T
        shift = [ndimage.map_coordinates(c, index, order=3, mode="nearest", prefilter=False) for c in self.coefficients]
        moved = linear + np.stack(shift, axis=-1).reshape(linear.shape)
        near = np.exp(-np.sum(((linear - VENTRICLE_CENTRE_MM) / (8.0, 16.0, 12.0)) ** 2, axis=-1))
        moved[..., 0] -= self.widening * near * np.tanh(linear[..., 0] / 3.0)
        return moved

    def to_participant(self, points: np.ndarray, iterations: int = 40) -> np.ndarray:
        """Carry template points ``(..., 3)`` to the participant, by fixed-point iteration."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        found = (points - self.affine[:3, 3]) @ inverse.T
        for _ in range(iterations):
            found = found - (self.to_template(found) - points) @ inverse.T
        return found


@dataclass(frozen=True)
class PhantomHead:
    """One participant. Structures are in participant world; left and right are the participant's own.

    Attributes:
        deformation: participant to template.
        habenulae: ``{"left": ..., "right": ...}``.
        commissure, pineal, cyst: around the habenulae; ``cyst`` lies in the pineal gland and may be absent.
        texture_seed: of the fine texture, the same in all of the participant's scans.
    """

    deformation: Deformation
    habenulae: dict[str, Ellipsoid]
    commissure: Ellipsoid
    pineal: Ellipsoid
    cyst: Ellipsoid | None
    texture_seed: int

    def mirrored(self) -> PhantomHead:
        """The mirror image: what was left is right."""
        mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
        coefficients = self.deformation.coefficients[:, ::-1].copy()
        coefficients[0] *= -1
        affine = mirror @ self.deformation.affine @ mirror
        return replace(
            self,
            deformation=replace(self.deformation, affine=affine, coefficients=coefficients),
            habenulae={
                "left": self.habenulae["right"].moved(mirror),
                "right": self.habenulae["left"].moved(mirror),
            },
            commissure=self.commissure.moved(mirror),
            pineal=self.pineal.moved(mirror),
            cyst=self.cyst.moved(mirror) if self.cyst else None,
        )


@lru_cache(maxsize=1)
def load_tissue_maps() -> TissueMaps:
    """Read the tissue maps that nilearn carries, without importing nilearn.

    Raises:
        InputMissing: nilearn, or its packaged template, is not installed.
    """
    maps = {}
    for name in ("t1", "gm", "wm"):
        image = nib.load(_template_file(name))
        maps[name] = np.asarray(image.dataobj, dtype=np.float32)
    low, high = _extent(maps["t1"] > 0)
    maps = {name: array[tuple(map(slice, low, high))] for name, array in maps.items()}
    affine = image.affine.copy()
    affine[:3, 3] += low
    grey, white = maps["gm"] / 255, maps["wm"] / 255
    brain = (maps["t1"] > 0).astype(np.float32)
    fluid = np.clip(brain - grey - white, 0, 1)
    levels = _levels(maps["t1"][::2, ::2, ::2], grey[::2, ::2, ::2], white[::2, ::2, ::2])
    t1, grey, white = _without_own_habenulae(maps["t1"], grey, white, affine)
    return TissueMaps(t1, grey, white, fluid, brain, affine, levels)


def _template_file(name: str) -> Path:
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise InputMissing(
            "nilearn is not installed; phantoms are made from the template inside it (pip install nilearn)"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"
    path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise InputMissing(f"{path} is missing; reinstall nilearn, whose packaged template phantoms are made from")
    return path


def _extent(mask: np.ndarray, margin: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last index of what is in ``mask``, with some room around it."""
    there = [np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis))) for axis in range(3)]
    low = np.maximum([t[0] - margin for t in there], 0)
    return low, np.minimum([t[-1] + 1 + margin for t in there], mask.shape)


def _levels(t1: np.ndarray, grey: np.ndarray, white: np.ndarray) -> tuple[float, float, float]:
    """Mean T1w intensity of fluid, grey and white matter, well inside a brain that is sampled every 2 mm."""
    deep = ndimage.distance_transform_edt(t1 > 0) > 6
    pure = deep & (grey + white < 0.02), deep & (grey > 0.95), deep & (white > 0.98)
    in_fluid, in_grey, in_white = (float(t1[where].mean()) for where in pure)
    return in_fluid, in_grey, in_white


def _without_own_habenulae(t1, grey, white, affine):
    """Give the template's own habenulae the signal of the thalamus beside them; the wall of the ventricle stays."""
    t1, grey, white = t1.copy(), grey.copy(), white.copy()
    world = [w + affine[axis, 3] for axis, w in enumerate(np.ogrid[tuple(slice(n) for n in t1.shape)])]
    for side in (-1, 1):
        offset = [(world[0] - side * 3.3) / 3.5, (world[1] + 23.5) / 4.5, (world[2] - 2.6) / 5.0]
        near = sum(o * o for o in offset) < 1
        thalamus = 172.0
        t1[near] = np.minimum(t1[near], thalamus)
        grey[near] = np.clip(grey[near] + white[near], 0, 1)
        white[near] = 0
    return t1, grey, white


def transform(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply ``affine`` ``(4, 4)`` to ``points`` ``(..., 3)``; not by BLAS, whose threads would change the last bits."""
    return np.einsum("ij,...j->...i", affine[:3, :3], points) + affine[:3, 3]


def draw_volumes(rng: np.random.Generator, *, shift: float = 0.0) -> dict[str, float]:
    """Draw the volume of both habenulae in mm³, correlated between the sides; ``shift`` moves the mean."""
    common, left, right = rng.normal(size=3)
    share = HABENULA_SIDE_CORRELATION**0.5, (1 - HABENULA_SIDE_CORRELATION) ** 0.5
    own = {"left": left, "right": right}
    drawn = {s: HABENULA_MEAN_MM3[s] + shift + HABENULA_SD_MM3 * (share[0] * common + share[1] * own[s]) for s in own}
    return {side: float(max(volume, HABENULA_SMALLEST_MM3)) for side, volume in drawn.items()}


def draw_head(
    rng: np.random.Generator,
    *,
    volumes: dict[str, float] | None = None,
    widening: float | None = None,
    asymmetry: float = 0.5,
    strength: float = 1.0,
) -> PhantomHead:
    """Draw one participant.

    Args:
        rng: where the randomness comes from; the same state gives the same participant.
        volumes: of the left and right habenula, mm³; drawn when not given.
        widening: of the third ventricle, mm per wall; drawn from -0.4 to 1.0 when not given.
        asymmetry: share of the left-right antisymmetric part of the random deformation that is kept, 0 to 1.
        strength: factor on all deviations from the template's shape; 0 gives the template itself.
    """
    volumes = volumes or draw_volumes(rng)
    drawn_widening = float(rng.uniform(-0.4, 1.0))
    deformation = Deformation(
        affine=_draw_affine(rng, strength),
        coefficients=_draw_coefficients(rng, asymmetry, strength),
        widening=drawn_widening if widening is None else widening,
    )
    habenulae = {side: _draw_habenula(rng, deformation, side, volumes[side]) for side in ("left", "right")}
    middle = deformation.to_template((habenulae["left"].centre + habenulae["right"].centre) / 2)
    commissure = _draw_midline(rng, deformation, middle + np.array((0, -2.0, -0.3)), (3.0, 0.6, 0.7), 0.2)
    pineal = _draw_midline(rng, deformation, middle + np.array((0, -5.2, -1.3)), (2.4, 3.2, 2.0), 0.6)
    cyst = _draw_midline(rng, deformation, middle + np.array((0, -5.6, -1.3)), (0.9, 1.3, 0.8), 0.2)
    has_cyst = rng.random() < 0.4
    return PhantomHead(deformation, habenulae, commissure, pineal, cyst if has_cyst else None, int(rng.integers(2**31)))


def _draw_affine(rng: np.random.Generator, strength: float) -> np.ndarray:
    scale = np.exp(strength * rng.normal(0, 0.035, 3))
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = strength * rng.normal(0, 0.01, 3)
    affine = np.eye(4)
    affine[:3, :3] = shear @ np.diag(scale)
    return affine


def _draw_coefficients(rng: np.random.Generator, asymmetry: float, strength: float) -> np.ndarray:
    """Spline coefficients of a displacement that is smooth over about 4 cm and at most a few millimetres large."""
    shape = [round((b - a) / LATTICE_SPACING_MM) + 1 for a, b in LATTICE_EXTENT_MM]
    noise = rng.normal(size=(3, *shape))
    broad = ndimage.gaussian_filter(noise, (0, 1.6, 1.6, 1.6))
    fine = ndimage.gaussian_filter(rng.normal(size=(3, *shape)), (0, 0.6, 0.6, 0.6))
    field = 3.0 * broad / broad.std() + 0.6 * fine / fine.std()
    mirrored = field[:, ::-1] * np.array([-1, 1, 1])[:, None, None, None]
    return strength * ((field + mirrored) / 2 + asymmetry * (field - mirrored) / 2)


def _draw_habenula(rng: np.random.Generator, deformation: Deformation, side: str, volume: float) -> Ellipsoid:
    semi_axes = np.array(HABENULA_SEMI_AXES_MM) * np.exp(rng.normal(0, 0.06, 3))
    semi_axes *= (volume / (4 / 3 * np.pi * np.prod(semi_axes))) ** (1 / 3)
    centre = np.array(HABENULA_CENTRE_MM[side]) + rng.normal(0, HABENULA_CENTRE_SD_MM, 3)
    depth = max(0.3, rng.normal(*DEPTH_IN_WALL)) * semi_axes[0]
    sign = -1 if side == "left" else 1
    centre[0] = sign * (_ventricle_wall(centre[1], centre[2], abs(centre[0]) - depth) + depth)
    turn = rotation(rng.normal(0, np.radians(8), 3))
    return Ellipsoid(deformation.to_participant(centre), semi_axes, turn)


def _ventricle_wall(y: float, z: float, otherwise: float) -> float:
    """Distance of the third ventricle's wall from the midline at ``(y, z)`` of the template, mm."""
    template = load_tissue_maps()
    x = np.arange(0.0, 5.0, 0.05)
    points = np.stack([x, np.full_like(x, y), np.full_like(x, z)]) - template.affine[:3, 3:]
    fluid = ndimage.map_coordinates(template.fluid, points, order=1)
    solid = np.flatnonzero(fluid < 0.5)
    if fluid[0] < 0.5 or not len(solid):
        return otherwise
    return float(x[solid[0]])


def _draw_midline(rng, deformation: Deformation, centre, semi_axes, jitter: float) -> Ellipsoid:
    semi_axes = np.array(semi_axes) * np.exp(rng.normal(0, 0.12, 3))
    place = np.asarray(centre) + rng.normal(0, jitter, 3) * (0.5, 1, 1)
    return Ellipsoid(deformation.to_participant(place), semi_axes, rotation(rng.normal(0, np.radians(6), 3)))


def rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix ``(3, 3)`` of three successive turns about x, y and z, radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        a, b = [k for k in range(3) if k != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def draw_pose(rng: np.random.Generator, *, turn_deg: float = 4.0, shift_mm: float = 6.0) -> np.ndarray:
    """Draw how the head lies in the scanner: participant world to scanner world, rigid, ``(4, 4)``."""
    pose = np.eye(4)
    pose[:3, :3] = rotation(rng.normal(0, np.radians(turn_deg), 3))
    pose[:3, 3] = rng.normal(0, shift_mm, 3)
    return pose
