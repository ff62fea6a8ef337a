"""Maps of lesions, from an output folder: places in the template, frequency, tests, a page with pictures."""

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids.record import Images, Lesion, Preprocessing
from bids_app.bids.record_file import read_session, write_record
from bids_app.errors import ImageError
from bids_app.group.maps import LOAD, LesionMask, affine, in_template, load_table
from bids_app.group.plan import GroupPlan
from bids_app.group.tables import write_group
from bids_app.report.mosaic import mosaic
from bids_app.report.planes import Volume
from tests.bids_app.group.test_tables import session_with


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def ball(path, centre, radius=8.0, spacing=3.0, shape=(64, 72, 60)):
    """A mask on a grid of its own, flipped along x; the image's world is 10 mm off the template's."""
    grid = np.diag([-spacing, spacing, spacing, 1.0])
    grid[:3, 3] = (95, -120, -80)
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ grid[:3, :3].T + grid[:3, 3]
    inside = np.linalg.norm(place - np.asarray(centre), axis=-1) < radius
    nib.Nifti1Image(inside.astype(np.uint8), grid).to_filename(path)
    shift = np.eye(4)
    shift[0, 3] = 10.0
    return shift


def test_a_mask_lands_where_the_matrix_says(tmp_path):
    shift = ball(tmp_path / "m.nii.gz", (20, 0, 10))
    hit = in_template(LesionMask("k", "r", tmp_path / "m.nii.gz", shift))
    centre = affine()[:3, :3] @ np.argwhere(hit).mean(0) + affine()[:3, 3]
    np.testing.assert_allclose(centre, [30, 0, 10], atol=0.6)
    assert hit.sum() * 8 == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.1)


def test_empty_and_broken_masks(tmp_path):
    shift = ball(tmp_path / "m.nii.gz", (20, 0, 10), radius=0)
    assert not in_template(LesionMask("k", "r", tmp_path / "m.nii.gz", shift)).any()
    (tmp_path / "b.nii.gz").write_bytes(b"nothing")
    with pytest.raises(ImageError):
        in_template(LesionMask("k", "r", tmp_path / "b.nii.gz", shift))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """40 people; patients have their lesion on the left, controls on the right; the score follows the side."""
    root, rng = tmp_path_factory.mktemp("maps"), np.random.default_rng(0)
    lines = ["participant_id\tgroup\tscore"]
    for i in range(40):
        key, patient = f"sub-{i:02d}", i % 2
        session_with(root, key, 20.0)
        name = f"{key}_mask.nii.gz"
        shift = ball(root / name, (-40 if patient else 20, rng.normal(), 5))
        record = read_session(root, key)
        part = record.recipes["habenula"]
        part.files.lesion_mask, part.reference = name, "T1w"
        assert part.prediction is not None
        part.prediction.lesions = [
            Lesion(index=1, volume_mm3=2000, centre_mm=[0, 0, 0], template_mm=[1, 2, 3], side="left")
        ]
        record.images["T1w"] = Images(reference="T1w", preprocessing=Preprocessing(to_template=shift.tolist()))
        if i == 39:
            (root / name).write_bytes(b"broken")
        write_record(root, record)
        lines.append(f"{key}\t{'cp'[patient]}\t{5 * patient + rng.normal():.3f}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    write_group(root, GroupPlan("group", "c", scales=("score",), maps=True, permutations=200))
    return root


def test_frequency_and_tests_are_written(answered):
    rows = {r["what"]: r for r in rows_of(answered / "group_maps.tsv")}
    assert float(rows["frequency, p"]["peak"]) == pytest.approx(1, abs=0.06)
    assert float(rows["frequency, p"]["x_mm"]) < 0 < float(rows["frequency, c"]["x_mm"])
    assert rows["score"]["n"] == "39"
    assert int(rows["score"]["significant"]) > 100
    assert float(rows["p-c"]["p"]) < 0.01
    image = nib.load(answered / rows["score"]["map"])
    assert image.shape == (91, 109, 91)
    np.testing.assert_allclose(image.affine, affine())


def test_lesions_have_rows_and_the_broken_mask_is_told(answered):
    rows = rows_of(answered / "group_lesions.tsv")
    assert len(rows) == 40
    assert (rows[0]["side"], rows[0]["x_mm"]) == ("left", "1")
    page = (answered / "group.html").read_text()
    assert "sub-39: its lesion mask is left out of the maps" in page
    assert page.count("data:image/jpeg") == 5


def test_mosaic_shows_both_signs():
    values = np.zeros((91, 109, 91), np.float32)
    values[30:40, 50:60, 40:44], values[50:60, 50:60, 40:44] = 3, -3
    assert mosaic(Volume(values, affine())).startswith("data:image/jpeg;base64,")


def test_load_by_region_and_side_adds_up_and_has_those_without():
    def lesion(who, number, volume, region, side):
        return (who, "n/a", "ms", number, volume, region, side, 0.9, None, None, None)

    rows = [
        lesion("sub-1", 1, 10.0, "white matter", "left"),
        lesion("sub-1", 2, 5.0, "white matter", "left"),
        lesion("sub-1", 3, 2.0, None, None),
    ]
    looked = [("sub-1", "n/a", "ms"), ("sub-2", "n/a", "ms")]
    table = load_table(rows, looked)
    assert list(table.columns) == list(LOAD)
    told = {(r.participant_id, r.region, r.side): (r.lesions, r.volume) for r in table.itertuples()}
    assert told == {
        ("sub-1", "whole", "both"): (3, 17.0),
        ("sub-1", "white matter", "left"): (2, 15.0),
        ("sub-1", "not known", "n/a"): (1, 2.0),
        ("sub-2", "whole", "both"): (0, 0.0),
    }
    assert load_table([], looked)["volume"].tolist() == [0.0, 0.0]
