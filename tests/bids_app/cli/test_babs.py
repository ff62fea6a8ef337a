"""The configuration for BABS: every option is one of the parser's, and a job's command runs one session."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from bids_app.cli.options import OPTIONS
from bids_app.cli.parser import parse
from bids_app.cli.units import choose_units
from tests.phantoms import tiny_dataset

CONFIGURATION = Path(__file__).parents[3] / "docs" / "babs.yaml"
#: As BABS 0.5 writes it for every job with a session of its own, whatever the app is called.
FILTER = {
    "fmap": {"datatype": "fmap"},
    "sbref": {"datatype": "func", "session": "02", "suffix": "sbref"},
    "flair": {"datatype": "anat", "session": "02", "suffix": "FLAIR"},
    "t2w": {"datatype": "anat", "session": "02", "suffix": "T2w"},
    "t1w": {"datatype": "anat", "session": "02", "suffix": "T1w"},
    "roi": {"datatype": "anat", "session": "02", "suffix": "roi"},
}


def configuration() -> dict:
    return yaml.safe_load(CONFIGURATION.read_text())


def given() -> dict[str, str]:
    """The options, but for BABS' own placeholder of a key."""
    return {name: value for name, value in configuration()["bids_app_args"].items() if not name.startswith("$")}


def test_every_option_is_one_of_the_parsers():
    known = {flag for option in OPTIONS for flag in option.flags}
    assert set(given()) <= known
    assert configuration()["bids_app_args"]["$SUBJECT_SELECTION_FLAG"] in known
    assert all(isinstance(value, str) for value in given().values())  # BABS hands on words, and asks them to be quoted


def test_the_parts_that_babs_asks_for_are_there():
    asked = {"bids_app_args", "zip_foldernames", "cluster_resources", "script_preamble", "job_compute_space"}
    assert asked <= configuration().keys()


def test_the_command_of_a_job_runs_its_session_alone(tmp_path):
    names = [f"sub-{p}/ses-{s}/anat/sub-{p}_ses-{s}_T1w.nii.gz" for p in ("01", "02") for s in ("01", "02")]
    bids = tiny_dataset(tmp_path / "inputs" / "data" / "BIDS", names)
    filters = tmp_path / "ses-02_filter.json"
    filters.write_text(json.dumps(FILTER))
    words = [str(bids), str(tmp_path / "outputs" / "tandem"), "participant", "--bids-filter-file", str(filters)]
    for name, value in given().items():
        words += [name, str(tmp_path) if value == "$BABS_TMPDIR" else value] if value else [name]
    settings = parse([*words, "--participant-label", "sub-01"])
    assert [(unit.participant, unit.session) for unit in choose_units(settings)] == [("01", "02")]


def test_what_it_watches_for_in_logs_is_what_the_program_says():
    root = Path(__file__).parents[3]
    said = "".join(path.read_text() for part in ("bids_app", "workflows") for path in (root / part).rglob("*.py"))
    for line in configuration()["alert_log_messages"]["stdout"]:
        assert line.removeprefix("tandem: ") in said, line
