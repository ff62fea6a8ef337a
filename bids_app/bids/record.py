"""What one session left in the output folder: the one thing that report, group, cohort and status read.

``logs/<key>/record.json`` has a part for every recipe that was run on the session, whenever that was, and says once
what these recipes share: the preprocessed images of each reference. A record of an earlier version is converted where
it is read (`bids_app.bids.record_file`).
"""

# ruff: noqa: RUF012 (pydantic copies what a field begins with)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import Field

from bids_app.bids.naming import session_key
from bids_app.bids.record_part import Part, Profile

FORMAT: Literal[2] = 2
#: Label of a preprocessed image whose intensity bias was corrected, and of one whose was not.
CORRECTED, UNCORRECTED = "preproc", "uncorrected"
State = Literal["running", "done", "failed", "unknown"]


class Rejected(Part):
    """A file that was looked at and not taken."""

    file: str
    reason: str = ""


class SequenceChoice(Part):
    """The raw file of a sequence, relative to the dataset; None where there is none. ``made_of``: seed or network of a
    map of connections."""

    sequence: str
    file: str | None = None
    reason: str = ""
    rejected: list[Rejected] = []
    computed: bool = False
    made_of: str = ""


class FileFacts(Part):
    """What the checks before a run measured of a raw file; ``zooms`` in mm."""

    file: str
    shape: list[int] = []
    zooms: list[float] = []
    orientation: str = ""
    warnings: list[str] = []


class Chosen(Part):
    """What went in: sequences with the files taken for them."""

    reference: str | None = None
    sequences: list[SequenceChoice] = []
    lesion_mask: str | None = None

    def used(self) -> list[str]:
        """Names of the sequences that have a file."""
        return [one.sequence for one in self.sequences if one.file]


class Registration(Part):
    """One registration; shift in mm, turn in degrees."""

    moving: str
    fixed: str
    kind: str
    similarity: float | None = None
    dice: float | None = None
    translation_mm: float | None = None
    rotation_deg: float | None = None
    scales: list[float] | None = None


class TemplateFacts(Part):
    """The template that was used: its true name, where it comes from, and the name asked for."""

    name: str = ""
    source: str = ""
    asked: str = ""


class Preprocessing(Part):
    """What was found on the way to the preprocessed images of one reference.

    ``to_template``: reference world to template world, 4 x 4. ``bias``, ``diffusion``, ``functional``,
    ``grey_matter``, ``adc``, ``pair``: as the steps of these names give them; ``connections``: seed or network of every
    map of connections.
    """

    prepared: bool = False
    stripped: bool | None = None
    stripped_why: str = ""
    brain_ml: float | None = None
    brain_method: str | None = None
    denoised: bool = False
    bias: dict[str, Any] = {}
    diffusion: dict[str, Any] = {}
    functional: dict[str, Any] = {}
    connections: dict[str, Any] = {}
    grey_matter: dict[str, Any] = {}
    adc: dict[str, Any] = {}
    pair: dict[str, Any] = {}
    template: TemplateFacts | None = None
    to_template: list[list[float]] | None = None
    registrations: list[Registration] = []
    cost_function_masked: bool = False


class ImageFiles(Part):
    """Derivatives that recipes share, relative to the output folder; by way of preprocessing where ways differ.

    ``courses``: table of the mean courses of parcels of a resting-state series; ``carpet``: picture of all of it.
    """

    reference: dict[str, str] = {}
    sequences: dict[str, dict[str, str]] = {}
    brain_mask: str | None = None
    courses: str | None = None
    carpet: str | None = None
    to_template: str | None = None
    template_space: dict[str, str] = {}
    grey_matter: str | None = None
    from_template: str | None = None


class Sentence(Part):
    """What a step did, for the methods text; ``[@key]`` cites an entry of `bids_app.report.references`."""

    step: str
    text: str


class Images(Part):
    """The preprocessed images of one reference, which recipes share.

    ``options``: the settings that they depend on; empty where these are not known.
    """

    reference: str
    options: dict[str, Any] = {}
    selection: Chosen = Chosen()
    preflight: list[FileFacts] = []
    preprocessing: Preprocessing = Preprocessing()
    files: ImageFiles = ImageFiles()
    methods: list[Sentence] = []
    provenance: dict[str, Any] = {}
    outputs: dict[str, str] = {}
    warnings: list[str] = []

    def raw(self) -> dict[str, str]:
        """Raw file of every sequence that has one."""
        return {one.sequence: one.file for one in self.selection.sequences if one.file}

    def made_of(self) -> dict[str, str]:
        """Seed or network of every map of connections."""
        return {one.sequence: one.made_of for one in self.selection.sequences if one.made_of}

    def joined(self, later: Images) -> Images:
        """These images with what a later run of other recipes, with the same options, added or made again."""
        mine, its = self.model_dump(), later.model_dump(exclude_defaults=True)
        both = {**mine, **{name: value for name, value in its.items() if name not in ("files", "selection")}}
        chosen = {one.sequence: one for one in (*self.selection.sequences, *later.selection.sequences)}
        both["selection"] = {**mine["selection"], **its.get("selection", {})}
        both["selection"]["sequences"] = [one.model_dump() for one in chosen.values()]
        both["preflight"] = list({one.file: one.model_dump() for one in (*self.preflight, *later.preflight)}.values())
        done = {**mine["preprocessing"], **its.get("preprocessing", {})}
        moved = (*self.preprocessing.registrations, *later.preprocessing.registrations)
        done["registrations"] = list({(one.moving, one.fixed): one.model_dump() for one in moved}.values())
        done["prepared"] = self.preprocessing.prepared and later.preprocessing.prepared
        done["connections"] = {**self.preprocessing.connections, **later.preprocessing.connections}
        both["preprocessing"] = done
        both["files"] = _merged(mine["files"], its.get("files", {}))
        both["outputs"] = {**self.outputs, **later.outputs}
        both["warnings"] = list(dict.fromkeys([*self.warnings, *later.warnings]))
        both["methods"] = list(
            {(one.step, one.text): one.model_dump() for one in (*self.methods, *later.methods)}.values()
        )
        return Images.model_validate(both)

    def of_way(self, way: str) -> dict[str, str]:
        """Preprocessed file of every sequence, the reference among them, in one way of preprocessing."""
        found = {self.reference: self.files.reference[way]} if way in self.files.reference else {}
        return found | self.files.sequences.get(way, {})


class Region(Part):
    """One measured region; volumes in mm³, the centre in mm of the reference's world."""

    name: str
    index: int | None = None
    color: str = ""
    kind: str = "structure"
    found: bool = True
    threshold: float | None = None
    soft_mm3: float | None = None
    soft_low_mm3: float | None = None
    soft_high_mm3: float | None = None
    hard_mm3: float | None = None
    area_mm2: float | None = None
    centre_mm: list[float] | None = None


class Lesion(Part):
    """One lesion; see `bids_app.measure.lesion_table.lesion_rows`."""

    index: int
    volume_mm3: float
    centre_mm: list[float]
    template_mm: list[float] | None = None
    region: str | None = None
    side: str | None = None
    probability: float | None = None
    contains: list[str] = []


class PredictionGrid(Part):
    shape: list[int] = []
    spacing: float | list[float] | None = None


class Prediction(Part):
    """A recipe's regions, and what measured them.

    ``threshold`` is None where the likeliest region was taken, ``lesions`` where the recipe has no lesion regions.
    ``slice``: which one a recipe of two dimensions looked at, and how it was chosen.
    """

    recipe: str
    title: str = ""
    bundle: str = ""
    weights_sha256: str = ""
    device: str = ""
    tta: bool = False
    threshold: float | None = None
    members: int | None = None
    grid: PredictionGrid = PredictionGrid()
    located: dict[str, Any] | None = None
    slice: dict[str, Any] | None = None
    sequence: str | None = None
    regions: list[Region] = []
    lesions: list[Lesion] | None = None
    warnings: list[str] = []


class Scores(Part):
    """A recipe's targets with their answers (see `bids_app.predict.targets`), and what made them."""

    recipe: str
    title: str = ""
    bundle: str = ""
    weights_sha256: str = ""
    device: str = ""
    sequences: dict[str, bool] = {}
    covariates: dict[str, Any] = {}
    slice: dict[str, Any] | None = None
    targets: dict[str, dict[str, Any]] = {}


class RecipeFiles(Part):
    """Derivatives of one recipe, relative to the output folder."""

    dseg: str | None = None
    probseg: str | None = None
    volumes: str | None = None
    scores: str | None = None
    lesions: str | None = None
    lesion_mask: str | None = None
    template_space: str | None = None


class RecipePart(Part):
    """What became of one recipe on a session.

    ``reference`` and ``way`` name the images of the record that it was made from. ``settings_hash``, ``inputs`` and
    ``outputs`` decide whether it has to be run again.
    """

    recipe: str
    title: str = ""
    state: State = "unknown"
    reason: str = ""
    exit_code: int | None = None
    crash: str | None = None
    version: str = ""
    finished: str = ""
    settings_hash: str = ""
    inputs: dict[str, dict[str, int]] = {}
    outputs: dict[str, str] = {}
    reference: str | None = None
    way: str = CORRECTED
    taken_as: str = ""
    prediction: Prediction | None = None
    scores: Scores | None = None
    files: RecipeFiles = RecipeFiles()
    methods: list[Sentence] = []
    provenance: dict[str, Any] = {}
    located: dict[str, Any] = {}
    warnings: list[str] = []

    def fail(self, reason: str, exit_code: int, crash: str | None = None) -> None:
        """Close the part in place."""
        self.state, self.reason, self.exit_code, self.crash = "failed", reason, exit_code, crash


class StageTime(Part):
    name: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_rss_mb: float | None = None


class OldMethods(Part):
    """The methods text of a record of an earlier version, with its references."""

    paragraphs: list[str] = []
    references: list[str] = []


class SessionRecord(Part):
    """One session: what its recipes share, and a part for each of them.

    ``state``, ``reason``, ``stages`` and ``crash`` are those of the last run.
    """

    format: Literal[2] = FORMAT
    key: str
    participant: str
    session: str | None = None
    version: str = ""
    created: str = ""
    state: State = "unknown"
    reason: str = ""
    exit_code: int | None = None
    seconds: float | None = None
    peak_rss_mb: float | None = None
    images: dict[str, Images] = Field(default_factory=dict)
    recipes: dict[str, RecipePart] = Field(default_factory=dict)
    stages: list[StageTime] = []
    profile: Profile | None = None
    warnings: list[str] = []
    crash: str | None = None
    old_methods: OldMethods = OldMethods()

    def done(self) -> list[RecipePart]:
        """Parts that are finished."""
        return [part for part in self.recipes.values() if part.state == "done"]

    def images_of(self, part: RecipePart) -> Images | None:
        """The images that a recipe was run on; None where it ended before there were any."""
        return self.images.get(part.reference or "")

    def outputs(self) -> dict[str, str]:
        """Every file of the session with its SHA-256, relative to the output folder."""
        return {name: digest for one in self.all_parts() for name, digest in one.outputs.items()}

    def all_warnings(self) -> list[str]:
        """Of the session, of its files and images and of its recipes, each once."""
        found = list(self.warnings)
        for images in self.images.values():
            found += images.warnings
            for fact in images.preflight:
                name = PurePosixPath(fact.file).name
                found += [w if name in w else f"{name}: {w}" for w in fact.warnings]
        for part in self.recipes.values():
            found += part.warnings
            found += part.prediction.warnings if part.prediction else []
        return list(dict.fromkeys(found))

    def all_parts(self) -> list[Images | RecipePart]:
        """What recipes share, and each of them: whatever has outputs, methods and provenance of its own."""
        return [*self.images.values(), *self.recipes.values()]


def empty_record(participant: str, session: str | None, **known: Any) -> SessionRecord:
    """A record before anything is known."""
    return SessionRecord(
        key=session_key(participant, session), participant=participant, session=session, state="running", **known
    )


def _merged(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries joined, the new one right where they differ."""
    both = dict(old)
    for name, value in new.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(name), Mapping)
        both[name] = _merged(both[name], value) if nested else value
    return both
