"""What a bundle says of itself, in sentences for a methods text; all of it stands in the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_app.bundle.bundle import Bundle


def network_words(bundle: Bundle) -> str:
    """What was answered, and by which network with which weights."""
    recipe = bundle.recipe
    names = [region.name for region in recipe.regions]
    found = []
    if names:
        found.append(f"{_joined(names)} {'was' if len(names) == 1 else 'were'} segmented")
    if recipe.targets:
        found.append(f"{_joined([target.name for target in recipe.targets])} answered for the whole participant")
    members = f", {len(bundle.networks)} members that vote" if len(bundle.networks) > 1 else ""
    return (
        f"{recipe.title}: {' and '.join(found)} by a residual U-Net [@segresnet] built with MONAI [@monai] on PyTorch "
        f"[@pytorch], bundle {bundle.name} (weights SHA-256 {bundle.sha256[:12]}…{members})."
    )


def training_words(bundle: Bundle) -> str:
    """Who and what trained it, as its manifest says; empty where that says nothing."""
    manifest = bundle.manifest
    sources = [*_drawn(manifest), *_real(manifest)]
    told = f"By its manifest, the bundle {bundle.name} was trained on {' and '.join(sources)}." if sources else ""
    own = manifest.get("methods")
    return " ".join(text for text in (told, own if isinstance(own, str) else "") if text)


def _drawn(manifest: Mapping[str, Any]) -> list[str]:
    """Scans that were made, not measured."""
    scans, maps = manifest.get("scans_drawn"), manifest.get("label_maps")
    if not _count(scans):
        return []
    source = f"{maps} label maps" if _count(maps) else "label maps"
    return [f"{scans} scans drawn from {source} by domain randomisation [@synthseg]"]


def _real(manifest: Mapping[str, Any]) -> list[str]:
    """Scans of people."""
    images, counts = manifest.get("real_images"), manifest.get("counts")
    found = []
    if isinstance(images, list) and images:
        found.append(f"{len(images)} real image{'' if len(images) == 1 else 's'}")
    if isinstance(counts, Mapping) and _count(counts.get("participants")):
        sessions, people = counts.get("sessions", counts["participants"]), counts["participants"]
        found.append(f"{sessions} real sessions of {people} participants")
    return found


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
