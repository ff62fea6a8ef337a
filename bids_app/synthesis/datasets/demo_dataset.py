"""A demo cohort as a BIDS dataset, with its truth in ``derivatives/manual``; participant by participant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from bids_app import __version__
from bids_app.bids.files import whole_folder, write_text
from bids_app.synthesis.bold import bold
from bids_app.synthesis.datasets import demo_images
from bids_app.synthesis.datasets.demo_cohorts import SITES, DemoPlan
from bids_app.synthesis.datasets.demo_images import Participant
from bids_app.synthesis.datasets.files import (
    TRUTH,
    save_image,
    scanner_fields,
    truth_fields,
    write_description,
    write_json,
    write_labels,
    write_table,
)
from bids_app.synthesis.heads import structures, variation
from bids_app.synthesis.pathology.pathology import REGIONS

TASK = "rest"
#: Steps in which shares are stored, so that files stay small.
SHARE_STEP = 1 / 200
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
README = """{title}: phantom cohort
{line}

Synthetic brain MRI made by Tandem {version}. No person was scanned: not for clinical or scientific conclusions.

Brains are skull-stripped. Brightness comes from signal equations and published relaxation times.
{effects}
{targets}
`derivatives/manual` holds the truth: tissues and structures (`seg-anatomy`, with FreeSurfer's numbers where it has
any), lesions where there are some, each as labels (dseg) and as the share of every voxel (probseg), and `latents.tsv`
with what everything was made of.

Made with: {how}.
"""
LATENTS = {
    "field_tesla": ("Field of the scanner", "T"),
    "intracranial_ml": ("Volume of the brain with the fluid around it", "ml"),
    "hippocampus_planted_log": ("Logarithm of the hippocampus against its share at 50 years, as it was planted", ""),
    "ventricles_planted_log": ("Logarithm of the ventricles against their share at 50 years, as it was planted", ""),
    "cortex_planted_log": ("Logarithm of the cortex that is left against that at 50 years, as it was planted", ""),
    **{
        f"{name}_planted_log": (f"Logarithm of the {name} against its usual share of the head, as it was planted", "")
        for name in structures.SOLIDS
    },
    "count": ("Lesions that were drawn", ""),
    "side": ("Side of the lesion: -1 left, 1 right, 0 both or none", ""),
    "territory": ("Artery: 1 middle, 2 anterior, 3 posterior cerebral; 0 no acute infarct", ""),
    "lesion_ml": ("Volume of all labelled lesions", "ml"),
    "eloquent_ml": ("Volume of the infarct in the corticospinal tracts", "ml"),
    "shine_through": ("Volume of old damage that is bright on the trace image and no infarct core", "ml"),
    "lesion_free": ("1: a person after an injury without lesions", ""),
    "injury_age": ("Age of the injury: 0 acute, 1 subacute, 2 chronic", ""),
    "cystic": ("Share of the tumour that is a cyst", ""),
    "enhancing": ("1: the tumour takes up contrast agent", ""),
    "region_ml": ("Volume of the region that is altered, or would have been", "ml"),
    "region_network": ("Network of that region, from 0", ""),
    "alff": ("Factor on its amplitude", ""),
    "coherence": ("Share of its activity that its voxels have in common", ""),
    "coupling": ("Share of what they have in common that comes from its network", ""),
    "displacement_mm": ("Mean framewise displacement", "mm"),
    "heart_hz": ("Rate of the heart", "Hz"),
    "breath_hz": ("Rate of breathing", "Hz"),
}


def write_demo(plan: DemoPlan, directory: Path | str, tell: Callable[[str], None] = lambda text: None) -> Path:
    """Draw a cohort and write it; whole or not at all.

    Args:
        plan: what is drawn; the same plan gives the same bytes.
        directory: a folder that does not exist yet, or is empty.
        tell: is told of each participant that is done.

    Raises:
        CannotWrite: the folder is not empty, or cannot be made.
    """
    directory = Path(directory)
    rows, latents = {}, {}
    with whole_folder(directory) as staging:
        for index in range(plan.n):
            person = demo_images.draw_participant(plan, index)
            _write_images(staging, person, plan)
            _write_truth(staging / TRUTH, person, plan)
            rows[f"sub-{person.label}"], latents[f"sub-{person.label}"] = person.row, person.latents
            tell(f"sub-{person.label} ({index + 1} of {plan.n})")
        _write_top(staging, rows, plan)
        _write_truth_top(staging / TRUTH, latents, plan)
    return directory


def _affine(shape: tuple[int, ...], spacing: float) -> np.ndarray:
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = -spacing * (np.array(shape[:3]) - 1) / 2
    return affine


def _folder(sequence: str) -> str:
    return "dwi" if sequence in ("trace", "ADC") else "anat"


def _write_images(root: Path, person: Participant, plan: DemoPlan) -> None:
    stem, tesla = f"sub-{person.label}", plan.field_tesla(person.site)
    station = {"StationName": f"site {SITES[person.site]}"}
    for name, image in person.images.items():
        path = root / stem / _folder(name) / f"{stem}_{name}.nii.gz"
        save_image(path, image, _affine(image.shape, plan.spacing))
        how = person.protocols[name]
        fields = {**scanner_fields(tesla, how), **station, "SkullStripped": True}
        if how.contrast_agent:
            fields |= {"ContrastBolusIngredient": "GADOLINIUM"}
        if name == "ADC":
            fields["Units"] = "um^2/s"
        write_json(path, fields)
    if person.bold:
        _write_bold(root / stem / "func" / f"{stem}_task-{TASK}_bold.nii.gz", person.bold, station, plan)


def _write_bold(path: Path, run: bold.Bold, station: dict[str, str], plan: DemoPlan) -> None:
    frames = run.frames.round().clamp(0, 32767).numpy().astype(np.int16)
    save_image(path, frames, _affine(frames.shape, run.spacing), frame_s=run.tr_s)
    fields = {"PulseSequenceType": "EPI", "TaskName": TASK, "RepetitionTime": run.tr_s}
    fields |= {"EchoTime": bold.ECHO_MS / 1000, "FlipAngle": bold.FLIP_DEG}
    rest = {"Instructions": "None: a simulated person at rest"}
    write_json(path, {**scanner_fields(bold.FIELD_TESLA), **station, **fields, **rest})


def _write_truth(root: Path, person: Participant, plan: DemoPlan) -> None:
    """Labels and shares of one participant."""
    stem, first = f"sub-{person.label}", plan.kind.sequences[0]
    folder = _folder(first)
    start, fields = root / stem / folder / f"{stem}_space-orig", truth_fields(f"{stem}/{folder}/{stem}_{first}.nii.gz")
    numbers, names, shares = structures.labelled_parts(person.varied)
    _write_shares(start, "anatomy", names, shares, plan.spacing, fields, numbers)
    regions = REGIONS[plan.kind.pathology]
    if regions:
        parts = torch.stack([person.pathology.region_share(index) for index in range(1, len(regions) + 1)])
        _write_shares(start, plan.kind.seg, regions, parts, plan.spacing, fields)
        lesion = (person.pathology.labelled() >= 0.5).to(torch.uint8)
        _write_map(start, "label-L_mask", lesion, plan.spacing, {**fields, "Type": "Lesion"})
    if run := person.bold:
        fields = truth_fields(f"{stem}/func/{stem}_task-{TASK}_bold.nii.gz")
        start = root / stem / "func" / f"{stem}_task-{TASK}_space-orig"
        numbers = torch.arange(1, len(run.networks) + 1)[:, None, None, None]
        _write_map(start, "seg-networks_dseg", (run.networks * numbers).amax(0), run.spacing, fields)
        _write_map(start, "label-L_desc-altered_mask", run.altered, run.spacing, {**fields, "Type": "ROI"})


def _write_shares(
    start: Path,
    seg: str,
    names: Sequence[str],
    shares: torch.Tensor,
    spacing: float,
    fields: dict[str, object],
    numbers: Sequence[int] = (),
) -> None:
    """A dseg of the largest share, where all together are more than outside, and the shares themselves; ``numbers`` of
    the labels, from 1 on where none are given."""
    table = torch.tensor(numbers or range(1, len(names) + 1))
    hard = (table[shares.argmax(0)] * (shares.sum(0) >= 0.5)).numpy()
    hard = hard.astype(np.uint8 if int(table.max()) < 256 else np.int16)
    soft = ((shares / SHARE_STEP).round() * SHARE_STEP).movedim(0, -1).numpy().astype(np.float32)
    start = start.with_name(f"{start.name}_seg-{seg}")
    write_labels(start, hard, soft, names, _affine(hard.shape, spacing), {**fields, "Manual": False})


def _write_map(start: Path, name: str, values: torch.Tensor, spacing: float, fields: dict[str, object]) -> None:
    path = start.with_name(f"{start.name}_{name}.nii.gz")
    write_json(save_image(path, values.numpy().astype(np.uint8), _affine(tuple(values.shape), spacing)), fields)


def _write_top(root: Path, rows: Mapping[str, Mapping[str, object]], plan: DemoPlan) -> None:
    kind = plan.kind
    title = f"{kind.title}: phantom cohort"
    how = {
        "cohort": plan.cohort,
        "participants": plan.n,
        "sites": plan.sites,
        "seed": plan.seed,
        "voxels": f"{plan.spacing:g} mm",
        "generator": plan.generator,
        "anatomy": plan.family,
    }
    targets = "".join(f"`{a.column}` comes from {a.formula()}{_how_drawn(a)}.\n" for a in kind.targets)
    readme = README.format(
        title=kind.title,
        line="=" * len(title),
        version=__version__,
        effects=_effects(plan),
        targets=targets,
        how=", ".join(f"{name} {value}" for name, value in how.items()),
    )
    write_description(root, f"Tandem {title}", readme)
    write_table(root / "participants.tsv", _rows(rows))
    write_json(root / "participants.json", _columns(plan))


def _how_drawn(target) -> str:
    if target.levels:
        return f", the logit of {tuple(target.levels)[1]}"
    return f", with a spread of {target.noise:g} {target.unit} around it"


def _effects(plan: DemoPlan) -> str:
    """The planted effects in words, in per cent."""
    lines = [
        f"{name.capitalize()}: {100 * e.age:+.2g} % a year, {100 * e.male:+.2g} % in men, spread {100 * e.spread:.2g} %"
        + "".join(
            f", {100 * (np.exp(variation.DISEASES[level][name]) - 1):+.2g} % in {level}"
            for level in plan.kind.diagnoses
            if level in variation.DISEASES
        )
        for name, e in variation.EFFECTS.items()
    ]
    return "\n".join(["Anatomy, relative to the size of the head:", *(f"- {line}" for line in lines), ""])


def _columns(plan: DemoPlan) -> dict[str, dict]:
    sites = {SITES[place]: f"{plan.field_tesla(place):g} T" for place in range(plan.sites)}
    found: dict[str, dict] = {
        "age": {"Description": "Simulated age", "Units": "years"},
        "sex": {"Description": "Simulated sex", "Levels": {"F": "female", "M": "male"}},
        "site": {"Description": "Simulated scanner", "Levels": sites},
    }
    if plan.kind.diagnoses:
        found["diagnosis"] = {"Description": "Simulated group", "Levels": dict(plan.kind.diagnoses)}
    for target in plan.kind.targets:
        found[target.column] = {"Description": target.description}
        if target.levels:
            found[target.column]["Levels"] = dict(target.levels)
        else:
            found[target.column]["Units"] = target.unit
        if target.grades:
            found[target.grades] = {"Description": "Simulated grade of the modified Rankin scale, 0 to 6"}
    return found


def _rows(facts: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    """Rows of a table from one mapping per participant; what somebody lacks is ``n/a``."""
    names = list(dict.fromkeys(name for row in facts.values() for name in row))
    return [{"participant_id": who, **{n: _cell(row.get(n, "n/a")) for n in names}} for who, row in facts.items()]


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write_truth_top(root: Path, latents: Mapping[str, Mapping[str, float]], plan: DemoPlan) -> None:
    readme = "What was drawn in the phantom cohort two folders up: labels, shares and numbers.\n"
    write_description(root, f"Truth of the phantom cohort: {plan.kind.title}", readme, truth=True)
    write_text(root / ".bidsignore", "latents.tsv\nlatents.json\n")
    rows = _rows(latents)
    write_table(root / "latents.tsv", rows)
    write_json(root / "latents.json", {name: _told(name, plan) for name in rows[0] if name != "participant_id"})
    segs = {"anatomy": structures.part_names(plan.kind.structures)}
    if REGIONS[plan.kind.pathology]:
        segs[plan.kind.seg] = dict(enumerate(REGIONS[plan.kind.pathology], 1))
    if plan.kind.rest:
        segs["networks"] = {n: f"network {n}" for n in range(1, bold.BoldSettings().networks + 1)}
        words = "desc_id\tdescription\ndesc-altered\tThe region whose activity was altered; empty in controls\n"
        write_text(root / "descriptions.tsv", words)
    for seg, names in segs.items():
        rows = [{"index": n, "name": name, "color": COLOURS[n % len(COLOURS)]} for n, name in names.items()]
        write_table(root / f"seg-{seg}_dseg.tsv", rows)


def _told(name: str, plan: DemoPlan) -> dict[str, str]:
    for target in plan.kind.targets:
        if name == f"{target.column}_latent":
            return {"Description": f"{target.formula()}{_how_drawn(target)}"}
    words, unit = LATENTS.get(name, (f"Volume of: {name.removesuffix('_ml').replace('_', ' ')}", "ml"))
    return {"Description": words, "Units": unit} if unit else {"Description": words}
