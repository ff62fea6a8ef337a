"""What an output was made from, by what and with what."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bids_app import __version__
from bids_app.settings import Settings

#: Packages whose version changes a result.
PACKAGES = ("antspyx", "monai", "nibabel", "nilearn", "nipype", "numpy", "pybids", "scipy", "templateflow", "torch")


def provenance(
    settings: Settings,
    *,
    threads: int | None = None,
    device: str | None = None,
    weights: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything beside the input that a result depends on; no time, no name of a machine or person.

    Args:
        threads: used by ITK and torch; they change results in the last digits.
        device: ``cpu`` or ``cuda:0``, as it was, not as it was asked for.
        weights: bundle name -> SHA-256 of its weights.
    """
    return {
        "tandem": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "packages": package_versions(),
        "container": container(),
        "random_seed": settings.random_seed,
        "reproducible": settings.reproducible,
        **({"fast": True} if settings.fast else {}),
        "threads": threads,
        "device": device,
        "device_name": _device_name(device),
        "weights_sha256": dict(weights or {}),
        "settings_hash": settings.result_hash(),
    }


def package_versions() -> dict[str, str]:
    """Installed versions, read from metadata nothing is imported; absent packages are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def container() -> dict[str, str] | None:
    """``Type`` and ``Tag`` of the image this runs in, set when the image was built; None outside of one."""
    kind, tag = os.environ.get("TANDEM_CONTAINER_TYPE"), os.environ.get("TANDEM_CONTAINER_TAG")
    if not kind and not tag:
        return None
    if os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER"):
        kind = "singularity"  # a Docker image run by Apptainer keeps the variables of its build
    return {"Type": kind or "docker"} | ({"Tag": tag} if tag else {})


def bids_uri(path: Path | str, roots: Mapping[str, Path]) -> str:
    """``bids:raw:sub-01/anat/sub-01_T1w.nii.gz``: a file by the dataset it is in.

    Args:
        path: a file in one of the datasets; a text that is a URI already is handed back.
        roots: dataset name (a key of ``DatasetLinks``; ``""`` for this very dataset) -> its folder. The innermost wins,
            for derivatives may lie inside the raw dataset.

    Raises:
        ValueError: the file lies in none of them.
    """
    if isinstance(path, str) and path.startswith(("bids:", "http:", "https:", "file:", "doi:")):
        return path
    # the file itself may be a git-annex link into another folder: only its folder is resolved
    places = [Path(os.path.abspath(path)), Path(os.path.realpath(Path(path).parent)) / Path(path).name]
    ordered = sorted(roots.items(), key=lambda item: -len(os.path.realpath(item[1])))
    for name, root in ordered:
        for base in (Path(os.path.abspath(root)), Path(os.path.realpath(root))):
            for place in places:
                if base in place.parents:
                    return f"bids:{name}:{quote(place.relative_to(base).as_posix(), safe='/+~,=@')}"
    raise ValueError(f"{path} lies in none of the datasets {sorted(roots)}: it has no BIDS URI")


def _processor() -> str:
    """The processor's model: vector instructions differ, and sums with them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _device_name(device: str | None) -> str | None:
    torch = sys.modules.get("torch")  # whoever used a GPU has imported it
    if not device or not device.startswith("cuda") or torch is None:
        return None
    return str(torch.cuda.get_device_name(device))
