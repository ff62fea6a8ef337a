import pytest

from bids_app.bids.listing import choose_participants, choose_sessions, choose_units, list_sessions
from bids_app.errors import InputMissing, NothingSelected


@pytest.fixture
def two(dataset):
    return dataset(
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz",
    )


def test_everybody_is_chosen_when_nobody_is_named(two, settings):
    assert choose_participants(settings()) == ["01", "02"]


def test_a_label_may_carry_its_prefix(two, settings):
    assert choose_participants(settings(participant_label=("sub-02",))) == ["02"]


def test_labels_may_come_from_a_text_file(two, settings, tmp_path):
    (tmp_path / "who.txt").write_text("participant_id\tage\nsub-02\t40\n\n")
    assert choose_participants(settings(participant_label=(str(tmp_path / "who.txt"),))) == ["02"]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffparticipant_id\rsub-02\r".encode("utf-16"),
        b"\xef\xbb\xbfsub-02\r\n",
        b'"participant_id","age"\n"sub-02","40"\n',
        b"  SUB-02  \n",
        b"# M\xfcnchen\n02\n",
    ],
)
def test_a_list_of_participants_is_read_in_every_form_that_people_write(two, settings, tmp_path, content):
    (tmp_path / "who.txt").write_bytes(content)
    assert choose_participants(settings(participant_label=(str(tmp_path / "who.txt"),))) == ["02"]


@pytest.mark.parametrize(("typed", "guess"), [("2", "02"), ("002", "02"), ("sub-1", "01")])
def test_a_label_with_other_zeros_is_refused_with_a_guess(two, settings, typed, guess):
    with pytest.raises(InputMissing, match=rf"\({guess}\?\)"):
        choose_participants(settings(participant_label=(typed,)))


def test_an_unknown_participant_is_named(two, settings):
    with pytest.raises(InputMissing, match="no participant 77") as caught:
        choose_participants(settings(participant_label=("77", "01")))
    assert caught.value.exit_code == 66


def test_excluding_everybody_selects_nothing(two, settings):
    with pytest.raises(NothingSelected):
        choose_participants(settings(exclude_participant_label=("01", "sub-02")))


def test_a_participant_without_session_folders_has_one_session(two):
    assert list_sessions(two, "01") == [None]
    assert list_sessions(two, "02") == ["a", "b"]


def test_images_beside_session_folders_are_a_session_without_label(two, dataset):
    dataset("sub-02/anat/sub-02_T1w.nii.gz")
    assert list_sessions(two, "02") == ["a", "b", None]


def test_a_session_label_leaves_out_participants_that_lack_it(two, settings):
    assert choose_units(settings(session_label=("ses-b",))) == [("02", "b")]


def test_a_session_that_nobody_has_selects_nothing(two, settings):
    with pytest.raises(NothingSelected, match="no participant has session z") as caught:
        choose_units(settings(session_label=("z",)))
    assert caught.value.exit_code == 18


def test_a_filter_file_with_a_session_leaves_out_the_others(two, settings, filter_file):
    wanted = settings(bids_filter_file=filter_file({"t1w": {"session": "a"}}))
    assert choose_sessions(wanted, "02") == ["a"]
    assert choose_sessions(wanted, "01") == []


def test_files_and_derivatives_are_no_participants(two, settings):
    (two / "sub-03.txt").touch()
    (two / "derivatives" / "sub-04").mkdir(parents=True)
    assert choose_participants(settings()) == ["01", "02"]
