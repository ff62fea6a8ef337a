"""Bundles come from other people: nonsense in one is refused before anything is predicted with it."""

import json
import shutil

import pytest

from bids_app.bundle.bundle import PARTS, SHIPPED, WEIGHTS, load_bundle, shipped
from bids_app.errors import BundleError, TandemError

pytestmark = pytest.mark.faults


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED / "hippocampus", tmp_path / "hippocampus")


def change(folder, part, **fields):
    path = folder / part
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("name", shipped())
def test_the_bundles_that_ship_are_sound(name):
    assert load_bundle(name).plans


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "0.5"), ("threshold", True), ("threshold", None), ("threshold", [0.5]),
        ("threshold", float("nan")),
        ("threshold", 1.5), ("threshold", -0.2), ("temperature", 0), ("temperature", -1), ("temperature", "warm"),
        ("temperature", float("inf")), ("temperature", 1e9), ("thresholds", {"anterior hippocampus": 7}),
        ("thresholds", [0.5, 0.5]), ("thresholds", {"anterior hippocampus": "0.5"}), ("volume_gain", 0),
        ("volume_gain", -3), ("volume_gain", 1e6), ("usual_mm3", [30, 8]), ("usual_mm3", [1]), ("usual_mm3", "8-30"),
        ("usual_mm3", [-5, 8]), ("usual_apart_mm", [1, 1e9]), ("repeat_cv", -0.1), ("repeat_cv", 50),
        ("least_mm3", -1), ("least_mm3", "10"), ("least_mm3", float("inf")), ("targets", {"dx": {"temperature": -1}}),
        ("targets", {"dx": {"half_width": "wide"}}), ("targets", []), ("familiarity", {"mean": [1]}),
        ("familiarity", {"mean": [0], "scale": [0], "covariance": [[1]], "threshold": 1}),
        ("familiarity", {"mean": [0], "scale": [1], "covariance": [[1, 2]], "threshold": 1}),
        ("familiarity", {"mean": [0], "scale": [1], "covariance": [[-1]], "threshold": 1}),
        ("fitted_on", -4), ("notes", "none"), ("treshold", 0.5),
    ],
)  # fmt: skip
def test_nonsense_in_a_calibration_is_refused_by_its_name(folder, name, value):
    change(folder, "calibration.json", **{name: value})
    with pytest.raises(BundleError, match=rf"calibration\.json: .*{name}"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequences", 0), ("sequences", "1"), ("sequences", 2), ("classes", 7), ("classes", -1), ("filters", 10**9),
        ("filters", 1.5), ("blocks", []), ("blocks", [0]), ("blocks", [1] * 50), ("blocks", "122"),
        ("deep_supervision", -1), ("fold", 0), ("dimensions", 4), ("dimensions", True), ("heads", [{"name": "x"}]),
        ("heads", {"name": "x"}), ("covariates", -1), ("dropout", 1), ("dropout", -0.1), ("sided", 1), ("sided", "yes"),
        ("partners", [-1]), ("members", 0), ("members", 10**6), ("members", "2"), ("depth", 3),
    ],
)  # fmt: skip
def test_nonsense_in_a_network_is_refused_by_its_name(folder, name, value):
    change(folder, "network.json", **{name: value})
    with pytest.raises(BundleError, match=rf"network\.json.*{name}"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patch", [0, 60, 44]), ("patch", "44"), ("normalisation", {"T1w": {"kind": "magic"}}),
        ("normalisation", {"T1w": {"kind": "cohort", "mean": 1, "sd": 0}}), ("targets", {"age": {"mean": 1, "sd": -1}}),
        ("normalisation", {"T1w": {"kind": "cohort"}}), ("spacing_mm", 0),
    ],
)  # fmt: skip
def test_nonsense_in_a_plan_is_refused_by_its_name(folder, name, value):
    change(folder, "plan.json", **{name: value})
    with pytest.raises(BundleError, match=rf"plan\.json: {name}"):
        _ = load_bundle(folder).plans


@pytest.mark.parametrize("part", ["calibration.json", "network.json", "manifest.json", "metrics.json", "recipe.toml"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "[]", '"x"', "3", "", "null", "a = " + "[" * 10_000]
)
def test_another_kind_of_content_ends_in_a_sentence(folder, part, content):
    (folder / part).write_text(content)
    with pytest.raises(TandemError, match=part.replace(".", r"\.")) as caught:
        load_bundle(folder)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("part", [WEIGHTS, *PARTS])
def test_a_link_to_a_file_outside_is_not_followed(folder, tmp_path, part):
    secret = tmp_path / "secret"
    shutil.move(folder / part, secret)
    (folder / part).symlink_to(secret)
    with pytest.raises(BundleError, match="a link to a file outside"):
        load_bundle(folder)


def test_a_link_inside_the_bundle_is_fine_and_so_is_a_link_to_a_bundle(folder, tmp_path):
    (folder / "LICENSE").rename(folder / "LICENSE.txt")
    (folder / "LICENSE").symlink_to("LICENSE.txt")
    (tmp_path / "mine").symlink_to(folder)
    assert load_bundle(tmp_path / "mine").recipe.name == "hippocampus"
