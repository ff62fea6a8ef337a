"""What a session's page says of a resting-state series: volumes, motion, signal, and their course."""

from __future__ import annotations

from typing import Any

from bids_app.bids.record import Images
from bids_app.report.training_figures import frame


def functional_facts(images: Images) -> dict[str, Any] | None:
    """Facts by name, and figures of framewise displacement and DVARS; None where no series was used."""
    made = images.preprocessing.functional
    if not made:
        return None
    dropped = f", {made['dropped']} before the steady state dropped" if made.get("dropped") else ""
    timing = "corrected" if made.get("slice_timing") else "not corrected"
    timing = f"left to {made['prepared_by']}" if made.get("prepared_by") else timing
    dropped += f", preprocessed by {made['prepared_by']}" if made.get("prepared_by") else ""
    moved, changed = made.get("mean_fd_mm", 0), made.get("mean_dvars", 0)
    facts = [
        ("Computed from", f"{made.get('series')}: {made.get('volumes')} volumes of {made.get('tr_s', 0):g} s{dropped}"),
        ("Motion", f"{moved:.2f} mm from volume to volume, at most {made.get('largest_fd_mm', 0):.2f}"),
        ("Signal", f"median temporal signal-to-noise {made.get('tsnr', 0):.0f}, mean change {changed:.2f} %"),
        ("Regression", f"{made.get('nuisance')} columns of motion; slice timing {timing}"),
    ]  # fmt: skip
    figures = [
        course(made.get("fd_mm") or [], "Framewise displacement", "mm"),
        course(made.get("dvars") or [], "Change of the signal (DVARS)", "%"),
    ]
    return {"facts": facts, "figures": [one for one in figures if one]}


def course(values: list[float], title: str, unit: str) -> dict[str, Any] | None:
    """A line over the volumes."""
    if len(values) < 2:
        return None
    figure = frame([0, len(values) - 1], [0, *values], title=title, alt=title, across="volume", up=unit)
    points = " ".join(f"{figure['x'](i):.1f},{figure['y'](v):.1f}" for i, v in enumerate(values))
    figure["lines"] = [{"points": points}]
    return {name: value for name, value in figure.items() if name not in ("x", "y")}
