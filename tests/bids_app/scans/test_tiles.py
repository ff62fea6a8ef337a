from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from bids_app.scans.tiles import corners, count_of, fitted_sides, pad_behind, tiled


def test_a_constant_answer_stays_constant_whatever_the_tiles():
    image = torch.rand(1, 20, 24, 16) + 0.1
    found = tiled(lambda tiles: torch.full((len(tiles), 2, *tiles.shape[2:]), 0.25), image, (8, 12, 16), 2)
    torch.testing.assert_close(found, torch.full((2, 20, 24, 16), 0.25))


@pytest.mark.parametrize("at_once", [1, 3])
def test_every_tile_is_answered_where_it_lies(at_once):
    image = torch.rand(1, 20, 24, 16)
    found = tiled(lambda tiles: tiles, image, (8, 12, 16), 1, at_once=at_once)
    torch.testing.assert_close(found, image)


def test_tiles_without_any_signal_are_not_looked_at():
    image, seen = torch.zeros(1, 32, 8, 8), []
    image[:, :8] = 1
    found = tiled(lambda tiles: seen.append(len(tiles)) or tiles, image, (8, 8, 8), 1)
    assert sum(seen) < len(list(corners((32, 8, 8), (8, 8, 8))))
    assert not found[0, 16:].any()


def test_fitted_tiles_look_at_fewer_voxels_and_still_overlap_by_half():
    assert fitted_sides((160, 192, 160), (96, 96, 96), 8) == [112, 128, 112]
    for n in range(97, 260):
        (side,) = fitted_sides((n,), (96,), 8)
        assert 72 <= side <= 128
        assert side <= n
        assert count_of(n, side) * side <= count_of(n, 96) * 96
        starts = [start for (start,) in corners((n,), (side,))]
        assert all(later - earlier <= side / 2 + 1 for earlier, later in pairwise(starts))
        assert starts[-1] + side == n


def test_a_scan_that_the_patch_covers_is_one_tile():
    assert fitted_sides((40, 56, 40), (44, 60, 48), 4) == [44, 60, 48]


def test_padding_reaches_the_multiple_and_the_least():
    assert pad_behind(torch.zeros(2, 9, 10, 12), 4, (16, 0, 0)).shape == (2, 16, 12, 12)
