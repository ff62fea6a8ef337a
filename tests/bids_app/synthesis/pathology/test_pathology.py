from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.errors import DataError, InputMissing, UsageError
from bids_app.synthesis.heads.placed import (
    MIDDLE_MNI,
    PlacedTissue,
)
from bids_app.synthesis.pathology.compartments import Compartment, Pathology
from bids_app.synthesis.pathology.pathology import KINDS, REGIONS, draw_pathology
from bids_app.synthesis.pathology.shapes import ACUTE, ARCHIVE, FEWEST_VOXELS, Canvas, load
from bids_app.synthesis.pathology.tissues import TISSUES
from bids_app.synthesis.scanner import physics
from tests.bids_app.synthesis.drawn_people import SPACING, VOXEL_ML, mni, people, placed, seeded


def nowhere() -> PlacedTissue:
    """No brain at all."""
    return PlacedTissue(torch.zeros(3, 12, 12, 12), torch.zeros(12, 12, 12), torch.full((12, 12, 12, 3), 300.0), 2.0)


def ratio(name: str, sequence: str, field: float, healthy: str = "white") -> float:
    how = physics.pulse_sequence(sequence, field)
    return physics.signal(how, TISSUES[name].at(field)) / physics.signal(how, physics.tissues(field)[healthy])


@pytest.mark.parametrize("field", physics.FIELDS)
def test_acute_infarct_is_bright_on_trace_and_dark_on_adc(field):
    for name, healthy in (("core", "grey"), ("core in white matter", "white")):
        assert ratio(name, "trace", field, healthy) > 1.4
        assert 0.35 < ratio(name, "ADC", field, healthy) < 0.75
        assert 1.0 < ratio(name, "T2w", field, healthy) < 1.4


@pytest.mark.parametrize("field", physics.FIELDS)
def test_shine_through_is_bright_on_trace_but_not_dark_on_adc(field):
    for healthy in ("grey", "white"):
        assert ratio("shine-through", "trace", field, healthy) > 1.2
        assert ratio("shine-through", "ADC", field, healthy) >= 1.0


@pytest.mark.parametrize("field", physics.FIELDS)
def test_plaques_are_bright_on_flair_and_t2w_and_dark_on_t1w(field):
    for name in ("plaque", "black hole"):
        assert ratio(name, "FLAIR", field) > 1.15
        assert ratio(name, "T2w", field) > 1.5
        assert ratio(name, "T1w", field) < 0.9


@pytest.mark.parametrize("field", physics.FIELDS)
def test_blood_is_dark_on_t2w_and_oedema_bright(field):
    for name in ("deoxyhaemoglobin", "methaemoglobin in cells", "haemosiderin"):
        assert ratio(name, "T2w", field) < 0.5
    assert ratio("methaemoglobin in cells", "T1w", field) > 1.3
    assert ratio("oedema", "T2w", field) > 1.5
    assert ratio("oedema", "FLAIR", field) > 1.3
    assert ratio("gliosis", "FLAIR", field) > 1.3


@pytest.mark.parametrize("field", physics.FIELDS)
def test_only_tumour_takes_up_contrast_agent(field):
    for name in ("tumour", "rim"):
        assert ratio(name, "T1w", field) < 0.8
        assert ratio(name, "ce-gadolinium_T1w", field) > 1.5
    for name in ("cyst", "necrosis", "oedema", "core", "plaque"):
        assert ratio(name, "ce-gadolinium_T1w", field) < 1.0
    assert ratio("cyst", "T2w", field) > 2.0


def test_flow_is_mistaken_on_flair_alone():
    for field in physics.FIELDS:
        assert ratio("flow", "FLAIR", field, "fluid") > 3
        assert ratio("flow", "T2w", field, "fluid") < 1.3


@pytest.mark.parametrize("kind", KINDS)
def test_shares_lie_between_0_and_1_and_what_is_labelled_in_the_brain(kind):
    for family in ("template", "procedural"):
        land = placed(family)
        for drawn in people(kind)[:4] if family == "template" else people(kind, 1, family):
            assert all(float(part.share.min()) >= 0 and float(part.share.max()) <= 1 for part in drawn.compartments)
            assert all(part.region <= len(REGIONS[kind]) for part in drawn.compartments)
            if kind != "schwannoma":
                outside = land.tissue.sum(0) < 0.01
                assert float(drawn.labelled()[outside].max()) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_pathology(kind):
    first, second = (draw_pathology(kind, placed(), seeded(5)) for _ in range(2))
    assert first.latents == second.latents
    assert [part.tissue for part in first.compartments] == [part.tissue for part in second.compartments]
    assert all(torch.equal(a.share, b.share) for a, b in zip(first.compartments, second.compartments, strict=True))


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("stroke", 0.05, 150), ("ms", 0.25, 60), ("tbi", 0.02, 130), ("schwannoma", 0.03, 10.5), ("glioma", 1.5, 300)],
)
def test_volumes_are_in_range(kind, least, most):
    volumes = np.array([drawn.latents["lesion_ml"] for drawn in people(kind)])
    some = volumes[volumes > 0]
    assert len(some) >= 6
    assert least <= some.min()
    assert some.max() <= most
    assert some.max() > 3 * some.min()


def test_lesion_volume_is_that_of_its_regions():
    drawn = people("glioma")[0]
    regions = sum(float(drawn.region_share(i + 1).sum()) for i in range(3)) * VOXEL_ML
    assert drawn.latents["lesion_ml"] == pytest.approx(regions, rel=1e-4)


def test_a_later_compartment_covers_an_earlier_one():
    full, half = torch.ones(2, 2, 2), torch.full((2, 2, 2), 0.5)
    oedema = TISSUES["oedema"]
    parts = (
        Compartment("oedema", full, 2, oedema),
        Compartment("rim", half, 3, oedema),
        Compartment("x", half, 0, oedema),
    )
    drawn = Pathology(parts, {}, (2, 2, 2))
    assert float(drawn.region_share(2)[0, 0, 0]) == 0.25
    assert float(drawn.region_share(3)[0, 0, 0]) == 0.25
    assert float(drawn.labelled()[0, 0, 0]) == 0.5
    assert not drawn.region_share(1).any()


def test_some_strokes_have_no_infarct_but_shine_through():
    drawn = people("stroke")
    alone = [d for d in drawn if d.latents["lesion_ml"] == 0 and d.latents["shine_through"] > 0]
    acute = [d for d in drawn if d.latents["lesion_ml"] > 0]
    assert alone
    assert len(acute) >= 6
    assert all(part.region == 0 for d in alone for part in d.compartments)
    for d in acute:
        core = {part.name: part.relaxation(3.0).diffusivity for part in d.compartments if part.region}
        assert set(core) == {"core"}
        assert all(0.3 <= value <= 0.6 for value in core.values())


def test_infarct_keeps_to_its_side():
    for drawn in people("stroke"):
        side = drawn.latents["side"]
        if side and drawn.latents["lesion_ml"] > 1:
            where = drawn.region_share(1) > 0.5
            assert float((mni(where)[:, 0] * side > -SPACING).float().mean()) > 0.95


def test_about_a_third_of_the_injured_have_no_lesion():
    empty = nowhere()
    free = [draw_pathology("tbi", empty, seeded(seed)).latents["free"] for seed in range(150)]
    assert 0.25 < np.mean(free) < 0.42
    assert all((d.latents["lesion_ml"] == 0) == bool(d.latents["free"]) for d in people("tbi"))


def test_contusions_are_frontal_and_temporal():
    total = sum(part.share for d in people("tbi") for part in d.compartments if part.name in ("oedema", "gliosis"))
    x, y, z = mni(total > 0.3).unbind(-1)
    front = (y > 5) | ((x.abs() > 30) & (z < 8) & (y > -45))
    assert float(front.float().mean()) > 0.95


def test_schwannoma_lies_in_the_cerebellopontine_angle_on_one_side():
    for drawn in people("schwannoma"):
        tumour = drawn.region_share(1)
        x, y, z = ((placed().at + torch.tensor(MIDDLE_MNI)) * tumour[..., None]).sum((0, 1, 2)) / tumour.sum()
        assert 7 < float(x) * drawn.latents["side"] < 33
        assert -42 < float(y) < -14
        assert -50 < float(z) < -24


def test_glioma_has_a_rim_around_its_core_and_oedema_in_white_matter():
    for drawn in people("glioma"):
        names = {part.name: part for part in drawn.compartments}
        oedema = names["oedema"].share
        assert float((oedema * placed().tissue[2]).sum()) >= 0.6 * float(oedema.sum())
        if drawn.latents["enhancing"]:
            assert float(drawn.region_share(3).sum()) > 0
            assert bool((names["necrosis"].share <= names["rim"].share + 1e-5).all())


def test_plaques_gather_around_the_ventricles():
    close = sum(d.region_share(1) for d in people("ms"))
    near = Canvas(placed(), seeded(0)).ventricle
    around = torch.nn.functional.max_pool3d(near[None, None], 7, stride=1, padding=3)[0, 0] > 0.3
    inside = placed().tissue[2] > 0.5
    assert float(close[around & inside].mean()) > 2 * float(close[~around & inside].mean())


def test_healthy_people_have_nothing_labelled():
    assert all(d.latents["lesion_ml"] == 0 and not d.labelled().any() for d in people("healthy")[:6])


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_without_a_place_gives_an_empty_pathology(kind):
    drawn = draw_pathology(kind, nowhere(), seeded(0))
    assert drawn.compartments == ()
    assert drawn.latents["lesion_ml"] == 0
    assert drawn.region_share(1).shape == (12, 12, 12)


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(UsageError, match="no pathology 'migraine'"):
        draw_pathology("migraine", placed(), seeded(0))
    with pytest.raises(UsageError, match="not 2"):
        draw_pathology("ms", placed(), seeded(0), field_tesla=2.0)
    with pytest.raises(UsageError, match="a head has"):
        draw_pathology("ms", replace(placed(), ventricle=torch.zeros(3, 3, 3)), seeded(0))


@pytest.mark.parametrize("spacing", [1.5, 4.0])
def test_volume_hardly_depends_on_the_grid(spacing):
    n = round(72 / spacing)
    half = (torch.arange(n) - (n - 1) / 2) * spacing
    at = torch.stack(torch.meshgrid(half, half, half, indexing="ij"), -1)
    tissue = torch.zeros(3, n, n, n)
    tissue[2] = 1.0
    canvas = Canvas(PlacedTissue(tissue, torch.zeros(n, n, n), at, spacing), seeded(3))
    middle = torch.full((1, 3), (n - 1) / 2)
    blob = canvas.blobs(middle, torch.tensor([2.0]))
    assert float(blob.sum()) * spacing**3 / 1000 == pytest.approx(2.0, rel=0.2)
    window = canvas.window(middle[0], 30.0)
    grown = canvas.grow(window, -window.offset.norm(dim=-1), 20.0)
    assert float(grown.sum()) * spacing**3 / 1000 == pytest.approx(20.0, rel=0.05)


def write_shapes(root, masks: dict[str, np.ndarray], affine=None):
    (root / ARCHIVE).parent.mkdir(parents=True)
    with tarfile.open(root / ARCHIVE, "w") as archive:
        for name, mask in masks.items():
            image = nib.Nifti1Image(mask.astype(np.uint8), np.eye(4) if affine is None else affine)
            packed = gzip.compress(image.to_bytes())
            entry = tarfile.TarInfo(f"soop/{name}")
            entry.size = len(packed)
            archive.addfile(entry, io.BytesIO(packed))


def test_real_shapes_are_cut_to_their_extent_and_turned_upright(tmp_path):
    mask = np.zeros((20, 20, 20))
    mask[2:4, 5:10, 7:14] = 1
    mask[2, 5:10, 13] = 0
    write_shapes(
        tmp_path, {"b_lesion.nii.gz": mask, "atlas.nii.gz": mask, "a_lesion.nii.gz": 0 * mask}, np.diag([-1, 1, 1, 1])
    )
    (shape,) = load(tmp_path)
    assert shape.dtype == torch.uint8
    assert shape.shape == (2, 5, 7)
    assert not shape[1, :, 6].any()


def test_acute_infarcts_that_lie_there_are_shapes_too(tmp_path):
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[2:8, 5:10, 7:14] = 1
    write_shapes(tmp_path, {"b_lesion.nii.gz": mask})
    (tmp_path / ACUTE).mkdir(parents=True)
    small = np.zeros_like(mask)
    small.flat[: FEWEST_VOXELS - 1] = 1
    for name, one in {"sub-1_mask": mask, "sub-2_mask": small}.items():
        nib.save(nib.Nifti1Image(one, np.eye(4)), tmp_path / ACUTE / f"{name}.nii.gz")
    assert [tuple(shape.shape) for shape in load(tmp_path)] == [(6, 5, 7), (6, 5, 7)]
    (tmp_path / ACUTE / "sub-3_mask.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match="sub-3_mask"):
        load(tmp_path)


def test_missing_or_broken_shapes_are_said(tmp_path):
    with pytest.raises(InputMissing, match=r"stroke_lesions_mni_1mm\.tar is missing"):
        load(tmp_path)
    write_shapes(tmp_path, {"atlas.nii.gz": np.ones((3, 3, 3))})
    with pytest.raises(DataError, match="holds no mask"):
        load(tmp_path)
    (tmp_path / ARCHIVE).write_bytes(b"not a tar")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path)


def test_some_strokes_take_real_shapes():
    sheet = torch.ones(40, 8, 30, dtype=torch.uint8)
    drawn = [draw_pathology("stroke", placed(), seeded(seed), shapes=[sheet]) for seed in range(12)]
    plain = people("stroke")
    acute = [i for i, d in enumerate(plain) if d.latents["lesion_ml"] > 0]
    other = [i for i in acute if drawn[i].latents["lesion_ml"] != plain[i].latents["lesion_ml"]]
    assert 0 < len(other) < len(acute)
    volumes = [drawn[i].latents["lesion_ml"] for i in other]
    assert 1 < np.median(volumes) < 25
