"""The only way into the output folder: BIDS names, sidecar first, whole files, one type of number per suffix."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from bids_app.bids.digest import sha256_of
from bids_app.bids.files import write_text, write_whole
from bids_app.bids.naming import derivative_path, session_key
from bids_app.bids.provenance import bids_uri

#: Spaces that need no SpatialReference (BIDS, standard template identifiers).
TEMPLATES = {
    "MNI152Lin",
    "MNI152NLin2009aSym",
    "MNI152NLin2009bSym",
    "MNI152NLin2009cSym",
    "MNI152NLin2009aAsym",
    "MNI152NLin2009bAsym",
    "MNI152NLin2009cAsym",
    "MNI152NLin6Sym",
    "MNI152NLin6Asym",
    "MNI305",
    "MNIColin27",
}
SEGMENTATIONS = {"mask", "dseg", "probseg"}
#: Suffixes of what is no picture of a head.
NO_HEAD = SEGMENTATIONS | {"statmap"}
#: Label of a ``probseg`` that holds amounts: a voxel may have more than its own volume.
MODULATED = "modulated"
#: Measured on a skull-stripped T1w (float32, 60 MB): level 1 takes 0.6 s for 7.6 MB, level 6 takes 0.9 s for 7.3 MB.
GZIP_LEVEL = 1
SCANNER, TEMPLATE_CODE = 1, 4  # NIfTI: what the coordinates of an affine are

Source = Path | str


class Sink:
    """Writes one session's derivatives and remembers them.

    Args:
        output_dir: root of the derivative dataset.
        participant: label.
        session: label or None.
        datasets: name -> folder, for BIDS URIs; see `bids_app.bids.dataset.dataset_links`. This one is added.
        provenance: goes into the sidecar of every image under ``Provenance``.

    Attributes:
        outputs: path relative to the output folder -> SHA-256, in the order of writing.
    """

    def __init__(
        self,
        output_dir: Path,
        participant: str,
        session: str | None,
        *,
        datasets: Mapping[str, Path],
        provenance: Mapping[str, Any] | None = None,
    ):
        self.output_dir = Path(output_dir)
        self.participant, self.session = participant, session
        self.datasets = {**datasets, "": self.output_dir}
        self.provenance = dict(provenance or {})
        self.outputs: dict[str, str] = {}

    @property
    def key(self) -> str:
        return session_key(self.participant, self.session)

    def path(self, suffix: str, extension: str, **entities: Any) -> Path:
        """Where a derivative is or will be; entities (and ``datatype``) as for `derivative_path`."""
        return self.output_dir / derivative_path(
            self.participant, self.session, suffix=suffix, extension=extension, **entities
        )

    def uri(self, path: Source) -> str:
        """The BIDS URI of a file of any dataset that this sink knows; a URI is handed back."""
        return bids_uri(path, self.datasets)

    def image(
        self,
        image: nib.Nifti1Image | Path,
        suffix: str,
        *,
        sources: Iterable[Source] = (),
        reference: Source | None = None,
        sidecar: Mapping[str, Any] | None = None,
        **entities: Any,
    ) -> Path:
        """Write an image as ``.nii.gz`` with its sidecar.

        Args:
            image: or a path to one; a ``mask`` is stored as uint8, a ``dseg`` as uint8 or int16, others as float32.
            suffix: ``T1w``, ``mask``, ``dseg``, ``probseg``, ...
            sources: what it was made from directly: paths or BIDS URIs.
            reference: the image whose grid it has; needed for a ``space`` that is no standard template.
            sidecar: more fields, such as ``Type`` of a mask or ``SkullStripped`` of an image.

        Raises:
            ValueError: values or fields that BIDS does not allow for this suffix; an unknown entity.
            CannotWrite, IOFailure: as `bids_app.bids.files.write_whole`.
        """
        path = self.path(suffix, ".nii.gz", **entities)
        image = image if isinstance(image, SpatialImage) else nib.load(image)
        amounts = entities.get("desc") == MODULATED
        ready = prepare_image(image, suffix, template=entities.get("space") in TEMPLATES, amounts=amounts)
        fields = self._fields(sources, reference, sidecar, entities)
        _check_fields(fields, suffix, entities, ready.ndim)
        self._write_json(_sidecar_of(path), fields)
        return self._done(write_whole(path, lambda stream: write_gzip(ready, stream)))

    def table(
        self,
        table: Any,
        suffix: str,
        *,
        columns: Mapping[str, Any] | None = None,
        header: Iterable[str] = (),
        **entities: Any,
    ) -> Path:
        """Write a table as ``.tsv``, missing values as ``n/a``; with ``columns`` a JSON dictionary beside it.

        Args:
            table: a data frame, or a list of dictionaries with the same keys.
            columns: column -> ``{"Description": ..., "Units": ...}``.
            header: names of the columns where the table has no row to take them from.
        """
        path = self.path(suffix, ".tsv", **entities)
        if columns is not None:
            self._write_json(_sidecar_of(path), dict(columns))
        return self._done(write_text(path, tsv(table) if len(table) else "\t".join(header) + "\n"))

    def json(self, content: Mapping[str, Any], suffix: str, **entities: Any) -> Path:
        """Write a JSON file that stands for itself (a prediction)."""
        path = self.path(suffix, ".json", **entities)
        self._write_json(path, content)
        return path

    def file(
        self,
        source: Path,
        suffix: str,
        extension: str,
        *,
        sources: Iterable[Source] = (),
        sidecar: Mapping[str, Any] | None = None,
        **entities: Any,
    ) -> Path:
        """Copy a file that another program wrote (a transform) to its name, with a sidecar if there is one to write."""
        path = self.path(suffix, extension, **entities)
        fields = self._fields(sources, None, sidecar, entities)
        if sources or sidecar:
            self._write_json(_sidecar_of(path), fields)
        return self._done(write_whole(path, lambda stream: _copy(source, stream)))

    def report(self, html: str) -> Path:
        """Write the session's page, ``sub-01_ses-01.html`` at the root."""
        return self._done(write_text(self.output_dir / f"{self.key}.html", html))

    def _fields(
        self,
        sources: Iterable[Source],
        reference: Source | None,
        sidecar: Mapping[str, Any] | None,
        entities: Mapping[str, object],
    ) -> dict[str, Any]:
        fields: dict[str, Any] = dict(sidecar or {})
        if uris := [self.uri(source) for source in sources]:
            fields["Sources"] = uris
        if reference is not None:
            fields["SpatialReference"] = self.uri(reference)
        if self.provenance:
            fields["Provenance"] = self.provenance
        return fields

    def _write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        self._done(write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n"))

    def _done(self, path: Path) -> Path:
        self.outputs[path.relative_to(self.output_dir).as_posix()] = sha256_of(path)
        return path


def prepare_image(
    image: SpatialImage, suffix: str, *, template: bool = False, amounts: bool = False
) -> nib.Nifti1Image:
    """An image with the number type of its suffix and a fresh header: same bytes for same values and affine.

    Raises:
        ValueError: values that the suffix cannot have.
    """
    data = np.asanyarray(image.dataobj)
    if data.ndim > 3 and data.shape[3:] == (1,) * (data.ndim - 3) and suffix != "probseg":
        data = data.reshape(data.shape[:3])
    data = _as_integers(data, suffix) if suffix in ("mask", "dseg") else data.astype(np.float32, copy=False)
    if not np.isfinite(data).all():
        raise ValueError(f"a {suffix} may not hold NaN or infinite values")
    highest = np.inf if amounts else 1 + 1e-4
    if suffix == "probseg" and data.size and (data.min() < -1e-4 or data.max() > highest):
        raise ValueError(f"a probseg holds probabilities in [0, 1], not {data.min():g} to {data.max():g}")
    made = nib.Nifti1Image(data, image.affine)
    made.header.set_xyzt_units("mm")
    if data.ndim == 4 and suffix == "bold":  # the time from one frame to the next
        made.header.set_zooms((*made.header.get_zooms()[:3], float(image.header.get_zooms()[3])))
        made.header.set_xyzt_units("mm", "sec")
    code = TEMPLATE_CODE if template else SCANNER
    made.set_sform(image.affine, code)
    with suppress(np.linalg.LinAlgError):
        made.set_qform(image.affine, code, strip_shears=True)
        if not np.allclose(made.get_qform(), image.affine, atol=1e-3):
            made.set_qform(None, 0)  # a quaternion has no shears: two forms that disagree are worse than one
    return made


def write_gzip(image: nib.Nifti1Image, stream: BinaryIO) -> None:
    """Write ``.nii.gz`` bytes that depend on the image only: no file name and no time in the gzip header."""
    with gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as packed:
        image.to_stream(packed)


def tsv(table: Any) -> str:
    """A data frame, or a list of dictionaries, as tab-separated text; None and NaN are ``n/a``."""
    if hasattr(table, "to_dict"):
        names, rows = list(table.columns), table.to_dict("records")
    else:
        rows = list(table)
        names = list(rows[0]) if rows else []
    lines = [names, *([_cell(row[name]) for name in names] for row in rows)]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None or value != value:  # only NaN differs from itself
        return "n/a"
    if isinstance(value, float | np.floating):
        return f"{float(value):.10g}"
    return str(value).translate({9: " ", 10: " ", 13: " "}) or "n/a"


def _as_integers(data: np.ndarray, suffix: str) -> np.ndarray:
    if data.dtype.kind == "f":
        whole = np.rint(data)
        if not np.array_equal(whole, data):
            raise ValueError(f"a {suffix} holds whole numbers; was it resampled with linear interpolation?")
        data = whole
    low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
    if low < 0 or high > (1 if suffix == "mask" else 32767):
        raise ValueError(f"a {suffix} holds {'0 and 1' if suffix == 'mask' else '0 to 32767'}, not {low} to {high}")
    return data.astype(np.uint8 if high < 256 else np.int16)


def _check_fields(fields: Mapping[str, Any], suffix: str, entities: Mapping[str, object], ndim: int) -> None:
    """What BIDS requires in the sidecar of a derivative image (1.11, derivatives/imaging)."""
    space = entities.get("space")
    if space is not None and space != "orig" and space not in TEMPLATES and "SpatialReference" not in fields:
        raise ValueError(f"space-{space} is no standard template: give the image whose grid it is as reference")
    if suffix == "mask" and fields.get("Type") not in ("Brain", "Lesion", "Face", "ROI"):
        raise ValueError("a mask needs sidecar Type: Brain, Lesion, Face or ROI")
    if suffix == "probseg" and ndim == 4 and not fields.get("LabelMap"):
        raise ValueError("a probseg of several regions needs sidecar LabelMap: their names in order")
    if suffix not in NO_HEAD and not isinstance(fields.get("SkullStripped"), bool):
        raise ValueError(f"a {suffix} needs sidecar SkullStripped: true or false")


def _sidecar_of(path: Path) -> Path:
    return path.with_name(path.name.partition(".")[0] + ".json")


def _copy(source: Path, stream: BinaryIO) -> None:
    with Path(source).open("rb") as content:
        while block := content.read(1 << 20):
            stream.write(block)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays, and paths, for JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
