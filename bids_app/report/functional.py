"""What a session's page says of a resting-state series: volumes, motion, signal, and their course."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_app.bids.record import Images
from bids_app.report.charts import axis, short, ticks

#: Width of the figure; of what stands left of it; heights of a course and of the picture of the series.
STACK, SIDE, COURSE, CARPET = 860.0, 46.0, 64.0, 240.0


def functional_facts(images: Images, carpet: str | None = None) -> dict[str, Any] | None:
    """Facts by name, and the figure of `stack`; None where no series was used.

    ``carpet``: of `carpet_of`.
    """
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
    return {"facts": facts, "stack": stack(made.get("fd_mm") or [], made.get("dvars") or [], carpet)}


def carpet_of(output_dir: Path, images: Images, problems: list[str]) -> str | None:
    """The picture of the series as a data URI; None where there is none, and a sentence where it is gone."""
    if not images.files.carpet:
        return None
    try:
        content = (output_dir / images.files.carpet).read_bytes()
    except OSError as error:
        problems.append(f"{images.files.carpet} cannot be shown: {error.strerror or error}")
        return None
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def stack(moved: Sequence[float], changed: Sequence[float], carpet: str | None) -> dict[str, Any] | None:
    """Framewise displacement and DVARS over the volumes, and the series itself below them, on one axis of time.

    Args:
        moved: mm.
        changed: per cent.
        carpet: data URI of `bids_app.imaging.carpet.carpet`.

    Returns:
        Geometry for the template; None where there are fewer than two volumes.
    """
    volumes = max(len(moved), len(changed))
    if volumes < 2:
        return None
    x = axis(-0.5, volumes - 0.5, SIDE, STACK - 8)
    rows, top = [], 18.0
    for values, title in ((moved, "Framewise displacement, mm"), (changed, "Change of the signal (DVARS), %")):
        marks = ticks(0.0, max(values, default=0.0) or 1.0, 3)
        y = axis(marks[0], marks[-1], top + COURSE, top)
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(values))
        rows.append({"title": title, "top": top, "points": points, "ticks": [(short(v), y(v)) for v in marks]})
        top += COURSE + 26
    picture = {"href": carpet, "top": top, "height": CARPET} if carpet else None
    bottom = top + CARPET if carpet else top - 26
    times = [(short(v), x(v)) for v in ticks(0, volumes - 1, 8) if v == int(v) and v < volumes]
    return {
        "width": STACK, "height": bottom + 32, "left": SIDE, "right": STACK - 8, "bottom": bottom,
        "rows": rows, "carpet": picture, "times": times,
    }  # fmt: skip
