"""What a file or a name that somebody else made could do, and does not."""

from __future__ import annotations

import ast
import contextlib
import gzip
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids import preflight
from bids_app.bids.filters import read_filters
from bids_app.bundle.bundle import load_bundle
from bids_app.cli.parser import parse
from bids_app.cli.units import choose_units
from bids_app.errors import BundleError, ImageError, TandemError
from bids_app.recipes.recipe import load_recipe, parse_recipe
from tests.learned.small_bundle import small_recipe, write_small
from tests.phantoms import checksums, tiny_dataset

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
FILES = [path for part in ("bids_app", "workflows") for path in sorted((ROOT / part).rglob("*.py"))]
#: Calls that run, unpack or unpickle what they are given.
FORBIDDEN = {
    *("pickle.load", "pickle.loads", "joblib.load", "pd.read_pickle", "dill.load", "yaml.load", "yaml.unsafe_load"),
    *("os.system", "os.popen", "eval", "exec", "shutil.unpack_archive", "torch.jit.load"),
}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(text: str) -> list[str]:
    found = []
    for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
        name, options = dotted(call.func), {k.arg: getattr(k.value, "value", None) for k in call.keywords}
        loose = name == "torch.load" and options.get("weights_only") is not True
        loose |= name in ("np.load", "numpy.load") and options.get("allow_pickle", False) is not False
        if name in FORBIDDEN or name.endswith(".extractall") or options.get("shell") is True or loose:
            found.append(f"{call.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_unpacked_or_handed_to_a_shell(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        *("pickle.load(f)", "torch.load(p)", "np.load(p, allow_pickle=True)", "run(x, shell=True)", "z.extractall()"),
        "torch.load(p, weights_only=False)",
    ],
)
def test_the_search_finds_what_it_looks_for(text):
    assert dangers(text)


OUTSIDE = ["../../outside", "01/../../outside", "/tmp/outside", "..", "01\x00", "01;touch outside", "$(touch outside)"]


@pytest.mark.parametrize("label", OUTSIDE)
@pytest.mark.parametrize("option", ["--participant-label", "--session-label"])
def test_a_label_is_never_a_path(tmp_path, option, label):
    bids = tiny_dataset(tmp_path / "bids")
    before = checksums(tmp_path)
    with contextlib.suppress(TandemError):
        units = choose_units(parse([str(bids), str(tmp_path / "out"), "participant", option, label]))
        assert [(unit.participant, unit.session) for unit in units] == [("01", None)]  # a folder that is there
    assert checksums(tmp_path) == before


@pytest.mark.parametrize("value", OUTSIDE)
def test_a_filter_never_reaches_outside_the_dataset(tmp_path, value):
    bids = tiny_dataset(tmp_path / "bids")
    tiny_dataset(tmp_path / "outside")
    filters = tmp_path / "filter.json"
    filters.write_text(json.dumps({"t1w": {"session": value, "acquisition": value, "subject": value}}))
    words = [str(bids), str(tmp_path / "out"), "participant", "--bids-filter-file", str(filters)]
    with contextlib.suppress(TandemError):
        read_filters(filters, {"T1w": "T1w"})
    with contextlib.suppress(TandemError):
        units = choose_units(parse(words))
        assert [(unit.participant, unit.session) for unit in units] == [("01", None)]


@pytest.mark.parametrize("name", ["../../outside", "a/b", "..", ".", "a b", "/tmp/outside", "a\nb", ""])
def test_a_recipe_or_region_cannot_be_called_by_a_path(name):
    plain = json.loads(small_recipe().model_dump_json(exclude_none=True))
    with pytest.raises(TandemError):
        parse_recipe({**plain, "name": name}, source="test")


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "../recipes/habenula", "habenula/../habenula"])
def test_a_recipe_or_bundle_that_is_asked_for_by_name_is_one_that_ships(name):
    with pytest.raises(TandemError):
        load_recipe(name)
    with pytest.raises(TandemError):
        load_bundle(name)


def test_a_bundle_with_a_link_to_a_file_outside_is_refused(tmp_path):
    folder = write_small(tmp_path / "bundle").path
    card = folder / "MODEL_CARD.md"
    (tmp_path / "secret.md").write_text(card.read_text())
    card.unlink()
    card.symlink_to(tmp_path / "secret.md")
    with pytest.raises(BundleError):
        load_bundle(folder)


#: What would reach for the network.
CLIENTS = {"requests", "urllib.request", "urllib3", "http.client", "ftplib", "smtplib", "httpx", "aiohttp", "pooch"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_a_client_of_the_network(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    assert not imported & CLIENTS


def test_an_image_that_unpacks_to_more_than_its_header_says_is_not_unpacked(tmp_path, monkeypatch):
    """128 MB in a file of 130 KB, of which the header names 2 KB."""
    small = nib.Nifti1Image(np.random.default_rng(0).normal(100, 20, (8, 8, 8)).astype(np.float32), np.eye(4))
    whole = tmp_path / "bomb.nii.gz"
    with gzip.open(whole, "wb") as stream:
        stream.write(small.to_bytes())
        for _ in range(128):
            stream.write(bytes(1 << 20))
    taken = []

    class Counted(gzip.GzipFile):
        def read(self, size=-1):
            block = super().read(size)
            taken.append(len(block))
            return block

    monkeypatch.setattr(preflight, "_open", lambda path: Counted(path, "rb"))
    with pytest.raises(ImageError, match="goes on behind its voxels"):
        preflight.check_image(whole, head=False)
    assert whole.stat().st_size < 1 << 18
    assert sum(taken) < 4 << 20


def test_every_check_that_the_policy_names_is_there():
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[^`]+\.py)`", policy))
    assert len(named) >= 8
    assert [name for name in sorted(named) if "def test_" not in (ROOT / name).read_text(encoding="utf-8")] == []
    assert (ROOT / "docs" / "licences.md").is_file()
