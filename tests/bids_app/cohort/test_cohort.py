"""Who is learned from, what is known of them, and what is refused before any training."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.digest import content_hash
from bids_app.cohort.cohort import describe, load_cohort
from bids_app.errors import DataError, InputMissing, LeakageError, UsageError
from bids_app.recipes.recipe import Recipe, load_recipe
from tests.data import real
from tests.learned.finished import finish
from tests.phantoms import TINY_AFFINE, damage, save, tiny_dataset, tiny_image

KEYS = [f"sub-0{n}" for n in range(1, 5)]


def recipe(kind: str = "lesion", *targets: dict, **changes) -> Recipe:
    """One region on images as they are, with targets."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "title": "Tiny",
            "sequences": [{"name": "T1w", "suffix": "T1w"}],
            "grid": {"kind": "image", "spacing_mm": 5.0},
            "regions": [{"index": 1, "name": "spot", "kind": kind}],
            "targets": list(targets),
            **changes,
        }
    )


DIAGNOSIS = {"name": "diagnosis", "kind": "binary", "levels": ["control", "patient"]}


@pytest.fixture
def world(tmp_path):
    """A function that makes dataset, output folder and labels, and loads the cohort."""

    def load(table=None, recipe_=None, *, labels=True, finished=KEYS, **options):
        bids, out, manual = (tmp_path / name for name in ("bids", "out", "manual"))
        tiny_dataset(bids, [f"{key}/anat/{key}_T1w.nii.gz" for key in KEYS], participants=table, shape=(12, 12, 12))
        finish(out, bids, list(finished))
        manual.mkdir(exist_ok=True)
        for key in KEYS if labels else []:
            path = manual / key / "anat" / f"{key}_dseg.nii.gz"
            if not path.exists():
                save(path, spot())
        return load_cohort(recipe_ or recipe(), bids, {"manual": manual}, out, **options)

    load.label = lambda key, array, affine=TINY_AFFINE: save(
        tmp_path / "manual" / key / "anat" / f"{key}_dseg.nii.gz", array, affine
    )
    load.bids = tmp_path / "bids"
    return load


def spot(value: int = 1, shape=(12, 12, 12)) -> np.ndarray:
    array = np.zeros(shape, np.int16)
    array[4:7, 4:7, 4:7] = value
    return array


def rows(**columns) -> dict[str, dict[str, object]]:
    return {key: {name: values[n] for name, values in columns.items()} for n, key in enumerate(KEYS)}


def test_labels_and_images_are_found(world):
    cohort = world()
    assert [session.key for session in cohort.sessions] == KEYS
    assert all(session.labels.name == f"{session.key}_dseg.nii.gz" for session in cohort.sessions)
    assert all(session.lesion for session in cohort.sessions)


def test_partial_knowledge_is_kept_and_nothing_known_is_left_out_with_a_note(world):
    world.label("sub-01", spot())
    table = rows(diagnosis=["n/a", "control", "patient", ""])
    cohort = world(table, recipe("lesion", DIAGNOSIS), labels=False)
    assert [session.key for session in cohort.sessions] == KEYS[:3]
    assert [session.labels is not None for session in cohort.sessions] == [True, False, False]
    np.testing.assert_array_equal([s.targets[0] for s in cohort.sessions], [np.nan, 0, 1])
    assert "1 sessions have neither labels nor a target and are left out: sub-04" in cohort.notes


def test_levels_come_from_the_json_in_its_order(world):
    world.bids.mkdir()
    levels = {"severity": {"Levels": {"mild": "a", "severe": "b", "grave": "c"}}}
    (world.bids / "participants.json").write_text(json.dumps(levels))
    cohort = world(
        rows(severity=["grave", "mild", "severe", "mild"]), recipe("lesion", {"name": "severity", "kind": "ordinal"})
    )
    assert cohort.levels == {"severity": ("mild", "severe", "grave")}
    assert [s.targets[0] for s in cohort.sessions] == [2, 0, 1, 0]


def test_levels_without_json_are_sorted_as_numbers_and_said(world):
    cohort = world(rows(grade=["10", "2", "2.0", "3"]), recipe("lesion", {"name": "grade", "kind": "ordinal"}))
    assert cohort.levels["grade"] == ("2", "3", "10")
    assert [s.targets[0] for s in cohort.sessions] == [2, 0, 0, 1]
    assert any("neither the recipe nor participants.json" in note for note in cohort.notes)


def test_a_level_called_none_is_a_level(world):
    target = {"name": "lesiontype", "kind": "categorical", "levels": ["none", "stroke"]}
    cohort = world(rows(lesiontype=["none", "stroke", "none", "n/a"]), recipe("lesion", target))
    np.testing.assert_array_equal([s.targets[0] for s in cohort.sessions], [0, 1, 0, np.nan])


def test_words_for_not_known_are_no_class_and_are_said(world):
    cohort = world(rows(dx=["hc", "NA", "pt", "-"]), recipe("lesion", {"name": "dx", "kind": "binary"}))
    assert cohort.levels["dx"] == ("hc", "pt")
    np.testing.assert_array_equal([s.targets[0] for s in cohort.sessions], [0, np.nan, 1, np.nan])
    assert any("'NA' (1), '-' (1) of the column dx" in note for note in cohort.notes)


def relabelled(table, spelling):
    return {spelling(number): row for number, row in enumerate(table.values(), 1)}


@pytest.mark.parametrize("spelling", ["sub-{}", "SUB-0{}", "{}.0", "00{}", "sub-0{}"])
def test_labels_of_another_spelling_are_matched_and_named(world, spelling):
    table = relabelled(rows(dx=["hc", "pt", "hc", "pt"]), spelling.format)
    cohort = world(table, recipe("lesion", {"name": "dx", "kind": "binary"}))
    assert [s.targets[0] for s in cohort.sessions] == [0, 1, 0, 1]
    assert any("for sub-02" in note for note in cohort.notes) is not spelling.lower().startswith("sub-0")


def test_labels_with_another_word_in_front_are_named_and_not_guessed(world):
    table = relabelled(rows(dx=["hc", "pt", "hc", "pt"]), "S-00{}".format)
    with pytest.raises(DataError, match="nobody has a known value"):
        world(table, recipe("lesion", {"name": "dx", "kind": "binary"}))


def test_every_row_without_a_session_and_every_session_without_a_row_is_named(world):
    table = rows(dx=["hc", "pt", "hc", "pt"])
    table["sub-044"] = table.pop("sub-04")
    cohort = world(table, recipe("lesion", {"name": "dx", "kind": "binary"}))
    assert any("the row sub-044 belongs to no folder" in note and "is it sub-04?" in note for note in cohort.notes)
    assert any("has no row for sub-04" in note for note in cohort.notes)


def test_ages_as_people_write_them_are_one_number_everywhere(world):
    target = recipe("lesion", {"name": "age", "kind": "continuous"})
    cohort = world(rows(age=["89+", "34,5", " 40 ", "N/A"]), target)
    np.testing.assert_array_equal([s.targets[0] for s in cohort.sessions], [89, 34.5, 40, np.nan])
    np.testing.assert_array_equal([s.age for s in cohort.sessions], [89, 34.5, 40, np.nan])


def test_every_wrong_label_and_target_is_listed_together(world):
    far = TINY_AFFINE.copy()
    far[:3, 3] += 1000
    world.label("sub-01", spot(), far)
    world.label("sub-02", spot(7))
    world.label("sub-03", spot() * 0)
    table = rows(
        lesion=[1, 1, 1, 1], diagnosis=["control", "patient", "unsure", "control"], score=[1, "inf", 3, "many"]
    )
    asked = recipe("lesion", DIAGNOSIS, {"name": "score", "kind": "continuous"}, {"name": "age", "kind": "continuous"})
    with pytest.raises(DataError) as error:
        world(table, asked)
    for line in (
        "sub-01_dseg.nii.gz: its labelled voxels lie outside the image",
        "sub-02_dseg.nii.gz: holds 7; the recipe's regions are 1",
        "sub-03_dseg.nii.gz: is empty, but the column lesion says that there is a lesion",
        "sub-03 has diagnosis 'unsure', none of ['control', 'patient']",
        "column score: sub-02: 'inf' is not finite",
        "column score: sub-04: 'many' is no number",
        "has no column age for the target age; it has participant_id, lesion, diagnosis, score",
    ):
        assert line in str(error.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (spot().astype(np.float32) * 0.5, "no whole numbers"),
        (np.full((12, 12, 12), np.nan, np.float32), "NaN or infinite"),
        (spot(shape=(12, 12, 12, 2)), "a single volume is needed"),
    ],
)
def test_an_image_that_cannot_be_labels_is_named(world, array, message):
    world.label("sub-01", array)
    with pytest.raises(DataError, match=message):
        world()


def test_an_empty_label_is_wrong_for_a_structure_and_right_where_no_lesion_is_declared(world):
    world.label("sub-01", spot() * 0)
    assert world(rows(lesion=[0, 1, 1, 1])).sessions[0].lesion is False
    with pytest.raises(DataError, match="is empty, but everybody has spot"):
        world(recipe_=recipe("structure"))


def test_labels_where_no_lesion_is_declared_are_refused(world):
    with pytest.raises(DataError, match="says that there is no lesion"):
        world(rows(lesion=[0, 1, 1, 1]))


def test_a_label_on_another_grid_of_the_same_world_is_fine(world):
    fine = TINY_AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    world.label("sub-01", np.kron(spot(), np.ones((2, 2, 2), np.int16)), fine)
    assert world().sessions[0].lesion


def test_two_label_files_for_one_session_are_refused(world):
    world.label("sub-01", spot())
    other = world.bids.parent / "manual/sub-01/anat/sub-01_desc-second_dseg.nii.gz"
    save(other, spot())
    with pytest.raises(DataError, match="several files fit"):
        world()
    assert world(recipe_=recipe(labels={"entities": {"desc": ""}})).sessions


def test_one_class_only_is_refused_with_its_count(world):
    with pytest.raises(DataError, match=r"one class only, 'control' \(3 of 3 known\)"):
        world(rows(diagnosis=["control", "control", "control", "n/a"]), recipe("lesion", DIAGNOSIS))


def test_a_target_that_nobody_has_is_refused(world):
    with pytest.raises(DataError, match="nobody has a known value"):
        world(rows(diagnosis=["n/a"] * 4), recipe("lesion", DIAGNOSIS))


def test_a_recipe_level_that_the_json_does_not_know_is_refused(world):
    world.bids.mkdir()
    (world.bids / "participants.json").write_text(json.dumps({"diagnosis": {"Levels": {"control": "", "ill": ""}}}))
    with pytest.raises(DataError, match="has no level patient"):
        world(rows(diagnosis=["control", "patient", "n/a", "n/a"]), recipe("lesion", DIAGNOSIS))


def test_the_same_image_of_two_participants_is_a_leak(world):
    world()
    first = world.bids / "sub-01/anat/sub-01_T1w.nii.gz"
    image = nib.load(first)
    # repacked: another data type and other bytes, the same voxels
    packed = world.bids / "sub-02/anat/sub-02_T1w.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, np.float32), image.affine), packed)
    assert content_hash(packed) == content_hash(first)
    out = finish(world.bids.parent / "out", world.bids, KEYS)
    with pytest.raises(LeakageError, match="sub-01 and sub-02"):
        load_cohort(recipe(), world.bids, {"manual": world.bids.parent / "manual"}, out)


def test_targets_of_sessions_come_from_their_own_table(tmp_path):
    bids, keys = tmp_path / "bids", ["sub-01_ses-a", "sub-01_ses-b"]
    tiny_dataset(bids, [f"sub-01/ses-{s}/anat/sub-01_ses-{s}_T1w.nii.gz" for s in "ab"], shape=(12, 12, 12))
    (bids / "sub-01/sub-01_sessions.tsv").write_text("session_id\tscore\nses-a\t1\nses-b\t2.5\n")
    target = {"name": "score", "kind": "continuous", "table": "sessions"}
    cohort = load_cohort(recipe("lesion", target), bids, {}, finish(tmp_path / "out", bids, keys))
    assert [session.targets.tolist() for session in cohort.sessions] == [[1.0], [2.5]]


def test_covariates_of_two_words_become_zero_and_one(world):
    asked = recipe(learning={"covariates": ["age", "sex"]})
    cohort = world(rows(age=[30, 40, "n/a", 60], sex=["M", "F", "F", "M"]), asked)
    np.testing.assert_array_equal([s.covariates for s in cohort.sessions], [[30, 1], [40, 0], [np.nan, 0], [60, 1]])
    assert "covariate sex: F is 0, M is 1" in cohort.notes


def test_members_carry_classes_lesions_site_and_family(world):
    world.label("sub-04", spot() * 0)
    table = rows(diagnosis=["control", "patient", "n/a", "control"], site=["x", "x", "y", "n/a"], family=[1, 1, 2, 3])
    members = world(table, recipe("lesion", DIAGNOSIS), group_column="family").members()
    assert [m.group for m in members] == ["1", "1", "2", "3"]
    assert [m.site for m in members] == ["x", "x", "y", None]
    assert [m.strata for m in members] == [
        ("diagnosis 0", "lesion"),
        ("diagnosis 1", "lesion"),
        ("diagnosis unknown", "lesion"),
        ("diagnosis 0", "no lesion"),
    ]
    assert len({m.images for m in members}) == 4


def test_a_column_that_was_asked_for_must_be_there(world):
    with pytest.raises(DataError, match="has no column family, which was asked for"):
        world(rows(age=[1, 2, 3, 4]), group_column="family")


def test_only_some_participants_can_be_taken(world):
    assert [s.participant for s in world(participants=["sub-02", "03"]).sessions] == ["02", "03"]
    with pytest.raises(InputMissing, match="sub-99"):
        world(participants=["99"])


def test_a_session_that_failed_is_left_out_with_a_note(world):
    world()
    record = world.bids.parent / "out/logs/sub-01/record.json"
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "state": "failed", "reason": "no brain", "images": {}})
    )
    (world.bids.parent / "out/logs/sub-02/record.json").unlink()
    out = world.bids.parent / "out"
    cohort = load_cohort(recipe(), world.bids, {"manual": world.bids.parent / "manual"}, out)
    assert [session.key for session in cohort.sessions] == ["sub-03", "sub-04"]
    assert "sub-01 is left out: it is failed (no brain)" in cohort.notes


def test_labels_that_were_not_given_are_asked_for(world):
    world()
    with pytest.raises(UsageError, match="-d manual=PATH"):
        load_cohort(recipe(), world.bids, {}, world.bids.parent / "out")
    with pytest.raises(InputMissing, match="does not exist"):
        load_cohort(recipe(), world.bids, {"manual": world.bids / "no"}, world.bids.parent / "out")


def test_description_counts(world):
    table = rows(diagnosis=["control", "patient", "n/a", "control"], age=[20, 30, 40, "n/a"], site=["x", "y", "y", "y"])
    facts = describe(world(table, recipe("lesion", DIAGNOSIS)))
    assert facts["participants"] == facts["labelled"] == 4
    assert facts["targets"]["diagnosis"] == {"kind": "binary", "known": 3, "classes": {"control": 2, "patient": 1}}
    assert facts["sites"] == {"x": 1, "y": 3}
    assert facts["age_range"] == [20, 40]


def test_images_that_nobody_checked_before_are_checked_and_listed(world):
    world()
    damage(world.bids.parent / "out/sub-01/anat/sub-01_desc-preproc_T1w.nii", "nan_voxels")
    damage(world.bids.parent / "out/sub-02/anat/sub-02_desc-preproc_T1w.nii", "constant")
    with pytest.raises(DataError) as error:
        load_cohort(recipe(), world.bids, {"manual": world.bids.parent / "manual"}, world.bids.parent / "out")
    assert "sub-01_desc-preproc_T1w.nii has" in str(error.value)
    assert "sub-02_desc-preproc_T1w.nii is constant" in str(error.value)


def test_what_is_not_known_of_everybody_is_noted(world):
    target = {"name": "stage", "kind": "categorical", "levels": ["a", "b", "c"]}
    notes = world(rows(stage=["a", "b", "n/a", "a"]), recipe("lesion", target)).notes
    assert "target stage is known of 3 of 4 sessions" in notes
    assert "target stage: nobody has c" in notes


def test_real_ms_sequences_and_lesion_masks_are_found(tmp_path):
    data, names = real("ms"), ("T1w", "FLAIR")
    out = finish(tmp_path, data, ["sub-07"], sequences=names)
    asked = recipe(
        sequences=[{"name": name, "suffix": name} for name in names],
        labels={"suffix": "mask"},
        grid={"kind": "image", "spacing_mm": 1.0},
    )
    session = load_cohort(asked, data, {"manual": data / "derivatives" / "manual"}, out).sessions[0]
    assert list(session.images) == list(names)
    assert session.lesion


def test_content_hash_knows_another_image(tmp_path):
    one, other = (tiny_image(tmp_path / f"{n}.nii", shape=(6, 6, 6), seed=n) for n in (1, 2))
    assert content_hash(one) != content_hash(other)


def test_real_hippocampi_are_whole(tmp_path):
    data = real("hippocampus")
    keys = ["sub-243", *sorted(path.name for path in data.glob("sub-*"))[:9]]  # sub-243 is 24 mm high: no head
    out = finish(tmp_path, data, keys)
    cohort = load_cohort(load_recipe("hippocampus"), data, {"manual": data / "derivatives" / "manual"}, out)
    assert len(cohort.sessions) == 10
    assert cohort.notes == []


def test_a_target_that_a_recipe_can_do_without_is_left_out_where_no_column_has_it(world):
    severity = {"name": "severity", "kind": "continuous", "required": False}
    cohort = world(rows(diagnosis=["control", "patient"] * 2), recipe("lesion", DIAGNOSIS, severity))
    assert [target.name for target in cohort.recipe.targets] == ["diagnosis"]
    assert all(session.targets.shape == (1,) for session in cohort.sessions)
    assert any("severity is not learned" in note and "participants.tsv" in note for note in cohort.notes)
    with pytest.raises(DataError, match="no column severity for the target"):
        world(rows(diagnosis=["control", "patient"] * 2), recipe("lesion", DIAGNOSIS, {**severity, "required": True}))


def test_without_any_target_the_covariates_are_not_asked_for(world):
    optional = {**DIAGNOSIS, "required": False}
    cohort = world(rows(sex=["F", "M"] * 2), recipe("lesion", optional, learning={"covariates": ["age"]}))
    assert cohort.recipe.targets == ()
    assert cohort.recipe.learning.covariates == ()
