import torch

from bids_app.synthesis.pathology.plaques import draw_healthy, draw_mimics, draw_plaques, upsampled
from bids_app.synthesis.pathology.shapes import Canvas
from tests.bids_app.synthesis.drawn_people import placed, seeded


def test_what_imitates_a_lesion_is_never_labelled():
    parts = draw_mimics(Canvas(placed(), seeded(1)), spaces=6.0, caps=0.6, flow=1.0)
    assert [part.name for part in parts] == ["cap", "perivascular space", "flow"]
    assert not any(part.region for part in parts)


def test_plaques_come_in_every_severity():
    parts, facts = draw_plaques(Canvas(placed(), seeded(2)))
    labelled = [part.name for part in parts if part.region]
    assert labelled == ["plaque", "plaque", "black hole"]
    assert facts["count"] >= 17


def test_the_healthy_have_no_count():
    parts, facts = draw_healthy(Canvas(placed(), seeded(3)))
    assert facts == {}
    assert parts


def test_a_coarse_map_fills_the_whole_head_again():
    canvas = Canvas(placed(), seeded(4))
    canvas.step = 4  # does not divide 66 voxels
    fine = upsampled(canvas, torch.full((14, 16, 14), 0.25))
    assert fine.shape == canvas.shape
    assert torch.equal(fine, torch.full(canvas.shape, 0.25))
