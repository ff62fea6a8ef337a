"""An output folder as the participant level leaves it, without running it: records, status and images."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.bids.record import CORRECTED, UNCORRECTED, Images, empty_record
from bids_app.bids.record_file import write_record
from bids_app.imaging.conform import conform
from tests.phantoms import save


def finish(
    out: Path,
    bids: Path,
    keys: list[str],
    *,
    sequences: tuple[str, ...] = ("T1w",),
    whole: bool = False,
    state: str = "done",
) -> Path:
    """Pretend that sessions were preprocessed: the images as they came, for ``whole`` with a mask and a transform."""
    for key in keys:
        participant, _, session = key.partition("_")
        home = Path(key.replace("_", "/")) / "anat"
        names = {s: home / f"{key}_{'' if s == 'T1w' else 'space-T1w_'}desc-preproc_{s}.nii" for s in sequences}
        for sequence, name in names.items():
            conform(bids / home / f"{key}_{sequence}.nii.gz", out / name)
        others = {s: str(n) for s, n in names.items() if s != "T1w"}
        ways = (CORRECTED, UNCORRECTED)  # so that any recipe can be learned from it
        files = {"reference": {way: str(names["T1w"]) for way in ways}, "sequences": dict.fromkeys(ways, others)}
        done = {}
        if whole:
            image = nib.load(out / names["T1w"])
            files["brain_mask"] = str(home / f"{key}_space-T1w_desc-brain_mask.nii.gz")
            save(out / files["brain_mask"], (np.asarray(image.dataobj) > 200).astype(np.uint8), image.affine)
            done = {"to_template": np.eye(4).tolist()}
        chosen = [{"sequence": s, "file": str(home / f"{key}_{s}.nii.gz")} for s in sequences]
        selection = {"reference": "T1w", "sequences": chosen}
        images = Images(reference="T1w", files=files, preprocessing=done, selection=selection)
        record = empty_record(participant.removeprefix("sub-"), session.removeprefix("ses-") or None)
        record.state, record.images = state, {"T1w": images}
        write_record(out, record)
    return out
