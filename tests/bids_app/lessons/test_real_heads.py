"""Real heads with maps of regions: which of them train, how regions are merged, and what a lesson makes of them."""

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.errors import DataError
from bids_app.lessons.anatomy import AnatomyLesson
from bids_app.lessons.heads import HeadsLesson
from bids_app.lessons.real_heads import head_names, load_heads, merge, merging_table
from bids_app.lessons.train import load_lesson
from bids_app.recipes.recipe import load_recipe
from bids_app.synthesis.heads.labelmaps import LABELS, OUTER_FLUID, POSITION
from tests.bids_app.synthesis.small_heads import head_labels, save_labels

#: A few regions of the maps: index, name, and the recipe's number of it.
REGIONS = {
    1: ("CSF outside the ventricles", 24),
    4: ("3rdVentricle", 14),
    35: ("BrainStem", 16),
    51: ("LateralVentricle_R", 43),
    52: ("LateralVentricle_L", 4),
    81: ("Frontal_WM_R", 41),
    82: ("Frontal_WM_L", 2),
    102: ("AnteriorInsula_R", 2035),
    103: ("AnteriorInsula_L", 1035),
    104: ("AnteriorOrbitalGyrus_R", 42),
    105: ("AnteriorOrbitalGyrus_L", 3),
}
CALLOSUM = 95
SHAPE = (48, 56, 48)


def regions_of_a_head() -> np.ndarray:
    """A ball in layers: fluid, cortex, white matter, ventricle; left and right of the middle, joined by a callosum."""
    at = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij"))
    radius, right = np.sqrt((at**2).sum(0)), at[0] > 0
    regions = np.zeros(SHAPE, np.int64)
    for limit, left_index, right_index in ((20, 1, 1), (18, 105, 104), (14, 82, 81), (5, 52, 51)):
        regions[radius < limit] = np.where(right, right_index, left_index)[radius < limit]
    regions[(radius < 14) & (radius >= 5) & (np.abs(at[0]) < 2)] = CALLOSUM
    return regions


def write_heads(root, names, regions: np.ndarray | None = None) -> None:
    folder = root / "ixi"
    lines = [f"{index}\t{name}" for index, (name, _) in REGIONS.items()]
    table = folder / "derivatives/regions/seg-muse_dseg.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(["index\tname", *lines, f"{CALLOSUM}\tCorpusCallosum"]) + "\n")
    regions = regions_of_a_head() if regions is None else regions
    brightness = np.select(
        [regions == 0, regions == 1, np.isin(regions, (51, 52)), regions > 100], [10, 60, 60, 120], 200
    )
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    for name in names:
        image, place = folder / name / "anat", folder / f"derivatives/regions/{name}/anat"
        image.mkdir(parents=True)
        place.mkdir(parents=True)
        nib.save(nib.Nifti1Image(brightness.astype(np.float32), affine), image / f"{name}_T1w.nii.gz")
        dseg = nib.Nifti1Image(regions.astype(np.uint8), affine)
        nib.save(dseg, place / f"{name}_space-orig_seg-muse_dseg.nii.gz")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_heads(folder, [f"sub-{n}" for n in range(1, 8)])
    (folder / "labelmaps").mkdir()
    save_labels(folder / "labelmaps/a.nii.gz", head_labels(), spacing=3.5)
    return folder


@pytest.fixture(scope="module")
def heads(root):
    return load_heads(root, head_names(root, held_out=False)[:2], 2.0)


@pytest.fixture(scope="module")
def lesson(root, heads):
    drawn = AnatomyLesson.load(load_recipe("anatomy"), root, 1)
    return HeadsLesson(drawn.recipe, drawn.maps, 1, patch=(48, 48, 48), data_root=root, heads=heads)


def test_every_third_person_judges_and_nobody_does_both(root):
    train, judge = (head_names(root, held_out=held_out) for held_out in (False, True))
    assert judge == ["sub-3", "sub-6"]
    assert sorted(train + judge) == [f"sub-{n}" for n in range(1, 8)]


@pytest.mark.parametrize(("index", "label"), [(index, label) for index, (_, label) in REGIONS.items()])
def test_a_region_becomes_the_recipes_structure(root, index, label):
    assert merge(np.full((2, 2, 2), index), merging_table(root)).tolist() == np.full((2, 2, 2), label).tolist()


def test_what_lies_in_the_middle_goes_to_the_nearer_side(root):
    regions = regions_of_a_head()
    merged = merge(regions, merging_table(root))
    callosum = regions == CALLOSUM
    assert set(np.unique(merged[callosum])) == {2, 41}
    right = np.arange(SHAPE[0])[:, None, None] > (SHAPE[0] - 1) / 2
    assert ((merged == 41) == right)[callosum].mean() > 0.95


def test_an_index_without_a_name_is_refused(root):
    with pytest.raises(DataError, match="199"):
        merge(np.full((2, 2, 2), 199), merging_table(root))


def test_a_region_with_an_unknown_name_is_refused(tmp_path):
    write_heads(tmp_path, ["sub-1"])
    table = tmp_path / "ixi/derivatives/regions/seg-muse_dseg.tsv"
    table.write_text(table.read_text() + "200\tSomethingElse\n")
    with pytest.raises(DataError, match="SomethingElse"):
        merging_table(tmp_path)


def test_a_person_without_a_map_is_named(tmp_path):
    write_heads(tmp_path, ["sub-1"])
    next((tmp_path / "ixi/derivatives/regions/sub-1").rglob("*.nii.gz")).unlink()
    with pytest.raises(DataError, match="sub-1 lacks"):
        load_heads(tmp_path, ["sub-1"], 2.0)


def test_brightness_of_tissues_is_known_and_all_within_the_skull_is_labelled(heads):
    fluid, cortex, white = heads[0].levels
    assert fluid < cortex < white
    assert int((heads[0].label_map.labels > 0).sum()) == int((regions_of_a_head() > 0).sum())


def test_real_heads_train_where_there_are_some(root, tmp_path):
    lesson = load_lesson("anatomy", root, tmp_path, 1)
    assert [head.label_map.name for head in lesson.heads] == head_names(root, held_out=False)
    (tmp_path / "labelmaps").symlink_to(root / "labelmaps")
    assert type(load_lesson("anatomy", tmp_path, tmp_path, 1)) is AnatomyLesson


def test_a_scan_depends_on_its_number_alone_and_has_the_recipes_labels(lesson):
    for number in range(6):
        image, labels = lesson[number]
        again = lesson[number]
        assert torch.equal(image, again[0])
        assert torch.equal(labels, again[1])
        assert image.isfinite().all()
        assert int(labels.max()) < len(LABELS)
        assert not ((image[0] == 0) & (labels == POSITION[OUTER_FLUID])).any()


def test_real_and_drawn_scans_come_in_the_ratio(lesson, monkeypatch):
    kinds = []
    monkeypatch.setattr(
        "bids_app.lessons.heads.draw_real",
        lambda *_, painted, **__: kinds.append(painted) or (torch.zeros(2, 2, 2), torch.zeros(2, 2, 2)),
    )
    monkeypatch.setattr(AnatomyLesson, "draw", lambda *_: kinds.append("drawn") or (None, None))
    for number in range(800):
        lesson.draw(number)
    shares = [kinds.count(kind) / 800 for kind in (False, True, "drawn")]
    assert shares == pytest.approx([0.65, 0.2, 0.15], abs=0.05)


def test_a_bundle_names_the_people_who_trained_and_those_who_did_not(root, lesson):
    told = lesson.sources(["map_05"])
    assert sorted(told["real"]) == head_names(root, held_out=False)
    assert all(path.is_file() for files in told["real"].values() for path in files)
    assert told["held_out"] == ["map_05", *head_names(root, held_out=True)]
    assert not set(told["real"]) & set(told["held_out"])
    assert "CC BY-SA 3.0" in told["real_licence"]
    assert "SBIA" in told["real_licence"]
