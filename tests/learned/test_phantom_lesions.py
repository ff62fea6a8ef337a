from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_app.scans.scan import Scan
from bids_app.synthesis.pathology.lesions import Blobs
from tests.learned.phantom_lesions import Sizes, contrast_of, draw_blobs, draw_count, paint


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scan_of(image: np.ndarray, labels: np.ndarray) -> Scan:
    return Scan("sub-1", "1", image[None].astype(np.float32), np.ones(1, bool), labels, 1.0, np.zeros(0), np.zeros(0))


def ball(radius_mm: float) -> Blobs:
    return Blobs(torch.full((1, 3), 10.3), torch.full((1, 3), radius_mm), torch.eye(3)[None], torch.zeros(1, 2, 5))


def test_a_painted_ball_has_its_volume():
    share, _ = paint(ball(9.0), torch.ones(1, 1), (21, 21, 21), 2.0)
    assert float(share.sum()) * 8 == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.03)


def test_a_blob_at_the_edge_stays_on_the_grid():
    edge = replace(ball(9.0), centre=torch.tensor([[0.0, 20.0, 0.0]]))
    share, _ = paint(edge, torch.ones(1, 1), (21, 21, 21), 2.0)
    far = share.clone()
    far[:6, 15:, :6] = 0
    assert share[0, 20, 0] == 1
    assert not far.any()


def test_where_two_blobs_meet_the_value_is_between_theirs():
    twice = Blobs(*(torch.cat([part, part]) for part in vars(ball(6.0)).values()))
    share, mean = paint(twice, torch.tensor([[1.0], [3.0]]), (21, 21, 21), 2.0)
    assert share.max() == 1
    assert mean[0, 10, 10, 10] == pytest.approx(2.0)


def test_nowhere_to_lie_gives_no_blobs():
    blobs = draw_blobs(torch.zeros(5, 5, 5), 4, Sizes(), generator())
    share, mean = paint(blobs, torch.zeros(0, 2), (5, 5, 5), 3.0)
    assert len(blobs) == 0
    assert not share.any()
    assert mean.shape == (2, 5, 5, 5)


def test_volumes_are_as_wide_as_asked():
    sizes = Sizes(median_ml=1.0, spread=0.5)
    blobs = draw_blobs(torch.ones(9, 9, 9), 400, sizes, generator())
    logs = torch.log(4 / 3 * np.pi * blobs.axes.prod(1) / 1000)
    assert float(logs.mean()) == pytest.approx(0, abs=0.1)
    assert float(logs.std()) == pytest.approx(0.5, abs=0.1)


def test_counts_keep_to_their_limits():
    stream = generator()
    counts = [draw_count(Sizes(2, 5), stream) for _ in range(200)]
    assert set(counts) == {2, 3, 4, 5}


def test_contrast_of_known_spreads_is_what_theory_says():
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[12:28, 12:28, 12:28] = 1
    image = 100 + rng.normal(0, 5, labels.shape) + 10 * labels
    found = contrast_of([scan_of(image, labels)], ["FLAIR"])["FLAIR"]
    assert found["cnr"] == pytest.approx(2.0, abs=0.1)
    assert found["auc"] == pytest.approx(0.921, abs=0.01)  # normal distribution at 2 / sqrt(2)


def test_contrast_looks_no_farther_than_its_shell_and_not_outside_the_brain():
    labels = np.zeros((21, 21, 21), np.uint8)
    labels[9:12, 9:12, 9:12] = 1
    image = np.full(labels.shape, 10.0) + np.indices(labels.shape).sum(0) % 2
    image[labels > 0] = 20
    image[12, 10, 10] = 0
    image[:6] = 1000
    assert contrast_of([scan_of(image, labels)], ["T1w"], shell=2)["T1w"]["auc"] == 1


def test_scans_without_a_lesion_have_no_contrast():
    assert contrast_of([scan_of(np.ones((5, 5, 5)), np.zeros((5, 5, 5), np.uint8))], ["T1w"]) == {}
