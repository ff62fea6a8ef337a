"""The array script: one session per task, as a shell runs it; and again for what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bids_app.__main__ import main
from bids_app.bids.status import read_status
from tests.workflows.prepared import prepared_dataset


@pytest.fixture
def root(tmp_path) -> Path:
    return prepared_dataset(tmp_path, ["01", "02"])


def words(root: Path, kind: str, *more: str) -> list[str]:
    return ["hpc-script", kind, str(root / "bids"), str(root / "out"), "--recipe", str(root / "taken.toml"), *more]


def script(root: Path, capsys, kind: str, *more: str) -> str:
    assert main(words(root, kind, *more)) == 0
    text = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    return text


def run_task(root: Path, file: Path, number: int) -> int:
    """As Slurm does, with ``tandem`` on the path."""
    (root / "bin").mkdir(exist_ok=True)
    tandem = root / "bin" / "tandem"
    tandem.write_text(f'#!/bin/bash\nexec {sys.executable} -m bids_app "$@"\n')
    tandem.chmod(0o755)
    (root / "tmp").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        "SLURM_ARRAY_TASK_ID": str(number),
        "TMPDIR": str(root / "tmp"),
    }
    return subprocess.run(["bash", str(file)], env=environment, capture_output=True, timeout=300).returncode


@pytest.mark.faults
def test_a_task_runs_its_session_and_missing_ones_are_asked_for_again(root, capsys):
    file = root / "array.sh"
    assert main(words(root, "slurm", "-o", str(file))) == 0
    assert "#SBATCH --array=0-1%50" in file.read_text()
    assert run_task(root, file, 1) == 0
    assert read_status(root / "out", "sub-02").state == "done"
    assert read_status(root / "out", "sub-01") is None
    assert list((root / "tmp").glob("tandem_*")) == []
    again = script(root, capsys, "slurm", "--missing")
    assert "#SBATCH --array=0-0%50" in again
    assert "\n    01\n" in again.replace("'", "")
    (root / "again.sh").write_text(again)
    assert run_task(root, root / "again.sh", 0) == 0
    assert main(words(root, "slurm", "--missing")) == 18


def test_a_gpu_and_what_a_person_asks_for_are_in_it(root, capsys):
    text = script(
        root,
        capsys,
        "slurm",
        "--device",
        "cuda",
        "--nprocs",
        "4",
        "--mem",
        "8G",
        "--time",
        "1-00:00:00",
        "--throttle",
        "7",
        "--partition",
        "gpu",
        "--participant-label",
        "02",
        "--tta",
        "-d",
        "manual=relative",
    )
    for line in ("--gres=gpu:1", "--cpus-per-task=4", "--mem=8192M", "--time=1-00:00:00", "--array=0-0%7", "=gpu\n"):
        assert line in text
    assert "--device cuda" in text
    assert "--tta" in text
    assert f"manual={Path.cwd() / 'relative'}" in text


def test_in_an_image_all_that_is_read_is_read_only_and_has_its_own_path(root, capsys):
    text = script(root, capsys, "apptainer", "--image", "/images/tandem.sif", "--device", "cuda")
    assert "apptainer run --containall --cleanenv --nv" in text
    assert f"-B {root / 'bids'}:{root / 'bids'}:ro" in text
    assert f"-B {root / 'taken.toml'}:{root / 'taken.toml'}:ro" in text
    assert f"-B {root / 'out'}:{root / 'out'} " in text
    assert '-B "$work:$work"' in text


def test_more_sessions_than_an_array_may_have_go_into_fewer_tasks(tmp_path, capsys):
    root = prepared_dataset(tmp_path, ["01"])
    for number in range(2, 1203):
        (root / "bids" / f"sub-{number:04}" / "anat").mkdir(parents=True)
    text = script(root, capsys, "slurm")
    assert "#SBATCH --array=0-999%50" in text
    assert "i += 1000" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--time", "soon; rm -rf x"], "--time"), (["--partition", "a b"], "--partition"), (["--no-such"], "--no-such")],
)
def test_what_does_not_go_into_a_script_is_refused(root, capsys, more, said):
    assert main(words(root, "slurm", *more)) == 64
    assert said in capsys.readouterr().err


def test_apptainer_needs_its_image(root, capsys):
    assert main(words(root, "apptainer")) == 64
    assert "--image" in capsys.readouterr().err


def test_a_name_with_shell_characters_stays_a_name(root, capsys):
    (root / "bids" / "sub-$(touch pwned)" / "anat").mkdir(parents=True)
    text = script(root, capsys, "slurm")
    assert "'$(touch pwned)'" in text
