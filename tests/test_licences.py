"""What Tandem is installed with has a licence that goes with Apache-2.0, and what it imports is listed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: SPDX. MPL and LGPL bind changes to those files themselves, and Tandem changes none.
FREE = {"Apache-2.0", "MIT", "MIT-CMU", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC", "PSF-2.0", "AFL-2.1"}
UNCHANGED = {"LLVM-exception", "MPL-2.0", "LGPL-3.0-only", "LGPL-2.1-or-later"}


def listed() -> dict[str, str]:
    rows = re.findall(r"^\| \**([\w.-]+?)\** \| (.+?) \|$", (ROOT / "docs" / "licences.md").read_text(), re.M)
    return {name.lower(): licence for name, licence in rows}


def test_what_is_imported_is_in_bold():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "licences.md").read_text().lower()
    for dependency in project["dependencies"]:
        name = re.match(r"[\w.-]+", dependency)[0].lower()
        assert f"| **{name}** |" in text


def test_every_licence_goes_with_apache():
    for name, licence in listed().items():
        words = set(re.split(r" AND | OR | WITH ", licence))
        assert name == "package" or words <= FREE | UNCHANGED, (name, licence)
