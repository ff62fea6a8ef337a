"""Small made-up output folders with maps of grey matter, for the tests of atrophy."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from bids_app.bids.record import ImageFiles, Images, Preprocessing
from bids_app.bids.record_file import read_session, write_record
from bids_app.imaging.ants_registrar import AntsRegistrar
from bids_app.imaging.grey_matter import SHAPE, map_grid
from bids_app.imaging.transforms import write_matrix
from tests.bids_app.group.test_tables import session_with

#: Where there is grey matter, and where patients have less of it: voxels of the maps' grid.
BOX = (slice(30, 54), slice(40, 64), slice(36, 56))
HOLE = (slice(32, 42), slice(44, 54), slice(38, 48))
#: The world of a session's T1w is so far off the template's, mm along x.
SHIFT = 10.0
TEMPLATE = "MNI152NLin2009aSym"


def density_of(rng, age, loss=0.0, shape=SHAPE):
    """Grey matter that is smooth in space and falls with age."""
    from scipy.ndimage import gaussian_filter

    values = np.zeros(shape, np.float32)
    size = [part.stop - part.start for part in BOX]
    noise = gaussian_filter(rng.standard_normal(size), 1.5)
    values[BOX] = 0.6 - 0.003 * (age - 50) + 0.05 * noise / noise.std()
    values[HOLE] -= loss
    return values


def regions():
    """In place of the network's labels of the template: the hole is a hippocampus, the rest cortex."""
    labels = np.zeros(SHAPE, np.int16)
    labels[BOX] = 3
    labels[HOLE] = 17
    return labels, {3: "left cerebral cortex", 17: "left hippocampus"}


def write_people(root, n=30, *, patients=8, loss=0.2, seed=0, ages=(30, 70)):
    """An output folder: controls, then patients with the loss; every image lies `SHIFT` beside the template."""
    rng, lines = np.random.default_rng(seed), ["participant_id\tgroup\tage\tsex"]
    shift = np.eye(4)
    shift[0, 3] = -SHIFT  # template world to the session's world
    back = AntsRegistrar().composite([write_matrix(shift, root / "back.txt")], root / "back.h5")
    for i in range(n):
        key, patient, age = f"sub-{i:02d}", i >= n - patients, rng.uniform(*ages)
        session_with(root, key, 20.0)
        add_map(root, key, density_of(rng, age, loss * patient), inside_ml=rng.normal(1500, 100), back=back.name)
        lines.append(f"{key}\t{'patient' if patient else 'control'}\t{age:.1f}\t{rng.choice(['F', 'M'])}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    return root


def add_map(root, key, values, *, inside_ml=1500.0, back="back.h5", affine=None, fwhm=8.0):
    """Give a session a map."""
    name = f"{key}/anat/{key}_space-{TEMPLATE}_res-2_label-GM_desc-modulated_probseg.nii.gz"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, map_grid().affine if affine is None else affine), root / name)
    record = read_session(root, key)
    reference = f"{key}/anat/{key}_desc-preproc_T1w.nii.gz"
    if not (root / reference).exists():
        own = np.diag([4.0, 4.0, 4.0, 1.0])
        own[:3, 3] = (-90 - SHIFT, -126, -72)
        nib.save(nib.Nifti1Image(np.ones((45, 54, 45), np.float32), own), root / reference)
    facts = {"template": TEMPLATE, "fwhm_mm": fwhm, "grey_ml": 700.0, "inside_ml": inside_ml}
    files = ImageFiles(reference={"preproc": reference}, grey_matter=name, from_template=back)
    record.images["T1w"] = Images(reference="T1w", preprocessing=Preprocessing(grey_matter=facts), files=files)
    write_record(root, record)
    return root / name
