"""Find a template on this machine, without network.

TemplateFlow's store is looked at as plain files: importing ``templateflow`` would fill an absent store with a skeleton
of empty files, or fail where the home folder is read-only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bids_app.errors import InputMissing

#: Inside nilearn: symmetric, brain only, 1 mm, values 0-255; tissue maps beside it.
PACKAGED = "MNI152NLin2009aSym"
PACKAGED_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
#: Names that stand for the packaged template when TemplateFlow does not hold them: they are the same brain, averaged
#: over the same people, within a millimetre or two.
NEAR_PACKAGED = {"MNI152NLin2009cAsym", "MNI152NLin2009aSym", "MNI152NLin2009cSym", "MNI152NLin2009aAsym"}
#: Who is thanked for a copy of a template, as the methods text has it.
FROM_STORE = "from TemplateFlow's store [@templateflow]"
FROM_NILEARN = "the copy inside nilearn [@nilearn]"


@dataclass(frozen=True)
class Template:
    """A template as it was found.

    Attributes:
        name: its true name, which may differ from the one asked for.
        image: T1w, whole head or brain only.
        mask: brain mask, or None where ``image`` holds nothing but brain.
        source: a sentence for the report: where it comes from, and what it stands for.
        tissues: grey and white matter maps, where there are any.
        credit: whose copy it is, with what to cite for it.
    """

    name: str
    image: Path
    mask: Path | None
    source: str
    tissues: dict[str, Path]
    credit: str = ""


def templateflow_home() -> Path:
    """Where TemplateFlow keeps its files; it may not exist."""
    return Path(os.environ.get("TEMPLATEFLOW_HOME") or Path.home() / ".cache" / "templateflow")


def find_template(name: str = "MNI152NLin2009cAsym") -> Template:
    """The template of that name from TemplateFlow's local store, else the one inside nilearn.

    Args:
        name: TemplateFlow's name of a template.

    Raises:
        InputMissing: it is neither in the store nor near to the packaged one.
    """
    found = _in_store(name)
    if found:
        return found
    if name not in NEAR_PACKAGED:
        raise InputMissing(
            f"template {name} is not in TemplateFlow's store at {templateflow_home()}; fetch it there once "
            f"(python -c \"from templateflow import api; api.get('{name}')\") and set TEMPLATEFLOW_HOME"
        )
    return _packaged(name)


def _in_store(name: str) -> Template | None:
    folder = templateflow_home() / f"tpl-{name}"
    for resolution in ("_res-01", "_res-1", ""):
        start = folder / f"tpl-{name}{resolution}"
        brain, head = Path(f"{start}_desc-brain_T1w.nii.gz"), Path(f"{start}_T1w.nii.gz")
        mask = Path(f"{start}_desc-brain_mask.nii.gz")
        source = f"{name}, from TemplateFlow's store"
        tissues = {t: Path(f"{start}_label-{t}_probseg.nii.gz") for t in ("GM", "WM")}
        tissues = {t: path for t, path in tissues.items() if _holds_data(path)}
        if _holds_data(head) and _holds_data(mask):
            return Template(name, head, mask, source, tissues, FROM_STORE)
        if _holds_data(brain):
            return Template(name, brain, mask if _holds_data(mask) else None, source, tissues, FROM_STORE)
    return None


def _holds_data(path: Path) -> bool:
    """TemplateFlow marks a file that was not fetched yet by leaving it empty."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _packaged(name: str) -> Template:
    spec = find_spec("nilearn")  # finds the folder and imports nothing
    if spec is None or not spec.submodule_search_locations:
        raise InputMissing("nilearn is not installed; it holds the template that is used without TemplateFlow")
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"
    image = folder / PACKAGED_FILE.format("t1")
    if not _holds_data(image):
        raise InputMissing(f"nilearn's template is not at {image}; install nilearn again")
    source = f"{PACKAGED}, packaged in nilearn"
    if name != PACKAGED:
        source += f" (in place of {name}, which is not in TemplateFlow's store)"
    tissues = {t.upper(): folder / PACKAGED_FILE.format(t) for t in ("gm", "wm")}
    there = {t: p for t, p in tissues.items() if _holds_data(p)}
    return Template(PACKAGED, image, None, source, there, FROM_NILEARN)
