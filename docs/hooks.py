"""Reference pages, one per room, made while the documentation is built."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs: add ``reference/ROOM.md`` for every folder with Python code."""
    for folder in [*sorted(path.parent for path in (ROOT / "bids_app").glob("*/__init__.py")), ROOT / "workflows"]:
        files.append(File.generated(config, f"reference/{folder.name}.md", content=page_of(folder)))
    return files


def page_of(folder: Path) -> str:
    """What a room is for, and the public names of its modules."""
    about = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    modules = sorted(path for path in folder.rglob("*.py") if not path.name.startswith("__"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules]
    return "\n\n".join([f"# {folder.name}", about, *(f"::: {name}" for name in names)]) + "\n"
