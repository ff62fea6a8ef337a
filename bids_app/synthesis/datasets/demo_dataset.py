"""A demo cohort as a BIDS dataset, with its truth in ``derivatives/manual``; participant by participant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from bids_app import __version__
from bids_app.bids.files import whole_folder, write_text
from bids_app.synthesis.bold import bold
from bids_app.synthesis.datasets import demo_images
from bids_app.synthesis.datasets.cohort_dataset import write_json, write_table
from bids_app.synthesis.datasets.demo_cohorts import SITES, DemoPlan
from bids_app.synthesis.datasets.demo_images import Participant
from bids_app.synthesis.datasets.phantom import save_image
from bids_app.synthesis.heads import variation
from bids_app.synthesis.pathology.pathology import REGIONS

TASK = "rest"
#: Steps in which shares are stored, so that files stay small.
SHARE_STEP = 1 / 200
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
#: Sequence kinds as BIDS names them (PulseSequenceType).
PULSES = {
    "MPRAGE": "MPRAGE",
    "MP2RAGE": "MP2RAGE",
    "SE": "Spin Echo",
    "TSE": "Turbo Spin Echo",
    "FLAIR": "Inversion Recovery Spin Echo",
    "DWI": "Diffusion EPI",
    "ADC": "Diffusion EPI",
}
README = """{title}: phantom cohort
{line}

Synthetic brain MRI made by Tandem {version}. No person was scanned: not for clinical or scientific conclusions.

Brains are skull-stripped. Brightness comes from signal equations and published relaxation times.
{effects}
{answers}
`derivatives/manual` holds the truth: tissues and structures (`seg-anatomy`), lesions where there are some, each as
labels (dseg) and as the share of every voxel (probseg), and `latents.tsv` with what everything was made of.

Made with: {how}.
"""
LATENTS = {
    "field_tesla": ("Field of the scanner", "T"),
    "intracranial_ml": ("Volume of the brain with the fluid around it", "ml"),
    "hippocampus_planted_log": ("Logarithm of the hippocampus against its share at 50 years, as it was planted", ""),
    "ventricles_planted_log": ("Logarithm of the ventricles against their share at 50 years, as it was planted", ""),
    "cortex_planted_log": ("Logarithm of the cortex that is left against that at 50 years, as it was planted", ""),
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
            _write_truth(staging / "derivatives" / "manual", person, plan)
            rows[f"sub-{person.label}"], latents[f"sub-{person.label}"] = person.row, person.latents
            tell(f"sub-{person.label} ({index + 1} of {plan.n})")
        _write_top(staging, rows, plan)
        _write_truth_top(staging / "derivatives" / "manual", latents, plan)
    return directory


def _affine(shape: tuple[int, ...], spacing: float) -> np.ndarray:
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = -spacing * (np.array(shape[:3]) - 1) / 2
    return affine


def _folder(sequence: str) -> str:
    return "dwi" if sequence in ("trace", "ADC") else "anat"


def _write_images(root: Path, person: Participant, plan: DemoPlan) -> None:
    stem, tesla = f"sub-{person.label}", plan.field_tesla(person.site)
    for name, image in person.images.items():
        path = root / stem / _folder(name) / f"{stem}_{name}.nii.gz"
        save_image(path, image, _affine(image.shape, plan.spacing))
        how = person.protocols[name]
        fields = {**_scanner(person, tesla), "PulseSequenceType": PULSES[how.kind], **how.sidecar()}
        fields["SkullStripped"] = True
        if how.contrast_agent:
            fields |= {"ContrastBolusIngredient": "GADOLINIUM"}
        if name == "ADC":
            fields["Units"] = "um^2/s"
        write_json(_sidecar(path), fields)
    if person.bold:
        run = person.bold
        path = root / stem / "func" / f"{stem}_task-{TASK}_bold.nii.gz"
        shape, size = tuple(run.frames.shape), plan.spacing * person.bold_step
        frames = run.frames.round().clamp(0, 32767).numpy().astype(np.int16)
        save_image(path, frames, _affine(shape, size), frame_s=run.tr_s)
        write_json(
            _sidecar(path),
            {
                **_scanner(person, bold.FIELD_TESLA),
                "PulseSequenceType": "EPI",
                "TaskName": TASK,
                "RepetitionTime": run.tr_s,
                "EchoTime": bold.ECHO_MS / 1000,
                "FlipAngle": bold.FLIP_DEG,
                "Instructions": "None: a simulated person at rest",
            },
        )


def _scanner(person: Participant, tesla: float) -> dict[str, object]:
    return {
        "Manufacturer": "Tandem phantom",
        "StationName": f"site {SITES[person.site]}",
        "MagneticFieldStrength": tesla,
        "MRAcquisitionType": "3D",
    }


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.replace(".nii.gz", ".json"))


def _write_truth(root: Path, person: Participant, plan: DemoPlan) -> None:
    """Labels and shares of one participant."""
    stem, first = f"sub-{person.label}", plan.kind.sequences[0]
    folder = _folder(first)
    source = f"bids:raw:{stem}/{folder}/{stem}_{first}.nii.gz"
    start, links = root / stem / folder / f"{stem}_space-orig", {"Sources": [source], "SpatialReference": source}
    names, shares = person.varied.partition()
    _write_labels(start, "anatomy", names, shares, plan.spacing, links, at_least=0.0)
    regions = REGIONS[plan.kind.pathology]
    if regions:
        parts = torch.stack([person.pathology.region_share(index) for index in range(1, len(regions) + 1)])
        _write_labels(start, plan.kind.seg, regions, parts, plan.spacing, links, at_least=0.5)
        mask = start.with_name(f"{start.name}_label-L_mask.nii.gz")
        _write_mask(mask, person.pathology.labelled() >= 0.5, plan.spacing, {**links, "Type": "Lesion"})
    if person.bold:
        source = f"bids:raw:{stem}/func/{stem}_task-{TASK}_bold.nii.gz"
        links = {"Sources": [source], "SpatialReference": source}
        start, size = root / stem / "func" / f"{stem}_task-{TASK}_space-orig", plan.spacing * person.bold_step
        numbers = torch.arange(1, len(person.bold.networks) + 1)[:, None, None, None]
        network = (person.bold.networks * numbers).amax(0).numpy().astype(np.uint8)
        path = start.with_name(f"{start.name}_seg-networks_dseg.nii.gz")
        save_image(path, network, _affine(network.shape, size))
        write_json(_sidecar(path), links)
        path = start.with_name(f"{start.name}_desc-altered_mask.nii.gz")
        _write_mask(path, person.bold.altered, size, {**links, "Type": "ROI"})


def _write_labels(
    start: Path, seg: str, names: tuple[str, ...], shares: torch.Tensor, spacing: float, links: dict, at_least: float
) -> None:
    """A dseg of the largest share, where all together are more than outside, and the shares themselves."""
    inside = shares.sum(0) >= max(at_least, 0.5)
    hard = ((shares.argmax(0) + 1) * inside).numpy().astype(np.uint8)
    soft = ((shares / SHARE_STEP).round() * SHARE_STEP).movedim(0, -1).numpy().astype(np.float32)
    affine = _affine(hard.shape, spacing)
    for suffix, image, more in (("dseg", hard, {}), ("probseg", soft, {"LabelMap": list(names)})):
        path = start.with_name(f"{start.name}_seg-{seg}_{suffix}.nii.gz")
        save_image(path, image, affine)
        write_json(_sidecar(path), {**links, "Manual": False, **more})


def _write_mask(path: Path, mask: torch.Tensor, spacing: float, links: dict) -> None:
    save_image(path, mask.numpy().astype(np.uint8), _affine(tuple(mask.shape), spacing))
    write_json(_sidecar(path), links)


def _about() -> dict[str, object]:
    made = {"Name": "Tandem", "Version": __version__, "Description": "Synthetic images; no person was scanned"}
    return {"BIDSVersion": "1.10.0", "License": "CC0", "Authors": ["The Tandem developers"], "GeneratedBy": [made]}


def _write_top(root: Path, rows: Mapping[str, Mapping[str, object]], plan: DemoPlan) -> None:
    kind = plan.kind
    title = f"{kind.title}: phantom cohort"
    write_json(root / "dataset_description.json", {"Name": f"Tandem {title}", "DatasetType": "raw", **_about()})
    how = {
        "cohort": plan.cohort,
        "participants": plan.n,
        "sites": plan.sites,
        "seed": plan.seed,
        "voxels": f"{plan.spacing:g} mm",
        "generator": plan.generator,
        "anatomy": plan.family,
    }
    answers = "".join(f"`{a.column}` comes from {a.formula()}{_how_drawn(a)}.\n" for a in kind.answers)
    write_text(
        root / "README",
        README.format(
            title=kind.title,
            line="=" * len(title),
            version=__version__,
            effects=_effects(plan),
            answers=answers,
            how=", ".join(f"{name} {value}" for name, value in how.items()),
        ),
    )
    write_table(root / "participants.tsv", _table(rows))
    write_json(root / "participants.json", _columns(plan))


def _how_drawn(answer) -> str:
    if answer.levels:
        return f", the logit of {tuple(answer.levels)[1]}"
    return f", with a spread of {answer.noise:g} {answer.unit} around it"


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
    for answer in plan.kind.answers:
        found[answer.column] = {"Description": answer.description}
        if answer.levels:
            found[answer.column]["Levels"] = dict(answer.levels)
        else:
            found[answer.column]["Units"] = answer.unit
        if answer.grades:
            found[answer.grades] = {"Description": "Simulated grade of the modified Rankin scale, 0 to 6"}
    return found


def _table(rows: Mapping[str, Mapping[str, object]]) -> dict[str, list]:
    """Columns of a table from one mapping per participant; what somebody lacks is ``n/a``."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    return {"participant_id": list(rows), **{n: [_cell(row.get(n, "n/a")) for row in rows.values()] for n in names}}


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write_truth_top(root: Path, latents: Mapping[str, Mapping[str, float]], plan: DemoPlan) -> None:
    links = {"SourceDatasets": [{"URL": "../../"}], "DatasetLinks": {"raw": "../../"}}
    name = f"Truth of the phantom cohort: {plan.kind.title}"
    write_json(root / "dataset_description.json", {"Name": name, "DatasetType": "derivative", **_about(), **links})
    write_text(root / "README", "What was drawn in the phantom cohort two folders up: labels, shares and numbers.\n")
    write_text(root / ".bidsignore", "latents.tsv\nlatents.json\n")
    table = _table(latents)
    write_table(root / "latents.tsv", table)
    write_json(root / "latents.json", {name: _told(name, plan) for name in table if name != "participant_id"})
    segs = {"anatomy": variation.PARTS}
    if REGIONS[plan.kind.pathology]:
        segs[plan.kind.seg] = REGIONS[plan.kind.pathology]
    if plan.kind.rest:
        segs["networks"] = tuple(f"network {number}" for number in range(1, bold.BoldSettings().networks + 1))
        words = "desc_id\tdescription\ndesc-altered\tThe region whose activity was altered; empty in controls\n"
        write_text(root / "descriptions.tsv", words)
    for seg, names in segs.items():
        numbers = range(1, len(names) + 1)
        write_table(
            root / f"seg-{seg}_dseg.tsv",
            {
                "index": numbers,
                "name": names,
                "color": [COLOURS[n % len(COLOURS)] for n in numbers],
            },
        )


def _told(name: str, plan: DemoPlan) -> dict[str, str]:
    for answer in plan.kind.answers:
        if name == f"{answer.column}_latent":
            return {"Description": f"{answer.formula()}{_how_drawn(answer)}"}
    words, unit = LATENTS.get(name, (f"Volume of: {name.removesuffix('_ml').replace('_', ' ')}", "ml"))
    return {"Description": words, "Units": unit} if unit else {"Description": words}
