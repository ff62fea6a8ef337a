"""Nobody is on both sides: not a participant, not a family, not an image; and folds come out even."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from bids_app.cohort.split import (
    Fold,
    Member,
    Split,
    check_split,
    deal,
    draw_folds,
    inner_folds,
    leave_one_site_out,
    read_split,
)
from bids_app.errors import DataError, LeakageError


def people(count=20, **how) -> list[Member]:
    """``how``: per attribute of `Member` a function of the participant's number."""
    return [Member(f"{k:02d}", **{name: of(k) for name, of in how.items()}) for k in range(count)]


def split_of(*folds: Fold) -> Split:
    return Split(folds)


def test_everybody_is_tested_once_and_never_where_they_train():
    split = draw_folds(people(23), 5, seed=1)
    assert Counter(p for fold in split.folds for p in fold.test) == {m.participant: 1 for m in people(23)}
    for fold in split.folds:
        assert sorted(fold.all_training + fold.test) == [m.participant for m in people(23)]
        assert not set(fold.train) & set(fold.validation)


def test_a_family_stays_together():
    members = people(24, group=lambda k: f"family {k // 3}")
    for fold in draw_folds(members, 4, seed=2).folds:
        for side in (fold.train, fold.validation, fold.test):
            families = Counter(int(p) // 3 for p in side)
            assert set(families.values()) <= {3}
    check_split(draw_folds(members, 4, seed=2), members)


def test_a_group_with_a_participants_name_is_not_that_participant():
    members = [Member("01", group="02"), Member("02"), Member("03"), Member("04")]
    assert len(draw_folds(members, 4).folds) == 4


def test_strata_and_sites_come_out_even():
    members = people(40, strata=lambda k: ("ill" if k % 4 == 0 else "well",), site=lambda k: "AB"[k % 2])
    ill = {m.participant for m in members if m.strata == ("ill",)}
    site = {m.participant: m.site for m in members}
    for fold in draw_folds(members, 5, seed=3).folds:
        assert len(set(fold.test) & ill) == 2
        assert len(fold.test) == 8
        assert Counter(site[p] for p in fold.test) == {"A": 4, "B": 4}


@pytest.mark.parametrize("seed", range(8))
def test_a_rare_mark_is_spread_before_a_common_one(seed):
    members = people(40, strata=lambda k: ("rare" if k < 4 else "usual", "AB"[k % 2], "xyz"[k % 3]))
    hands = deal({m.participant: [m] for m in members}, 4, seed=seed)
    assert [sum(m.strata[0] == "rare" for group in hand for m in group) for hand in hands] == [1, 1, 1, 1]


def test_people_who_are_all_unlike_are_dealt_evenly():
    members = people(9, strata=lambda k: (f"a kind of {k}",))
    assert [len(hand) for hand in deal({m.participant: [m] for m in members}, 3, seed=0)] == [3, 3, 3]


def test_five_folds_are_drawn_where_nothing_is_said():
    assert len(draw_folds(people(10)).folds) == 5


def test_large_families_are_dealt_first_so_that_sizes_come_out_even():
    members = people(12, group=lambda k: "large" if k < 6 else None)
    assert sorted(len(fold.test) for fold in draw_folds(members, 2, validation=0).folds) == [6, 6]


def test_the_same_seed_draws_the_same_folds_and_another_does_not():
    first, again, other = (draw_folds(people(30), 3, seed=seed) for seed in (4, 4, 5))
    assert first.digest == again.digest != other.digest
    assert first.how == {"kind": "k-fold", "k": 3, "repeats": 1, "seed": 4, "validation": 0.15}


def test_repeats_are_draws_of_their_own():
    split = draw_folds(people(12), 2, repeats=2, seed=6)
    assert [fold.name for fold in split.folds] == [f"repeat-{r}_fold-{k}" for r in (1, 2) for k in (1, 2)]
    assert {fold.test for fold in split.folds[:2]} != {fold.test for fold in split.folds[2:]}
    assert [fold.name for fold in draw_folds(people(12), 2).folds] == ["fold-1", "fold-2"]


def test_a_part_of_the_training_side_is_set_apart():
    for fold in draw_folds(people(70), 5).folds:
        assert len(fold.validation) == 8  # one of seven parts of 56
    assert all(not fold.validation for fold in draw_folds(people(70), 5, validation=0).folds)
    assert all(not fold.validation for fold in draw_folds(people(8), 4).folds)  # six are too few for seven parts


def test_fewer_families_than_folds_are_refused():
    with pytest.raises(DataError, match="5 folds need at least 5 participants or families; there are 4"):
        draw_folds(people(8, group=lambda k: str(k // 2)), 5)
    assert len(draw_folds(people(5), 5).folds) == 5


def test_each_site_is_left_out_once():
    members = people(12, site=lambda k: ("A 1", "B", None)[k % 3])
    split = leave_one_site_out(members)
    assert [fold.name for fold in split.folds] == ["site-A1", "site-B"]
    assert split.folds[0].test == ("00", "03", "06", "09")
    assert set(split.folds[0].all_training) == {m.participant for m in members if m.site != "A 1"}
    assert split.how == {"kind": "leave-one-site-out", "sites": ["A 1", "B"], "seed": 0, "validation": 0.15}


def test_one_site_is_none_to_leave_out():
    assert leave_one_site_out(people(4, site=lambda k: "A")) is None
    assert leave_one_site_out(people(4)) is None


def test_a_family_at_two_sites_lets_no_site_be_left_out():
    members = people(6, site=lambda k: "AB"[k % 2], group=lambda k: "twins" if k in (2, 3) else None)
    with pytest.raises(DataError, match="02, 03"):
        leave_one_site_out(members)


def test_inner_folds_never_see_the_outer_test():
    members = people(24)
    outer = draw_folds(members, 3, seed=7).folds[0]
    inner = inner_folds(outer, members, 3, seed=7)
    assert [fold.name for fold in inner.folds] == [f"fold-1_inner-{k}" for k in (1, 2, 3)]
    assert {p for fold in inner.folds for p in fold.train + fold.test} == set(outer.all_training)
    assert all(not fold.validation for fold in inner.folds)
    assert inner.how["inside"] == "fold-1"


@pytest.mark.parametrize(
    "fold",
    [
        Fold("f", ("00", "01"), (), ("01", "02")),
        Fold("f", ("00",), ("01",), ("01", "02")),
        Fold("f", ("00", "01"), ("01",), ("02",)),
    ],
    ids=["train and test", "validation and test", "train and validation"],
)
def test_a_participant_on_both_sides_is_refused_by_name(fold):
    with pytest.raises(LeakageError, match="f: sub-01 on both sides"):
        check_split(split_of(fold), people(3))


def test_a_family_on_both_sides_is_refused_with_all_its_members():
    members = [Member("00", group="twins"), Member("01", group="twins"), Member("02", group="others"), Member("03")]
    with pytest.raises(LeakageError, match=r"f: families on both sides: sub-00, sub-01$"):
        check_split(split_of(Fold("f", ("00", "02"), (), ("01", "03"))), members)
    with pytest.raises(LeakageError, match="families"):
        check_split(split_of(Fold("f", ("02",), ("00",), ("01",))), members)
    check_split(split_of(Fold("f", ("00", "01"), (), ("02", "03"))), members)


def test_an_image_of_two_participants_is_refused():
    members = people(4, images=lambda k: ("same",) if k in (1, 3) else (f"own {k}", f"more {k}"))
    with pytest.raises(LeakageError, match="the same image belongs to sub-01, sub-03"):
        check_split(split_of(Fold("f", ("00", "01"), (), ("02", "03"))), members)
    twice = [replace(members[0], images=("a", "a")), *members[1:3]]
    check_split(split_of(Fold("f", ("00",), (), ("01",))), twice)  # two sessions of one person may share one


def test_whoever_trained_the_start_is_not_tested():
    fold = Fold("f", ("00",), (), ("01", "02"))
    with pytest.raises(LeakageError, match="f: sub-02 trained the weights"):
        check_split(split_of(fold), people(3), trained_before=["02", "00"])
    check_split(split_of(fold), people(3), trained_before=["00"])


def test_every_trouble_is_named_once():
    fold = Fold("f", ("00", "01"), (), ("01",))
    with pytest.raises(LeakageError) as told:
        check_split(split_of(fold, fold), people(2, images=lambda k: ("same",)), trained_before=["01"])
    assert str(told.value).count("both sides") == 1
    assert all(words in str(told.value) for words in ("same image", "both sides", "trained the weights"))


def test_a_split_comes_back_from_its_file(tmp_path):
    split, path = draw_folds(people(9), 3, seed=8), tmp_path / "split.json"
    path.write_text(json.dumps(split.to_plain()))
    assert read_split(path) == split


def test_a_split_that_was_edited_is_refused(tmp_path):
    plain, path = draw_folds(people(9), 3).to_plain(), tmp_path / "split.json"
    plain["folds"][0]["test"].append("99")
    path.write_text(json.dumps(plain))
    with pytest.raises(DataError, match="changed after it was drawn"):
        read_split(path)
    del plain["digest"]
    path.write_text(json.dumps(plain))
    assert "99" in read_split(path).folds[0].test  # a person's own split has no digest


@pytest.mark.parametrize("text", ["no json", "{}", '{"folds": [{"name": "f"}]}', '{"folds": 3}'])
def test_what_is_no_split_is_refused_with_its_file(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"split\.json is not a split"):
        read_split(path)


def test_the_digest_tells_who_is_where_and_not_in_which_order():
    one = split_of(Fold("f", ("00", "01"), ("02",), ("03",)))
    assert one.digest == split_of(Fold("f", ("01", "00"), ("02",), ("03",))).digest
    for other in (
        Fold("g", ("00", "01"), ("02",), ("03",)),
        Fold("f", ("00",), ("02", "01"), ("03",)),
        Fold("f", ("00", "01"), (), ("02", "03")),
    ):
        assert split_of(other).digest != one.digest


@pytest.mark.parametrize(("validation", "share"), [(0.5, 1 / 2), (0.25, 1 / 4), (0.15, 1 / 7)])
def test_as_much_of_the_rest_validates_as_was_asked_for(validation, share):
    members = [Member(f"{n:03d}") for n in range(84)]
    for fold in draw_folds(members, 6, validation=validation).folds:
        rest = len(fold.train) + len(fold.validation)
        assert rest == 70
        assert len(fold.validation) == pytest.approx(share * rest, abs=1)
