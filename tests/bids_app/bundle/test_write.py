"""Bundles are written whole or not at all, with every member, and say who trained them."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bids_app.bids.digest import content_hash
from bids_app.bundle.bundle import WEIGHTS, hash_weights, load_bundle
from bids_app.bundle.manifest import refuse_trained, trained_before, was_trained_on
from bids_app.errors import BundleError, IOFailure, LeakageError
from tests.bids_app.bids.samples import make_image
from tests.learned.small_bundle import small_manifest, small_recipe, small_shape, small_states, write_small


def sign(folder: Path) -> None:
    """Put the hash of the weights that are there into the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "weights_sha256": hash_weights(folder)}))


def test_every_member_comes_back_with_its_own_weights(tmp_path):
    bundle = write_small(tmp_path / "b", members=3)
    wanted = small_states(small_recipe(), 3)
    assert len(bundle.networks) == 3
    for network, state in zip(bundle.networks, wanted, strict=True):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, state[name], atol=1e-3, rtol=1e-3)
    assert bundle.network is bundle.networks[0]


def test_one_member_has_plain_names(tmp_path):
    assert not any(name.startswith("member") for name in load_file(write_small(tmp_path / "b").path / WEIGHTS))


def test_a_bundle_holds_its_recipe(tmp_path):
    recipe = small_recipe(learning={"covariates": ["age"], "steps": 7})
    assert write_small(tmp_path / "b", recipe=recipe).recipe == recipe


def with_networks(path: Path):
    """The small recipe with two maps of networks of one image and one of another."""
    first, other = make_image(path / "mine.nii.gz", shape=(4, 4, 4)), make_image(path / "theirs.nii", shape=(4, 4, 4))
    maps = [("a", first, 1), ("b", first, 2), ("c", other, 1)]
    sequences = [{"name": "T1w", "suffix": "T1w"}] + [
        {"name": name, "suffix": "networkmap", "dual_regression": {"file": str(file), "volume": volume}}
        for name, file, volume in maps
    ]
    return small_recipe(sequences=sequences)


def test_a_bundle_holds_the_networks_that_its_maps_show(tmp_path):
    bundle = write_small(tmp_path / "b", recipe=with_networks(tmp_path))
    shutil.move(tmp_path / "b", tmp_path / "elsewhere")
    (tmp_path / "mine.nii.gz").unlink()
    parts = [one.dual_regression for one in load_bundle(tmp_path / "elsewhere").recipe.sequences[1:]]
    home = tmp_path / "elsewhere"
    assert [(part.file, part.volume) for part in parts] == [
        (str(home / "networks.nii.gz"), 1), (str(home / "networks.nii.gz"), 2), (str(home / "networks-2.nii"), 1),
    ]  # fmt: skip
    assert (home / "networks-2.nii").read_bytes() == (tmp_path / "theirs.nii").read_bytes()
    assert bundle.recipe.sequences[0].name == "T1w"
    (home / "networks-2.nii").unlink()
    with pytest.raises(BundleError, match=r"lacks networks-2\.nii"):
        load_bundle(home)


def test_a_bundle_reads_no_networks_from_outside_its_folder(tmp_path):
    write_small(tmp_path / "b", recipe=with_networks(tmp_path))
    text = (tmp_path / "b/recipe.toml").read_text()
    (tmp_path / "b/recipe.toml").write_text(text.replace("networks-2.nii", "../theirs.nii"))
    with pytest.raises(BundleError, match="outside its folder"):
        load_bundle(tmp_path / "b")


def test_networks_that_are_gone_leave_no_bundle(tmp_path):
    recipe = with_networks(tmp_path)
    (tmp_path / "theirs.nii").unlink()
    with pytest.raises(BundleError, match=r"theirs\.nii, the networks of c, is no longer there"):
        write_small(tmp_path / "b", recipe=recipe)
    assert not (tmp_path / "b").exists()


def test_each_member_has_its_plan(tmp_path):
    assert write_small(tmp_path / "b", members=2, plan=[{"a": 1}, {"a": 2}]).plans == [{"a": 1}, {"a": 2}]
    assert write_small(tmp_path / "c", members=2, plan={"a": 1}).plans == [{"a": 1}] * 2
    assert load_bundle("habenula").plans == [{}] * 2


def test_another_number_of_plans_than_members_is_refused(tmp_path):
    with pytest.raises(BundleError, match="3 plans for 2 members"):
        write_small(tmp_path / "b", members=2, plan=[{}] * 3)


@pytest.mark.faults
def test_a_missing_member_is_refused(tmp_path):
    folder = write_small(tmp_path / "b", members=3).path
    weights = load_file(folder / WEIGHTS)
    save_file({name: value for name, value in weights.items() if not name.startswith("member1.")}, folder / WEIGHTS)
    sign(folder)
    with pytest.raises(BundleError, match="member 1 of 3 is missing"):
        load_bundle(folder).networks  # noqa: B018


@pytest.mark.faults
def test_weights_cut_short_are_refused_though_the_manifest_agrees(tmp_path):
    folder = write_small(tmp_path / "b").path
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="are not those of its manifest"):
        load_bundle(folder)
    sign(folder)
    with pytest.raises(BundleError, match="do not fit"):
        load_bundle(folder).networks  # noqa: B018


@pytest.mark.faults
@pytest.mark.parametrize("members", [0, "two", 2.5])
def test_a_number_of_members_that_is_none_is_refused(tmp_path, members):
    folder = write_small(tmp_path / "b").path
    shape = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(json.dumps({**shape, "members": members}))
    with pytest.raises(BundleError, match="members"):
        load_bundle(folder)


@pytest.mark.faults
def test_a_full_disk_is_named_and_the_old_bundle_stays(tmp_path, monkeypatch):
    before = write_small(tmp_path / "b")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(IOFailure, match=f"{tmp_path}.*no space"):
        write_small(before.path, members=2)
    monkeypatch.undo()
    assert load_bundle(before.path).sha256 == before.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.faults
def test_weights_that_do_not_fit_never_replace_a_bundle(tmp_path):
    before = write_small(tmp_path / "b")
    with pytest.raises(BundleError, match="do not fit"):
        write_small(before.path, shape=small_shape(small_recipe(regions=False)))
    assert load_bundle(before.path).sha256 == before.sha256


@pytest.mark.faults
def test_weights_of_a_training_that_diverged_are_refused(tmp_path):
    states = small_states(small_recipe())
    next(iter(states[0].values())).fill_(float("nan"))
    with pytest.raises(BundleError, match="not finite"):
        write_small(tmp_path / "b", states=states)


def test_numbers_that_are_not_finite_become_null(tmp_path):
    assert write_small(tmp_path / "b", metrics={"auc": float("nan")}).metrics == {"auc": None}


def test_those_who_trained_are_found_by_name_and_by_image(tmp_path):
    bundle = write_small(tmp_path / "b")
    assert was_trained_on(bundle, ["sub-01", "99", "03"], ["ab" * 32, "cd" * 32]) == ["01", "03", "ab" * 32]
    text = (bundle.path / "manifest.json").read_text()
    assert "ab" * 32 not in text


def test_an_evaluation_on_those_who_trained_is_refused_with_their_names(tmp_path):
    bundle = write_small(tmp_path / "b")
    with pytest.raises(LeakageError, match="02"):
        refuse_trained(bundle, ["02", "77"])
    refuse_trained(bundle, ["77"])


def test_an_image_that_trained_is_known_under_another_name(tmp_path):
    image = make_image(tmp_path / "other.nii.gz", shape=(8, 8, 8))
    bundle = write_small(tmp_path / "b", manifest=small_manifest(images=[content_hash(image)]))
    assert "this participant trained the bundle" in trained_before(bundle, "77", [image])[0]
    assert "named sub-01" in trained_before(bundle, "01", [])[0]
    assert trained_before(bundle, "77", []) == []


def test_the_shipped_bundle_names_no_participant():
    assert was_trained_on(load_bundle("habenula"), ["01"], ["ab" * 32]) == []


def test_the_card_says_what_was_measured_with_its_interval(tmp_path):
    metrics = {"regions": {"left thing": {"dice": {"mean": 0.81, "low": 0.7, "high": 0.9}}}}
    card = (write_small(tmp_path / "b", metrics=metrics).path / "MODEL_CARD.md").read_text()
    assert "dice: 0.81 (0.7 to 0.9)" in card
    assert "Research use only" in card
    assert "A (2), B (1)" in card


def test_a_card_without_figures_says_that_nothing_was_measured(tmp_path):
    card = (write_small(tmp_path / "b").path / "MODEL_CARD.md").read_text()
    assert "Nothing was measured" in card
    assert "No negative control" in card


def test_the_card_takes_a_summary_with_its_sites_and_without_single_people(tmp_path):
    interval = {"value": 0.8, "low": 0.7, "high": 0.9, "participants": 9, "sessions": 9}
    region = {"dice": interval, "by_site": {"A": {"dice": interval}}, "bland_altman": {"bias": 1.5, "truth": [123.4]}}
    metrics = {"cross_validation": {"regions": {"left thing": region}, "unanswered": []}}
    card = (write_small(tmp_path / "b", metrics=metrics).path / "MODEL_CARD.md").read_text()
    assert "dice: 0.8 (0.7 to 0.9)" in card
    assert "123.4" not in card
    assert "Figures per subgroup are listed above" in card


def test_the_card_says_which_figures_should_be_doubted(tmp_path):
    text = "Folds at random: for diagnosis, age, sex and site do as well as the network"
    write_small(tmp_path / "one", manifest=small_manifest(suspicions=[text]))
    card = (tmp_path / "one" / "MODEL_CARD.md").read_text()
    assert f"**Doubt these figures.** {text}" in card
    write_small(tmp_path / "two")
    assert "Doubt these figures." not in (tmp_path / "two" / "MODEL_CARD.md").read_text()
