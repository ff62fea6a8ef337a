import gzip

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.errors import ImageError, InputMissing, UsageError
from bids_app.synthesis.heads.labelmaps import (
    COUNTED_AS,
    LABELS,
    POSITION,
    SIDES,
    TISSUE,
    brain_table,
    is_tissue,
    load_label_map,
    load_label_maps,
    mirror_table,
    region_table,
    tissue_table,
)
from tests.bids_app.synthesis.small_heads import head_labels, save_labels


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    return head_labels()


@pytest.mark.parametrize("axes", ["LAS", "LPI", "PIR", "SAR", "IRP"])
def test_any_order_of_axes_gives_the_same_map(head, axes, tmp_path):
    plain = load_label_map(save_labels(tmp_path / "a.nii.gz", head))
    other = load_label_map(save_labels(tmp_path / "b.nii.gz", head, axes=axes))
    assert torch.equal(plain.labels, other.labels)
    assert torch.equal(plain.brain, other.brain)


def test_a_map_keeps_its_labels_and_is_cut_to_the_head(head, tmp_path):
    loaded = load_label_map(save_labels(tmp_path / "one.nii.gz", head, spacing=1.2), margin=3)
    assert loaded.name == "one"
    assert loaded.spacing == pytest.approx(1.2)
    assert loaded.labels.dtype == torch.uint8
    back = torch.tensor(LABELS)[loaded.labels.long()]
    for label in np.unique(head)[1:]:
        assert int((back == int(label)).sum()) == int((head == label).sum())
    filled = torch.nonzero(loaded.labels)
    assert filled.min() == 3
    assert (torch.tensor(loaded.labels.shape) - 1 - filled.amax(0) == 3).all()


def test_left_lies_on_the_left_and_the_box_of_the_brain_holds_every_paired_structure(head, tmp_path):
    loaded = load_label_map(save_labels(tmp_path / "a.nii", head, axes="LPS"))
    left, right = (torch.nonzero(loaded.labels == POSITION[label])[:, 0].float().mean() for label in (17, 53))
    assert left < right
    paired = torch.isin(loaded.labels, torch.tensor([POSITION[label] for pair in SIDES.items() for label in pair]))
    low, high = loaded.brain
    assert int(paired[low[0] : high[0], low[1] : high[1], low[2] : high[2]].sum()) == int(paired.sum())
    assert torch.equal(torch.nonzero(paired).amin(0), low)


def test_whole_numbers_kept_as_floats_are_labels_too(head, tmp_path):
    one = load_label_map(save_labels(tmp_path / "a.nii.gz", head))
    assert torch.equal(load_label_map(save_labels(tmp_path / "b.nii.gz", head.astype(np.float32))).labels, one.labels)


def one_side(head: np.ndarray) -> np.ndarray:
    return np.where(np.isin(head, list(SIDES.values())), 0, head)


def with_value(value: float, kind: type = np.float32):
    def change(head: np.ndarray) -> np.ndarray:
        changed = head.astype(kind)
        changed[5, 5, 5] = value
        return changed

    return change


BAD = {
    "empty": (np.zeros_like, "is an empty label map"),
    "unknown label": (with_value(999, np.int16), r"the table of tissues does not have \(999\)"),
    "broken numbers": (with_value(3.5), "broken numbers.*was an image given instead"),
    "negative": (with_value(-2, np.int16), "numbers from -2 to"),
    "too large": (with_value(3000, np.int16), "to 3000; labels go from 0 to"),
    "not a number": (with_value(np.nan), "not numbers"),
    "infinite": (with_value(np.inf), "not numbers"),
    "one side": (one_side, "one side of the brain is missing .*, 0 right"),
    "no brain": (lambda head: np.where(head > 500, head, 0), "holds no brain"),
    "four dimensions": (lambda head: np.stack([head] * 2, -1), "3-D with voxels of equal sides"),
    "two dimensions": (lambda head: head[:, :, 20], "3-D with voxels of equal sides"),
    "colours": (lambda head: np.zeros(head.shape, [(c, "u1") for c in "RGB"]), "colours"),
}


@pytest.mark.faults
@pytest.mark.parametrize("how", BAD)
def test_bad_maps_are_refused_with_the_file_and_the_reason(head, how, tmp_path):
    change, message = BAD[how]
    path = save_labels(tmp_path / "bad.nii.gz", change(head))
    with pytest.raises(ImageError, match=message) as caught:
        load_label_map(path)
    assert str(path) in str(caught.value)


@pytest.mark.faults
def test_voxels_of_unequal_sides_are_refused(head, tmp_path):
    with pytest.raises(ImageError, match="voxels of equal sides"):
        load_label_map(save_labels(tmp_path / "a.nii.gz", head, spacing=(1.0, 1.0, 3.0)))


@pytest.mark.faults
def test_a_map_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputMissing, match=r"gone\.nii\.gz does not exist"):
        load_label_map(tmp_path / "gone.nii.gz")


@pytest.mark.faults
@pytest.mark.parametrize(
    "content",
    [b"", gzip.compress(b"no image at all"), b"/annex/objects/MD5E-s9--0123.nii.gz\n"],
    ids=["empty", "compressed", "a link's text"],
)
def test_a_file_that_is_no_image_is_named(content, tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.nii\.gz cannot be read"):
        load_label_map(path)


@pytest.mark.faults
def test_a_file_that_is_cut_short_is_named(head, tmp_path):
    path = save_labels(tmp_path / "short.nii.gz", head)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(ImageError, match=r"short\.nii\.gz cannot be read"):
        load_label_map(path)


@pytest.mark.faults
def test_a_folder_without_maps_is_named(tmp_path):
    with pytest.raises(InputMissing, match="holds no label maps"):
        load_label_maps(tmp_path)
    with pytest.raises(InputMissing, match="holds no label maps"):
        load_label_maps(tmp_path / "nowhere")


@pytest.mark.faults
def test_a_map_that_was_named_but_is_not_there_is_not_passed_over(head, tmp_path):
    save_labels(tmp_path / "a.nii.gz", head)
    assert [one.name for one in load_label_maps(tmp_path, ["a"])] == ["a"]
    with pytest.raises(InputMissing, match="b, c"):
        load_label_maps(tmp_path, ["a", "c", "b"])


def test_every_label_has_one_tissue_and_every_side_a_partner_of_the_same_tissue():
    assert sum(map(len, TISSUE.values())) == len(LABELS) == len(set(LABELS))
    of, partner = tissue_table(), mirror_table().long()
    assert torch.equal(partner[partner], torch.arange(len(LABELS)))
    assert torch.equal(of[partner], of)
    assert int(partner[POSITION[17]]) == POSITION[53]
    assert int(partner[POSITION[16]]) == POSITION[16]


def test_brain_holds_ventricles_and_not_the_fluid_around_it():
    inside = brain_table()
    assert all(inside[POSITION[label]] for label in (2, 42, 4, 14, 16, 53))
    assert not any(inside[POSITION[label]] for label in (0, 24, 513))


def test_unknown_tissue_is_refused():
    with pytest.raises(UsageError, match="there is no tissue marrow; there are air"):
        is_tissue("marrow", "white")


def test_regions_are_numbered_in_the_order_of_the_recipe():
    table = region_table([53, 2, 4])
    assert [int(table[POSITION[label]]) for label in (53, 2, 4, 41, 0)] == [1, 2, 3, 0, 0]
    for label, counted in COUNTED_AS.items():
        assert table[POSITION[label]] == table[POSITION[counted]]


def test_a_map_is_not_bound_to_compression(head, tmp_path):
    plain, packed = (load_label_map(save_labels(tmp_path / f"a.{end}", head)) for end in ("nii", "nii.gz"))
    assert torch.equal(plain.labels, packed.labels)
    assert nib.load(tmp_path / "a.nii").get_data_dtype() == np.int16
