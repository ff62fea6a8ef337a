"""What a session's page shows of its map of grey matter: amounts, and the map over the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_app.bids.record import Images
from bids_app.errors import ImageError
from bids_app.report.mosaic import mosaic
from bids_app.report.planes import load_volume


def grey_matter_facts(output_dir: Path, images: Images, problems: list[str]) -> dict[str, Any] | None:
    """Facts by name and a picture; None where no map was made. A file that cannot be read is told in ``problems``."""
    made, file = images.preprocessing.grey_matter, images.files.grey_matter
    if not made or not file:
        return None
    facts = [
        ("Grey matter", f"{made.get('grey_ml', 0):.0f} ml of {made.get('inside_ml', 0):.0f} ml within the skull"),
        ("In the template", f"{made.get('template')}, smoothed by {made.get('fwhm_mm', 0):g} mm, volume kept"),
    ]
    try:
        picture = mosaic(load_volume(output_dir / file))
    except ImageError as error:
        problems.append(f"the map of grey matter is not shown: {error}")
        picture = ""
    return {"facts": facts, "picture": picture}
