"""A fitted model of grey matter as one file: arrays in NumPy's format, never unpickled, and what they mean as JSON."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bids_app.errors import DataError
from bids_app.group.atrophy_model import VoxelModel
from bids_app.group.normative_scores import scale_from
from bids_app.imaging.grey_matter import SHAPE

KIND, VERSION = "tandem atrophy model", 1


def packed_model(model: VoxelModel) -> bytes:
    """The file's bytes: the same for the same model."""
    about = {
        "kind": KIND, "version": VERSION, "age": model.age, "site": model.site, "sites": list(model.sites),
        "ratio": model.ratio, "freedom": model.freedom, "n": model.n, "template": model.template, "fwhm": model.fwhm,
        "names": {str(index): name for index, name in model.names.items()}, "fitted_on": model.fitted_on,
        "note": "Research use only: a z-score is no finding about a person.",
        "scale": asdict(model.scale),
    }  # fmt: skip
    arrays = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8), "mask": np.packbits(model.mask),
        "beta": model.beta, "spread": model.spread, "inverse": model.inverse, "regions": model.regions,
    }  # fmt: skip
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            one = io.BytesIO()
            np.lib.format.write_array(one, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), one.getvalue(), zipfile.ZIP_DEFLATED
            )
    return stream.getvalue()


def read_model(path: Path) -> VoxelModel:
    """A model from its file.

    Raises:
        DataError: it cannot be read, is no model, is of another version, or is damaged; names the file.
    """
    wrong = f"{path} is no model of grey matter (group_atrophy_model.npz, made by --atrophy-fit)"
    try:
        with np.load(Path(path), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        about = json.loads(arrays["about"].tobytes().decode())
    except FileNotFoundError as error:
        raise DataError(f"the model of grey matter {path} is not there; --atrophy names its file") from error
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{wrong}: {error}") from error
    if not isinstance(about, dict) or about.get("kind") != KIND:
        raise DataError(wrong)
    if about.get("version") != VERSION:
        raise DataError(f"{path} is a model of version {about.get('version')}; this program reads {VERSION}")
    try:
        return _model(about, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); fit the model again with --atrophy-fit") from error


def _model(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> VoxelModel:
    mask = np.unpackbits(arrays["mask"], count=int(np.prod(SHAPE))).astype(bool).reshape(SHAPE)
    beta, inverse, voxels = arrays["beta"], arrays["inverse"], int(mask.sum())
    shapes = {beta.shape[1:], arrays["spread"].shape, arrays["regions"].shape}
    if shapes != {(voxels,)} or inverse.shape != (len(beta), len(beta)):
        raise ValueError("its arrays have different sizes")
    if not all(np.isfinite(one).all() for one in (beta, inverse, arrays["spread"])) or arrays["spread"].min() <= 0:
        raise ValueError("it holds values that are not finite, or a spread of zero")
    scale, site = scale_from(about["scale"]), about["site"]
    return VoxelModel(
        scale, str(about["age"]), None if site is None else str(site), tuple(str(s) for s in about["sites"]),
        float(about["ratio"]), mask, beta, arrays["spread"], inverse, int(about["freedom"]), int(about["n"]),
        arrays["regions"], {int(index): str(name) for index, name in about["names"].items()}, str(about["template"]),
        float(about["fwhm"]), str(about["fitted_on"]),
    )  # fmt: skip
