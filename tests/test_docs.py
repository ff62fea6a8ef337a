"""The documentation says what is true: tutorials run, every field of a recipe is explained, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from bids_app.recipes.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> str:
    """Everything in ``bash`` blocks, in order."""
    return "\n".join(re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S))


@pytest.mark.parametrize("level", ["participant", "train", "group"])
def test_a_tutorial_does_what_it_says(level, tmp_path):
    script = f'set -euo pipefail\ntandem() {{ "{sys.executable}" -m bids_app "$@"; }}\n'
    script += commands(ROOT / "docs" / "tutorials" / f"{level}.md")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def parts_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A schema and every schema inside it."""
    found = [model]
    for field in model.model_fields.values():
        for one in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(one, type) and issubclass(one, BaseModel):
                found += parts_of(one)
    return found


@pytest.mark.parametrize("part", parts_of(Recipe), ids=lambda part: part.__name__)
def test_every_field_of_a_recipe_is_explained(part):
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    lacking = [name for name in part.model_fields if f"`{name}`" not in text and f"[{name}]" not in text]
    assert not lacking


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not lost
