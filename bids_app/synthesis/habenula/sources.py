"""Where habenula scans are drawn from: label maps and real T1w brains, each with the CIT168 habenula carried over.

Every source ends as a cube of :data:`SIDE_MM` mm at :data:`SPACING_MM` mm whose axes are the template's (rigidly turned
to the brain, never scaled), with the template's habenula site at its centre.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from bids_app.bids.files import write_arrays
from bids_app.errors import InputMissing

#: Template position between the two habenulae (CIT168, MNI152NLin2009c world, mm).
SITE_MM = (0.0, -23.5, 2.7)
SIDE_MM = 56.0
SPACING_MM = 0.5
#: The cube in which CIT168 is bent to the brain, mm, and its spacing.
BEND_MM = 56.0
BEND_SPACING_MM = 1.0
ATLAS_T1W = "habenula_atlas/CIT168toMNI152-2009c_T1w_brain.nii.gz"
ATLAS_PROBABILITY = "habenula_atlas/CIT168_HN_{side}_prob_on_T1w.nii.gz"

#: Label maps that never train; calibration and the simulator's figures come from them.
HELD_OUT = frozenset({"training_seg_17", "training_seg_18", "training_seg_19", "training_seg_20"})
#: Real brains that training may use, relative to the data root; whether each comes without its skull.
REAL = {
    "CIT168": (ATLAS_T1W, True),
    "ms/sub-07": ("ms/sub-07/anat/sub-07_T1w.nii.gz", True),
    "ms/sub-26": ("ms/sub-26/anat/sub-26_T1w.nii.gz", True),
    "ms/sub-26_ce-gadolinium": ("ms/sub-26/anat/sub-26_ce-gadolinium_T1w.nii.gz", True),
    "heads/sub-t1a": ("heads/sub-t1a/anat/sub-t1a_T1w.nii.gz", False),
    "ms_two_visits/sub-01_ses-1": ("ms_two_visits/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", False),
    "ms_two_visits/sub-01_ses-2": ("ms_two_visits/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", False),
}
#: Brightness of FreeSurfer labels in a T1-like rendering; what is not listed (skull, air) is 0.
T1_LIKE = {
    **dict.fromkeys((2, 41, 25, 57), 110),
    **dict.fromkeys((3, 42), 72),
    **dict.fromkeys((10, 49), 86),
    **dict.fromkeys((11, 50), 76),
    **dict.fromkeys((12, 51), 80),
    **dict.fromkeys((13, 52), 96),
    **dict.fromkeys((17, 18, 53, 54, 26, 58), 74),
    **dict.fromkeys((28, 60, 16), 98),
    **dict.fromkeys((7, 46), 104),
    **dict.fromkeys((8, 47), 70),
    **dict.fromkeys((4, 5, 14, 15, 43, 44, 24, 72), 22),
    **dict.fromkeys((30, 62, 85), 60),
    **dict.fromkeys((136, 137, 163, 164), 30),
}

log = logging.getLogger(__name__)


def cube_affine(template_to_native: np.ndarray, side_mm: float, spacing_mm: float) -> np.ndarray:
    """Voxel to native world of a cube centred on the habenula site, axes the template's without its scaling."""
    u, _, vt = np.linalg.svd(template_to_native[:3, :3])
    rotation = u @ vt
    centre = template_to_native[:3, :3] @ np.array(SITE_MM) + template_to_native[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing_mm
    half = (round(side_mm / spacing_mm) - 1) / 2
    affine[:3, 3] = centre - affine[:3, :3] @ np.full(3, half)
    return affine


def sample(array: np.ndarray, to_voxel: np.ndarray, shape: tuple[int, ...], order: int = 1) -> np.ndarray:
    """Read ``array`` at every voxel of a grid; ``to_voxel`` is grid voxel to array voxel, ``(4, 4)``."""
    from scipy.ndimage import affine_transform

    return affine_transform(array, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=order)


def affine_to_atlas(image: np.ndarray, affine: np.ndarray, atlas: Path, *, stripped: bool) -> np.ndarray:
    """Template world to image world, ``(4, 4)``: ANTs, Mattes, at 2 mm, masked to the brain for whole heads."""
    import ants
    import nibabel as nib
    from nibabel.processing import resample_to_output

    fixed_image = resample_to_output(nib.load(atlas), 2.0, order=1)
    moving_image = resample_to_output(nib.Nifti1Image(image.astype(np.float32), affine), 2.0, order=1)
    fixed, moving = _to_ants(fixed_image), _to_ants(moving_image)
    mask = None if stripped else ants.iMath(ants.threshold_image(fixed, 1e-3, np.inf), "MD", 2)
    found = ants.registration(
        fixed,
        moving,
        type_of_transform="AffineFast" if stripped else "Affine",
        mask=mask,
        random_seed=1,
        aff_metric="mattes",
    )
    return _ants_matrix(ants.read_transform(found["fwdtransforms"][0]))


def carry_over(image: np.ndarray, affine: np.ndarray, data_root: Path, *, stripped: bool) -> dict[str, np.ndarray]:
    """CIT168's habenula on one brain: affine at 2 mm, then SyN (cross-correlation) at 1 mm around the thalamus.

    Args:
        image: T1w (or a T1w-like rendering), shape ``(x, y, z)``.
        affine: voxel to world, mm.
        stripped: whether the skull is already gone.

    Returns:
        ``probability`` ``(2, n, n, n)`` on the 0.5 mm cube, ``to_world`` of the cube, ``template_to_native``.
    """
    import ants
    import nibabel as nib

    atlas = nib.load(data_root / ATLAS_T1W)
    template_to_native = affine_to_atlas(image, affine, data_root / ATLAS_T1W, stripped=stripped)
    bend = cube_affine(template_to_native, BEND_MM, BEND_SPACING_MM)
    n = round(BEND_MM / BEND_SPACING_MM)
    own = sample(image.astype(np.float32), np.linalg.inv(affine) @ bend, (n,) * 3)
    bend_to_atlas = np.linalg.inv(atlas.affine) @ np.linalg.inv(template_to_native) @ bend
    template = sample(atlas.get_fdata(dtype=np.float32), bend_to_atlas, (n,) * 3)
    fixed, moving = (ants.from_numpy(_squash(a), spacing=(BEND_SPACING_MM,) * 3) for a in (own, template))
    found = ants.registration(
        fixed,
        moving,
        type_of_transform="SyNOnly",
        initial_transform="Identity",
        syn_metric="CC",
        syn_sampling=2,
        reg_iterations=(40, 3),
        flow_sigma=3,
        total_sigma=0.5,
        random_seed=1,
    )
    cube = cube_affine(template_to_native, SIDE_MM, SPACING_MM)
    m = round(SIDE_MM / SPACING_MM)
    origin = (np.linalg.inv(bend) @ cube)[:3, 3] * BEND_SPACING_MM
    fine = ants.from_numpy(np.zeros((m,) * 3, np.float32), spacing=(SPACING_MM,) * 3, origin=tuple(origin))
    probability = []
    for side in "LR":
        prior = nib.load(data_root / ATLAS_PROBABILITY.format(side=side)).get_fdata(dtype=np.float32)
        moved = ants.from_numpy(sample(prior, bend_to_atlas, (n,) * 3), spacing=(BEND_SPACING_MM,) * 3)
        warped = ants.apply_transforms(fine, moved, found["fwdtransforms"], interpolator="linear")
        probability.append(warped.numpy().clip(0, 1))
    return {"probability": np.stack(probability), "to_world": cube, "template_to_native": template_to_native}


def prepare_sources(data_root: Path, out_dir: Path) -> list[Path]:
    """Make every source once, as ``out_dir/<name>.npz``; what is there already is kept.

    Raises:
        InputMissing: neither a label map nor a real brain is under ``data_root``.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    made = [
        _prepare(data_root, out_dir, name, data_root / path, "t1w", stripped)
        for name, (path, stripped) in REAL.items()
        if (data_root / path).is_file()
    ]
    made.append(_prepare(data_root, out_dir, "nilearn", None, "t1w", True))
    for path in sorted((data_root / "labelmaps").glob("training_seg_*.nii.gz")):
        made.append(_prepare(data_root, out_dir, path.name.removesuffix(".nii.gz"), path, "labels", True))
    if len(made) < 2:
        raise InputMissing(f"no label map and no T1w brain under {data_root}; see REAL in {__name__} for what is used")
    return made


def source_path(name: str, data_root: Path) -> Path | None:
    """The file that a source was made from; None for the template inside nilearn."""
    if name in REAL:
        return data_root / REAL[name][0]
    return None if name == "nilearn" else data_root / "labelmaps" / f"{name}.nii.gz"


def _prepare(data_root: Path, out_dir: Path, name: str, path: Path | None, kind: str, stripped: bool) -> Path:
    import nibabel as nib
    from nilearn.datasets import load_mni152_template

    target = out_dir / f"{name.replace('/', '_')}.npz"
    if target.is_file():
        return target
    image = load_mni152_template(resolution=1) if path is None else nib.load(path)
    array = image.get_fdata(dtype=np.float32)
    carried = carry_over(_render(array) if kind == "labels" else array, image.affine, data_root, stripped=stripped)
    n = carried["probability"].shape[-1]
    to_voxel = np.linalg.inv(image.affine) @ carried["to_world"]
    cube = _upsample_labels(array, to_voxel, n) if kind == "labels" else sample(array, to_voxel, (n,) * 3, order=3)
    write_arrays(target, {"name": name, "kind": kind, "image": cube, **carried}, compressed=True)
    log.info("source %s ready", name)
    return target


def _render(labels: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    table = np.zeros(int(labels.max()) + 1, np.float32)
    for label, value in T1_LIKE.items():
        if label < table.size:
            table[label] = value
    return gaussian_filter(table[labels.astype(int)], 0.5)


def _upsample_labels(labels: np.ndarray, to_voxel: np.ndarray, n: int) -> np.ndarray:
    """The label whose smoothed membership is largest at each voxel: no staircase from the 1 mm grid."""
    from scipy.ndimage import gaussian_filter

    corners = np.array([[i, j, k, 1] for i in (0, n) for j in (0, n) for k in (0, n)]) @ to_voxel.T
    low = np.maximum(corners[:, :3].min(0).astype(int) - 2, 0)
    high = np.minimum(corners[:, :3].max(0).astype(int) + 3, labels.shape)
    part = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    shifted = to_voxel.copy()
    shifted[:3, 3] -= low
    best, winner = np.zeros((n,) * 3, np.float32), np.zeros((n,) * 3, np.int16)
    for label in np.unique(part):
        member = sample(gaussian_filter((part == label).astype(np.float32), 0.6), shifted, (n,) * 3)
        larger = member > best
        best[larger], winner[larger] = member[larger], label
    return winner


def _squash(array: np.ndarray) -> np.ndarray:
    top = np.percentile(array[array > 0], 99) if (array > 0).any() else 1.0
    return np.clip(array / top, 0, 1.2).astype(np.float32)


def _to_ants(image):
    """A nibabel image as an ANTs image: the same voxels, world turned from RAS to LPS."""
    import ants

    flip = np.diag([-1.0, -1.0, 1.0])
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    return ants.from_numpy(
        np.asarray(image.dataobj, dtype=np.float32),
        spacing=tuple(spacing),
        origin=tuple(flip @ image.affine[:3, 3]),
        direction=flip @ (image.affine[:3, :3] / spacing),
    )


def _ants_matrix(transform) -> np.ndarray:
    """An ITK affine (LPS) as fixed world to moving world in RAS."""
    matrix, offset = transform.parameters[:9].reshape(3, 3), transform.parameters[9:]
    centre = np.asarray(transform.fixed_parameters)
    lps = np.eye(4)
    lps[:3, :3] = matrix
    lps[:3, 3] = offset + centre - matrix @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip
