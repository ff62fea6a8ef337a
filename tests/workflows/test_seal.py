"""Work files that are not as a node left them are found, and the node is done again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bids_app.settings import Settings
from tests.workflows.prepared import outputs, prepared_dataset
from workflows.run_session import run_session
from workflows.scratch import MARKER
from workflows.seal import SEAL, clear_damaged, seal

pytestmark = pytest.mark.faults


@pytest.fixture
def node(tmp_path) -> Path:
    """The sealed folder of a node in a graph's."""
    folder = tmp_path / "session_wf" / "conform"
    folder.mkdir(parents=True)
    (folder / "result_conform.pklz").write_bytes(b"a result")
    (folder / "image.nii").write_bytes(bytes(3_000_000))
    seal(folder)
    return folder


def test_a_node_that_is_whole_stays(node):
    assert clear_damaged(node.parent) == []
    assert (node / "image.nii").is_file()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


IMAGE, RESULT = "image.nii", "result_conform.pklz"  # a node without its result is run again by Nipype itself


@pytest.mark.parametrize(
    ("name", "harm"), [(IMAGE, flip), (IMAGE, cut), (IMAGE, Path.unlink), (RESULT, flip), (RESULT, cut)]
)
def test_one_wrong_byte_is_enough(node, name, harm):
    harm(node / name)
    (told,) = clear_damaged(node.parent)
    assert name in told
    assert "conform" in told
    assert not node.exists()


def test_a_node_that_was_stopped_before_it_was_through_is_no_damage(node):
    (node / SEAL).unlink()
    assert clear_damaged(node.parent) == []
    assert not node.exists()


def test_a_session_with_damaged_work_files_gives_the_same_bytes(tmp_path, capsys):
    root = prepared_dataset(tmp_path, ["01"])
    settings = Settings(root / "bids", root / "out", work_dir=root / "work", recipe=(str(root / "taken.toml"),))
    assert run_session(settings, "01", None, threads=1) == 0
    expected, graph = outputs(root), root / "work" / "sub-01" / "session_wf"
    for harm in (
        lambda: cut(next(graph.rglob("result_conform.pklz"))),
        lambda: cut(next(graph.rglob("result_reference.pklz"))),
        lambda: next(graph.rglob("conformed.nii")).unlink(),
        lambda: flip(next(graph.rglob("conformed.nii"))),
        lambda: (root / "work" / "sub-01" / MARKER).write_text("another version"),
        lambda: (root / "work" / "sub-01" / MARKER).write_bytes(b"\xff\xfe"),
    ):
        harm()
        shutil.rmtree(root / "out" / "sub-01")
        capsys.readouterr()
        assert run_session(settings, "01", None, threads=1) == 0
        said = [line for line in capsys.readouterr().out.splitlines() if "again" in line]
        assert len(said) == 1, said
        assert outputs(root) == expected
