"""The methods text of one session, written from its record: a step that did not run is not described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_app.report.references import REFERENCES, SHORT

#: recipe -> what a reader must know about its regions beyond the network
RECIPE_NOTES = {
    "habenula": (
        "The network of this recipe was trained on images synthesised from label maps by domain randomisation "
        "({synthseg}), with the habenulae placed as in the CIT168 atlas ({cit168}) and sized like those measured in "
        "young adults with a myelin-based method ({habenula-hcp}); measuring the habenula with a residual U-Net follows"
        " {habenula-unet}."
    ),
}


def build_methods(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Paragraphs and references for what ran on one session.

    Args:
        record: a session's record; any part may be absent.

    Returns:
        ``paragraphs`` in order, and ``references`` in the order of their first citation.
    """
    cited: list[str] = []
    paragraphs = [
        _data(record, cited),
        _preprocessing(record, cited),
        *[_prediction(p, record, cited) for p in record.get("predictions") or []],
        _software(record, cited),
    ]
    return {"paragraphs": [p for p in paragraphs if p], "references": [REFERENCES[key] for key in cited]}


def record_methods(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """The methods that the record holds; built from it where it holds none."""
    kept = record.get("methods") or {}
    return kept if kept.get("paragraphs") else build_methods(record)


def methods_markdown(record: Mapping[str, Any]) -> str:
    """The same as Markdown, for pasting into a manuscript."""
    methods = record_methods(record)
    lines = ["# Methods", "", *[line for p in methods["paragraphs"] for line in (p, "")]]
    lines += ["## References", "", *[f"{i}. {text}" for i, text in enumerate(methods["references"], 1)]]
    return "\n".join(lines) + "\n"


def _cite(cited: list[str], *keys: str) -> str:
    for key in keys:
        if key not in cited:
            cited.append(key)
    return "; ".join(SHORT[key] for key in keys)


def _data(record: Mapping[str, Any], cited: list[str]) -> str:
    version = record.get("version")
    name = f"Tandem {version}" if version else "Tandem"
    text = f"Results come from {name}, a BIDS App ({_cite(cited, 'bids', 'bids-apps')}). "
    selection = record.get("selection") or {}
    used = [s["sequence"] for s in selection.get("sequences") or [] if s.get("file")]
    if not used:
        return text + "No usable image was found for this session."
    text += f"Input files were selected with PyBIDS ({_cite(cited, 'pybids')}): {_join(used)}, "
    text += "one file each and none averaged. "
    if len(used) > 1:
        text += f"{selection.get('reference', used[0])} served as the reference. "
    return text.strip()


def _preprocessing(record: Mapping[str, Any], cited: list[str]) -> str:
    done = record.get("preprocessing") or {}
    if not done:
        return ""
    reference = (record.get("selection") or {}).get("reference") or "the reference"
    sentences = []
    if done.get("prepared"):
        sentences.append(
            "Images were taken as they came, already cut out or prepared: no brain was extracted, and nothing was "
            "registered."
        )
    sentences += [f"{text}." for text in done.get("taken_as") or []]
    sentences.append(_diffusion(done, cited))
    if done.get("denoised"):
        sentences.append("Images were denoised by adaptive non-local means as implemented in ANTs.")
    if _ran(done.get("bias")):
        sentences.append(_bias(done["bias"], reference, cited))
    sentences.append(_brain(done))
    kinds = {str(r.get("kind")) for r in done.get("registrations") or []}
    between = [r for r in done.get("registrations") or [] if r.get("kind") == "rigid"]
    if between:
        moving = _join([str(r.get("moving")) for r in between])
        were = "was" if len(between) == 1 else "were"
        ants = _cite(cited, "ants", "itk")
        sentences.append(f"{moving} {were} registered to {reference} by a rigid transform with ANTs ({ants}).")
    if done.get("to_template"):
        sentences.append(_template(done, reference, "syn" in {k.lower() for k in kinds}, cited))
    if len([s for s in (record.get("selection") or {}).get("sequences") or [] if s.get("file")]) > 1:
        sentences.append(
            "All sequences were brought onto the network's grid by a single interpolation of composed transforms."
        )
    if done.get("cost_function_masked"):
        sentences.append("Registrations left out the lesion in the mask that was supplied (cost-function masking).")
    return " ".join(s for s in sentences if s)


def _diffusion(done: Mapping[str, Any], cited: list[str]) -> str:
    """What was computed of a raw series, and what was done to an ADC map that came."""
    made, adc = done.get("diffusion") or {}, done.get("adc") or {}
    sentences = []
    if made:
        shells = _join([f"{s['b']:g}" for s in made.get("shells") or []])
        text = (
            f"Trace image and ADC were computed from the raw diffusion series (b = 0 and {shells} s/mm²): the ADC as "
        )
        text += (
            f"the slope of the logarithm of the signal over b ({_cite(cited, 'stejskal-tanner')}), the trace image as "
        )
        text += f"the {made.get('trace_mean')} mean over directions at b = {made.get('trace_b', 0):g} s/mm² "
        text += f"({_cite(cited, 'diffusion-tensor')}). Movement and eddy currents were not corrected."
        sentences.append(text)
    if adc:
        came = str(adc.get("came_in")).replace("mm2", "mm²")
        sentences.append(
            f"The ADC map came in {came} and was used in 1e-3 mm²/s, without correction of its brightness."
        )
    if done.get("pair"):
        sentences.append("It was taken to lie where the trace image of the same series lies, by world coordinates.")
    return " ".join(sentences)


def _bias(facts: Any, reference: str, cited: list[str]) -> str:
    method = facts.get("method") if isinstance(facts, Mapping) else None
    method = str(method or "N4").replace("N4", f"N4 ({_cite(cited, 'n4')})", 1)
    return f"{reference} was corrected for intensity non-uniformity with {method}."


def _ran(step: Any) -> bool:
    """True for a step with facts that do not say it was left out."""
    if isinstance(step, Mapping):
        return bool(step) and not step.get("skipped", False) and step.get("ran", True) is not False
    return bool(step)


def _brain(done: Mapping[str, Any]) -> str:
    method = done.get("brain_method")
    if done.get("stripped"):
        return "The image came without its skull" + (f" (brain mask: {method})." if method else ".")
    if method and str(method).startswith("by "):
        return f"The brain was extracted {method}, run on the whole head before any registration."
    return f"The brain was extracted ({method})." if method else ""


def _template(done: Mapping[str, Any], reference: str, deformable: bool, cited: list[str]) -> str:
    template = done.get("template") or {}
    source = str(template.get("source") or "").lower()
    text = f"{reference} was registered to the template {template.get('name', 'of unknown name')} "
    text += f"({_cite(cited, 'icbm-2009', 'icbm-2011')}"
    if "templateflow" in source:
        text += f"; from TemplateFlow, {_cite(cited, 'templateflow')}"
    elif "nilearn" in source:
        text += f"; the copy inside nilearn, {_cite(cited, 'nilearn')}"
    text += f") by an affine transform with ANTs ({_cite(cited, 'ants', 'itk')})"
    if deformable:
        text += f", followed by symmetric diffeomorphic registration, SyN ({_cite(cited, 'syn')})"
    return text + "."


def _prediction(prediction: Mapping[str, Any], record: Mapping[str, Any], cited: list[str]) -> str:
    regions = [str(r.get("name")) for r in prediction.get("regions") or [] if r.get("kind") != "total"]
    what = prediction.get("title") or prediction.get("recipe") or "Segmentation"
    text = f"{what}: {_join(regions) or 'regions'} {'was' if len(regions) == 1 else 'were'} segmented "
    text += f"by a residual U-Net ({_cite(cited, 'segresnet')}) built with MONAI ({_cite(cited, 'monai')}) "
    text += f"on PyTorch ({_cite(cited, 'pytorch')})"
    bundle, sha = prediction.get("bundle"), str(prediction.get("weights_sha256") or "")
    if bundle:
        text += f", bundle {bundle}" + (f" (weights SHA-256 {sha[:12]}…)" if sha else "")
    text += ". "
    grid = prediction.get("grid") or {}
    spacing = grid.get("spacing")
    if spacing:
        spacing = spacing if isinstance(spacing, list | tuple) else [spacing] * 3
        text += f"The network worked at {' × '.join(f'{float(s):g}' for s in spacing)} mm"
        text += f" on {' × '.join(str(n) for n in grid['shape'])} voxels. " if grid.get("shape") else ". "
    if located := prediction.get("located"):
        text += (
            f"It looked at a crop on either side, around what the network {located['by']} labels {located['left']} "
            f"(left) and {located['right']} (right), and again around what it found there; the {located['mirrored']} "
            f"side was shown as its mirror image. "
        )
    if prediction.get("sequence"):
        text += f"It read {prediction['sequence']} as it came, before any correction or registration. "
    if prediction.get("tta"):
        text += "Predictions were averaged over left–right flips, with left and right regions swapped back. "
    threshold = prediction.get("threshold")
    text += "The soft volume of a region is the integral of its calibrated probability over that grid"
    likeliest = "; the hard volume counts the voxels whose likeliest region it is. "
    otherwise = likeliest if "threshold" in prediction and threshold is None else ". "
    text += f"; the hard volume counts its voxels at or above {threshold:g}. " if _is_number(threshold) else otherwise
    note = RECIPE_NOTES.get(str(prediction.get("recipe")))
    if note:
        text += note.format(
            **{key: _cite(cited, key) for key in ("synthseg", "cit168", "habenula-hcp", "habenula-unet")}
        )
    return text.strip()


def _software(record: Mapping[str, Any], cited: list[str]) -> str:
    if not (record.get("preprocessing") or record.get("predictions")):
        return ""
    provenance = record.get("provenance") or {}
    versions = provenance.get("packages") or {}
    text = f"The steps were run as a Nipype graph ({_cite(cited, 'nipype')}); "
    text += f"images were read and written with NiBabel ({_cite(cited, 'nibabel')})."
    known = [f"{name} {version}" for name, version in versions.items() if isinstance(version, str | int | float)]
    if known:
        text += f" Versions: {', '.join(known)}."
    if provenance.get("random_seed") is not None:
        text += f" Random seed {provenance['random_seed']}"
        threads = provenance.get("threads")
        text += f", {threads} thread{'' if threads == 1 else 's'}." if _is_number(threads) else "."
    return text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""
