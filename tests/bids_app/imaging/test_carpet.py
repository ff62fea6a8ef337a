"""The picture of a series."""

from __future__ import annotations

import numpy as np

from bids_app.imaging.carpet import carpet


def test_the_top_of_the_head_is_above_whatever_the_order_of_slices():
    rng = np.random.default_rng(0)
    frames = 100 + rng.normal(0, 1, (4, 4, 10, 40))
    frames[:, :, 8:, 20] += 50  # a jerk that the highest slices show
    mask = np.ones(frames.shape[:3], bool)
    for flip in (False, True):
        affine = np.diag([3.0, 3.0, -3.0 if flip else 3.0, 1.0])
        shown = carpet(frames[:, :, ::-1] if flip else frames, mask, affine, rows=10)
        assert shown.shape == (10, 40)
        assert shown.dtype == np.uint8
        assert (shown[:2, 20] == 255).all()
        assert (shown[3:, 20] < 255).all()


def test_level_and_line_are_not_shown_and_a_dead_voxel_is_grey():
    frames = np.ones((2, 2, 2, 30)) * np.linspace(5, 9, 30)
    shown = carpet(frames, np.ones((2, 2, 2), bool), np.eye(4))
    assert shown.shape == (8, 30)
    assert (np.abs(shown.astype(int) - 127.5) <= 128).all()
    frames[:] = 7
    assert (carpet(frames, np.ones((2, 2, 2), bool), np.eye(4)) == 128).all()
