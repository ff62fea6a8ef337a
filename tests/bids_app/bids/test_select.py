import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.digest import sha256_of
from bids_app.bids.select import Selection, require_selected, select_participant, select_session
from bids_app.errors import DataError, InputMissing, NothingSelected, UsageError
from tests.bids_app.bids.samples import FLAIR, T1W, Query, make_image
from tests.data import real

ANAT = "sub-01/anat/sub-01"


def only(settings, *queries):
    (selection,) = select_participant(settings, "01", queries or [T1W])
    return selection


def test_the_reason_of_a_choice_is_written(dataset, settings):
    dataset(f"{ANAT}_T1w.nii.gz")
    choice = only(settings()).choices["T1w"]
    assert (choice.path.name, choice.reason) == ("sub-01_T1w.nii.gz", "the only T1w that fits")


def test_contrast_agent_is_not_taken_unless_asked_for(dataset, settings):
    dataset(f"{ANAT}_ce-gadolinium_T1w.nii.gz", f"{ANAT}_T1w.nii.gz")
    with_agent = Query("T1wGd", "T1w", {"ceagent": "gadolinium"})
    selection = only(settings(), T1W, with_agent)
    assert selection.path_of("T1w").name == "sub-01_T1w.nii.gz"
    assert selection.path_of("T1wGd").name == "sub-01_ce-gadolinium_T1w.nii.gz"
    assert "contrast agent" in selection.choices["T1w"].rejected[0].reason


def test_contrast_agent_alone_is_no_reference(dataset, settings):
    dataset(f"{ANAT}_ce-gadolinium_T1w.nii.gz")
    choice = only(settings()).choices["T1w"]
    assert choice.path is None
    assert "ce-gadolinium" in choice.reason


def test_highest_resolution_goes_before_run_order(dataset, settings):
    dataset(f"{ANAT}_run-1_T1w.nii.gz")
    dataset(f"{ANAT}_run-2_T1w.nii.gz", zoom=1.95)
    choice = only(settings()).choices["T1w"]
    assert choice.path.name == "sub-01_run-2_T1w.nii.gz"
    assert choice.reason == "highest resolution (7.41 mm³ a voxel) of 2 T1w; none averaged"
    assert choice.rejected[0].reason == "lower resolution (8 mm³ a voxel)"


def test_of_equal_images_the_first_run_is_taken(dataset, settings):
    dataset(*(f"{ANAT}_run-{n}_T1w.nii.gz" for n in (10, 2, 9)))
    choice = only(settings()).choices["T1w"]
    assert choice.path.name == "sub-01_run-2_T1w.nii.gz"
    assert choice.reason.startswith("first run of 3 T1w at 8 mm³ a voxel")


def scan(root, name, size_mm, zoom, centre=(0, 0, 0)):
    """An image of so many mm around a place."""
    shape = tuple(round(side / zoom) for side in size_mm)
    affine = np.diag([zoom, zoom, zoom, 1.0])
    affine[:3, 3] = np.asarray(centre) - zoom * (np.asarray(shape) - 1) / 2
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), affine)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, root / name)


HEAD = (200, 240, 250)
SLABS = {
    "hippocampus": ((200, 220, 60), (0, 0, 0)),
    "neck": (HEAD, (0, -20, -220)),
    "spine": ((60, 240, 300), (0, 0, -150)),
}


@pytest.mark.parametrize("slab", SLABS)
def test_a_whole_brain_goes_before_a_finer_slab_unless_the_recipe_asks_for_one(dataset, settings, slab):
    size, centre = SLABS[slab]
    root = dataset()
    scan(root, f"{ANAT}_T1w.nii.gz", HEAD, 5)
    scan(root, f"{ANAT}_acq-{slab}_T2w.nii.gz", size, 2, centre)
    scan(root, f"{ANAT}_T2w.nii.gz", (200, 230, 140), 4, (0, 0, 10))
    choice = only(settings(), T1W, Query("T2w", "T2w")).choices["T2w"]
    assert choice.path.name == "sub-01_T2w.nii.gz"
    assert "the whole brain" in choice.reason
    assert "a slab?" in choice.rejected[0].reason
    asked = only(settings(), T1W, Query("T2w", "T2w", slab=True)).choices["T2w"]
    assert asked.path.name == f"sub-01_acq-{slab}_T2w.nii.gz"


def test_a_reference_that_is_a_slab_comes_after_a_whole_head(dataset, settings):
    root = dataset()
    scan(root, f"{ANAT}_acq-a_T1w.nii.gz", (200, 220, 50), 2)
    scan(root, f"{ANAT}_acq-b_T1w.nii.gz", HEAD, 5)
    assert only(settings()).path_of("T1w").name == "sub-01_acq-b_T1w.nii.gz"


@pytest.mark.parametrize("names", [("inv-1", "inv-2"), ("acq-INV1", "acq-INV2"), ("acq-mp2rageInv2",)])
def test_inversion_images_come_after_uni(dataset, settings, names):
    root = dataset()
    for name in names:
        scan(root, f"{ANAT}_{name}_T1w.nii.gz", HEAD, 4)
    assert any("is an inversion image" in text for text in only(settings()).warnings)
    scan(root, f"{ANAT}_acq-UNI_T1w.nii.gz", HEAD, 5)
    choice = only(settings()).choices["T1w"]
    assert choice.path.name == "sub-01_acq-UNI_T1w.nii.gz"
    assert all("inversion image" in one.reason for one in choice.rejected)


def test_near_equals_of_another_acquisition_are_said(dataset, settings):
    root = dataset()
    scan(root, f"{ANAT}_acq-a_T1w.nii.gz", HEAD, 5)
    scan(root, f"{ANAT}_acq-b_T1w.nii.gz", HEAD, 4.9)
    scan(root, f"{ANAT}_acq-coarse_T1w.nii.gz", HEAD, 8)
    selection = only(settings())
    (told,) = [text for text in selection.warnings if "about as good" in text]
    assert "sub-01_acq-a_T1w.nii.gz (acq- differ)" in told
    assert "coarse" not in told
    assert Selection.from_plain(selection.to_plain()).choices["T1w"].doubts == (told,)


def test_runs_of_one_acquisition_raise_no_doubt(dataset, settings):
    dataset(*(f"{ANAT}_run-{n}_T1w.nii.gz" for n in (1, 2)))
    assert only(settings()).warnings == ()


def test_phase_images_are_left_out(dataset, settings):
    dataset(*(f"{ANAT}_part-{part}_T1w.nii.gz" for part in ("phase", "mag", "real")))
    assert only(settings()).path_of("T1w").name == "sub-01_part-mag_T1w.nii.gz"


def test_unit1_is_no_t1w_unless_asked_for(dataset, settings, filter_file):
    dataset(f"{ANAT}_UNIT1.nii.gz")
    assert "UNIT1" in only(settings()).choices["T1w"].reason
    asked = settings(bids_filter_file=filter_file({"T1w": {"suffix": "UNIT1"}}))
    assert only(asked).path_of("T1w").name == "sub-01_UNIT1.nii.gz"


def test_a_derivative_among_raw_files_is_not_taken(dataset, settings):
    dataset(f"{ANAT}_space-MNI305_T1w.nii.gz", f"{ANAT}_T1w.nii.gz")
    assert only(settings()).path_of("T1w").name == "sub-01_T1w.nii.gz"


def test_a_file_of_somebody_else_is_not_taken(dataset, settings):
    dataset("sub-01/anat/sub-02_T1w.nii.gz")
    assert "is named sub-02" in only(settings()).choices["T1w"].reason


def test_a_file_in_a_deeper_folder_is_not_taken(dataset, settings):
    dataset("sub-01/anat/old/sub-01_T1w.nii.gz", f"{ANAT}_T1w.nii.gz")
    assert only(settings()).path_of("T1w").parent.name == "anat"


def test_a_missing_sequence_is_said_not_raised(dataset, settings):
    dataset(f"{ANAT}_FLAIR.nii.gz")
    selection = only(settings(), T1W, FLAIR)
    assert selection.missing([T1W, FLAIR]) == ["T1w"]
    assert selection.choices["T1w"].reason == "no T1w in sub-01"


def test_sessions_stand_alone(dataset, settings):
    dataset("sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii.gz")
    first, second = select_participant(settings(), "01", [T1W, FLAIR])
    assert (first.key, first.path_of("FLAIR")) == ("sub-01_ses-a", None)
    assert (second.key, second.path_of("T1w")) == ("sub-01_ses-b", None)


def test_a_file_outside_the_session_folders_is_a_session_of_its_own_with_a_warning(dataset, settings):
    dataset("sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", f"{ANAT}_T1w.nii.gz")
    first, second = select_participant(settings(), "01", [T1W])
    assert first.warnings == ()
    assert second.session is None
    assert second.path_of("T1w").name == "sub-01_T1w.nii.gz"
    assert "sub-01_T1w.nii.gz lies outside the session folders" in second.warnings[0]


def test_a_filter_takes_the_run_it_names(dataset, settings, filter_file):
    dataset(f"{ANAT}_run-01_T1w.nii.gz", f"{ANAT}_run-02_T1w.nii.gz")
    choice = only(settings(bids_filter_file=filter_file({"t1w": {"run": 2}}))).choices["T1w"]
    assert choice.path.name == "sub-01_run-02_T1w.nii.gz"
    assert choice.rejected[0].reason == "run-01, the filter file asks for run-2"


def test_a_filter_may_ask_for_contrast_agent(dataset, settings, filter_file):
    dataset(f"{ANAT}_ce-gad_T1w.nii.gz", f"{ANAT}_T1w.nii.gz")
    asked = settings(bids_filter_file=filter_file({"T1w": {"ceagent": "*"}}))
    assert only(asked).path_of("T1w").name == "sub-01_ce-gad_T1w.nii.gz"


@pytest.mark.faults
def test_a_filter_that_leaves_nothing_is_exit_18(dataset, settings, filter_file):
    dataset(f"{ANAT}_T1w.nii.gz")
    wanted = settings(bids_filter_file=filter_file({"T1w": {"acquisition": "none"}}))
    with pytest.raises(NothingSelected, match=r"filter\.json selects nothing") as caught:
        select_session(wanted, "01", None, [T1W])
    assert caught.value.exit_code == 18


def test_a_dataset_without_the_sequence_is_not_blamed_on_the_filter(dataset, settings, filter_file):
    dataset(f"{ANAT}_FLAIR.nii.gz")
    wanted = settings(bids_filter_file=filter_file({"T1w": {"run": 1}}))
    require_selected(select_participant(wanted, "01", [T1W]), wanted)


def test_metadata_is_inherited(dataset, settings):
    root = dataset(f"{ANAT}_T1w.nii.gz")
    (root / "T1w.json").write_text(json.dumps({"EchoTime": 1, "FlipAngle": 9}))
    (root / f"{ANAT}_T1w.json").write_text(json.dumps({"EchoTime": 2}))
    (root / f"{ANAT}_FLAIR.json").write_text("{")
    assert only(settings()).choices["T1w"].metadata == {"EchoTime": 2, "FlipAngle": 9}


def test_a_broken_sidecar_is_a_warning(dataset, settings):
    root = dataset(f"{ANAT}_T1w.nii.gz")
    (root / f"{ANAT}_T1w.json").write_text("{")
    selection = only(settings())
    assert selection.path_of("T1w")
    assert "cannot be read as JSON" in selection.warnings[0]


@pytest.mark.faults
@pytest.mark.parametrize("content", ["[1]", '"x"', "[" * 100_000, "1"])
def test_a_sidecar_that_is_no_object_is_a_warning(dataset, settings, content):
    root = dataset(f"{ANAT}_T1w.nii.gz")
    (root / f"{ANAT}_T1w.json").write_text(content)
    chosen = only(settings())
    assert chosen.choices["T1w"].metadata == {}
    assert any("sub-01_T1w.json" in text for text in chosen.warnings)


def test_a_dangling_link_is_chosen_so_that_the_preflight_names_it(dataset, settings):
    root = dataset()
    (root / "sub-01/anat").mkdir(parents=True)
    (root / f"{ANAT}_T1w.nii.gz").symlink_to("../../.git/annex/objects/x")
    assert only(settings()).path_of("T1w").name == "sub-01_T1w.nii.gz"


@pytest.mark.faults
def test_an_unreadable_header_does_not_win(dataset, settings):
    root = dataset(f"{ANAT}_run-2_T1w.nii.gz")
    (root / f"{ANAT}_run-1_T1w.nii.gz").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    choice = only(settings()).choices["T1w"]
    assert choice.path.name == "sub-01_run-2_T1w.nii.gz"
    assert "header cannot be read" in choice.rejected[0].reason


@pytest.mark.faults
@pytest.mark.parametrize("label", ["$(touch pwned)", "01;ls", "a b", "x'y", "é[0-9]*"])
def test_a_participant_with_shell_characters_is_selected_like_any_other(dataset, settings, label):
    dataset(f"sub-{label}/anat/sub-{label}_T1w.nii.gz", f"{ANAT}_T1w.nii.gz")
    (selection,) = select_participant(settings(), label, [T1W])
    assert selection.path_of("T1w").name == f"sub-{label}_T1w.nii.gz"


@pytest.mark.faults
def test_a_participant_with_shell_characters_is_refused_before_any_work(dataset, settings):
    dataset("sub-$(x)/anat/sub-$(x)_T1w.nii.gz")
    with pytest.raises(DataError, match=r"sub-\$\(x\) is no BIDS name") as caught:
        select_session(settings(), "$(x)", None, [T1W])
    assert caught.value.exit_code == 65


def test_one_session_is_chosen(dataset, settings):
    dataset("sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz")
    assert select_session(settings(), "01", "b", [T1W]).key == "sub-01_ses-b"
    with pytest.raises(InputMissing, match="no session c"):
        select_session(settings(), "01", "c", [T1W])


@pytest.mark.faults
def test_participants_tsv_is_not_needed(dataset, settings):
    root = dataset(f"{ANAT}_T1w.nii.gz")
    (root / "participants.tsv").write_bytes(b"participant_id\tname\nsub-01\tM\xfcller\n")
    assert only(settings()).path_of("T1w")


@pytest.mark.faults
def test_the_dataset_is_not_touched(dataset, settings, tmp_path):
    root = dataset(f"{ANAT}_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
    before = {path: (path.stat().st_mtime_ns, path.is_file() and sha256_of(path)) for path in root.rglob("*")}
    only(settings())
    only(settings(bids_database_dir=tmp_path / "db"))
    assert {path: (path.stat().st_mtime_ns, path.is_file() and sha256_of(path)) for path in root.rglob("*")} == before


@pytest.mark.faults
def test_a_file_name_that_is_not_utf8_is_named(dataset, settings):
    root = dataset(f"{ANAT}_T1w.nii.gz")
    (root / os.fsdecode(b"sub-01/anat/sub-01_acq-\xfc_T1w.nii.gz")).touch()
    with pytest.raises(InputMissing, match="not UTF-8"):
        only(settings())


def test_the_output_folder_inside_the_dataset_is_no_input(dataset, settings):
    root = dataset(f"{ANAT}_T1w.nii.gz", "sub-01/anat/out/sub-01/anat/sub-01_T1w.nii.gz")
    selection = only(settings(output_dir=root / "sub-01/anat/out"))
    assert len(selection.choices["T1w"].rejected) == 0


def test_nobody_else_is_looked_at(dataset, settings, monkeypatch):
    root = dataset(f"{ANAT}_T1w.nii.gz", "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz")
    for number in range(2, 200):
        (root / f"sub-{number:02d}" / "anat").mkdir(parents=True)
    read, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": read.append(os.fspath(path)) or scandir(path))
    assert only(settings()).path_of("T1w") == root / f"{ANAT}_T1w.nii.gz"
    below = {Path(path).relative_to(root).parts[0] for path in read if path.startswith(f"{root}/")}
    assert below == {"sub-01"}


def test_an_unknown_participant_is_missing(dataset, settings):
    dataset(f"{ANAT}_T1w.nii.gz")
    with pytest.raises(InputMissing):
        select_participant(settings(), "02", [T1W])


def test_a_selection_survives_json(dataset, settings):
    dataset(f"{ANAT}_run-1_T1w.nii.gz", f"{ANAT}_run-2_T1w.nii.gz")
    selection = only(settings(), T1W, FLAIR)
    assert Selection.from_plain(json.loads(json.dumps(selection.to_plain()))) == selection


class TestDatabase:
    def test_is_made_once_and_used(self, dataset, settings, tmp_path):
        root = dataset(f"{ANAT}_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
        wanted = settings(bids_database_dir=tmp_path / "db")
        assert only(wanted).path_of("T1w") == root / f"{ANAT}_T1w.nii.gz"
        (root / "sub-02/anat/sub-02_T1w.nii.gz").rename(root / "sub-02/anat/sub-02_FLAIR.nii.gz")
        (second,) = select_participant(wanted, "02", [T1W])
        assert second.path_of("T1w").name == "sub-02_T1w.nii.gz"

    def test_without_the_participant_is_passed_by_with_a_warning(self, dataset, settings, tmp_path):
        dataset(f"{ANAT}_T1w.nii.gz")
        wanted = settings(bids_database_dir=tmp_path / "db")
        only(wanted)
        dataset("sub-02/anat/sub-02_T1w.nii.gz")
        (second,) = select_participant(wanted, "02", [T1W])
        assert second.path_of("T1w")
        assert "no file of sub-02" in second.warnings[0]

    def test_lies_where_it_is_asked_for_even_under_an_odd_name(self, dataset, settings, tmp_path):
        dataset(f"{ANAT}_T1w.nii.gz")
        only(settings(bids_database_dir=tmp_path / "d b#?"))
        assert [p.name for p in (tmp_path / "d b#?").iterdir()] == ["layout_index.sqlite"]

    def test_of_another_dataset_is_refused(self, dataset, settings, tmp_path):
        root = dataset(f"{ANAT}_T1w.nii.gz")
        only(settings(bids_database_dir=tmp_path / "db"))
        root.rename(tmp_path / "moved")
        with pytest.raises(UsageError, match=r"is of .*raw, not of .*moved"):
            only(settings(bids_dir=tmp_path / "moved", bids_database_dir=tmp_path / "db"))

    def test_of_something_else_is_refused(self, dataset, settings, tmp_path):
        dataset(f"{ANAT}_T1w.nii.gz")
        (tmp_path / "layout_index.sqlite").write_text("not a database")
        with pytest.raises(UsageError, match="no pybids database"):
            only(settings(bids_database_dir=tmp_path))


class TestLesionMask:
    @pytest.mark.parametrize("name", ["space-orig_label-L_mask", "desc-lesion_mask", "label-lesion_roi"])
    def test_is_found_by_the_names_people_use(self, dataset, settings, tmp_path, name):
        dataset(f"{ANAT}_T1w.nii.gz")
        mask = make_image(tmp_path / "manual" / f"{ANAT}_{name}.nii.gz")
        assert only(settings(derivatives={"manual": tmp_path / "manual"})).lesion_mask == mask

    def test_belongs_to_its_session(self, dataset, settings, tmp_path):
        dataset("sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz")
        make_image(tmp_path / "manual/sub-01/ses-b/anat/sub-01_ses-b_label-L_mask.nii.gz")
        first, second = select_participant(settings(derivatives={"manual": tmp_path / "manual"}), "01", [T1W])
        assert first.lesion_mask is None
        assert second.lesion_mask is not None

    def test_beside_the_raw_images_is_found_as_fmriprep_has_it(self, dataset, settings):
        dataset(f"{ANAT}_T1w.nii.gz", f"{ANAT}_label-lesion_roi.nii.gz")
        assert only(settings()).lesion_mask.name == "sub-01_label-lesion_roi.nii.gz"

    def test_folder_that_does_not_exist_is_named(self, dataset, settings, tmp_path):
        dataset(f"{ANAT}_T1w.nii.gz")
        with pytest.raises(InputMissing, match="manual="):
            only(settings(derivatives={"manual": tmp_path / "none"}))


def test_a_four_dimensional_header_has_a_voxel_volume(dataset, settings, tmp_path):
    from bids_app.bids.select import seen_in_header

    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.diag([2.0, 2, 2, 1])), tmp_path / "x.nii")
    assert seen_in_header(tmp_path / "x.nii").voxel == pytest.approx(8)


def test_real_tumour_reference_has_no_contrast_agent(settings):
    selection = only(settings(bids_dir=real("tumour")), T1W, FLAIR)
    assert selection.path_of("T1w").name == "sub-01_T1w.nii.gz"
    assert selection.path_of("FLAIR").name == "sub-01_FLAIR.nii.gz"


ANY = Query("T1w", "T1w", alternatives=("T2w", "FLAIR"))


def test_a_sequence_goes_before_its_alternatives(dataset, settings):
    dataset(*(f"{ANAT}_{suffix}.nii.gz" for suffix in ("FLAIR", "T1w", "T2w")))
    selection = only(settings(), ANY)
    assert selection.paths().keys() == {"T1w"}
    assert (selection.reference, selection.instead) == ("T1w", {})


def test_the_first_alternative_that_is_there_is_the_reference_under_its_own_name(dataset, settings):
    dataset(f"{ANAT}_FLAIR.nii.gz", f"{ANAT}_ce-gadolinium_T1w.nii.gz")
    selection = only(settings(), ANY)
    assert (selection.reference, selection.name_of("T1w")) == ("FLAIR", "FLAIR")
    choice = selection.choices["FLAIR"]
    assert choice.path.name == "sub-01_FLAIR.nii.gz"
    assert choice.reason.startswith("no T1w in sub-01")
    assert choice.reason.endswith("FLAIR stands for it: the only FLAIR that fits")
    assert "contrast agent" in choice.rejected[0].reason
    assert selection.missing([ANY]) == []
    assert Selection.from_plain(json.loads(json.dumps(selection.to_plain()))) == selection


def test_an_alternative_that_is_asked_for_beside_it_is_taken_once(dataset, settings):
    dataset(f"{ANAT}_FLAIR.nii.gz")
    selection = only(settings(), ANY, FLAIR)
    assert list(selection.choices) == ["FLAIR"]
    assert "stands for it" in selection.choices["FLAIR"].reason


def test_where_no_alternative_is_there_the_sequence_is_missing(dataset, settings):
    dataset(f"{ANAT}_PDw.nii.gz")
    selection = only(settings(), ANY)
    assert selection.missing([ANY]) == ["T1w"]
    assert selection.choices["T1w"].reason == "no T1w in sub-01, and none of T2w, FLAIR either"


def test_a_filter_can_name_an_alternative(dataset, settings, filter_file):
    dataset(f"{ANAT}_T1w.nii.gz", f"{ANAT}_acq-a_T2w.nii.gz", f"{ANAT}_acq-b_T2w.nii.gz")
    path = filter_file({"T1w": {"acquisition": "none"}, "T2w": {"acquisition": "b"}})
    selection = only(settings(bids_filter_file=path), ANY)
    assert selection.path_of(selection.reference).name == "sub-01_acq-b_T2w.nii.gz"
    assert "the filter file leaves none" in selection.choices["T2w"].reason
