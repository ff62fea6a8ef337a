"""Regions so small and thin that another is likelier nearly everywhere: how much more their probability should weigh.

A network that is unsure of a sliver of fluid gives it a third of the probability over its whole length, and the
likeliest region of every voxel is then another one: the sliver is not found, although the sum of its probability is
right.
"""

from __future__ import annotations

import numpy as np

from bids_app.recipes.recipe import Recipe

#: What a region's probability is multiplied by, of those that are tried.
WEIGHTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: A region of which less than this part of its true volume is marked is scarce.
SCARCE = 0.5
#: Larger parts of all that is labelled are not overlooked by a network that has learned anything.
SMALL = 0.002
#: It weighs more only where its Dice rises by so much.
GAIN = 0.05


class ScarceRegions:
    """Counts over scans, and what follows from them.

    Args:
        recipe: whose regions are structures.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        shape = (len(recipe.regions), len(WEIGHTS))
        self.hits, self.marked = np.zeros(shape), np.zeros(shape)
        self.true, self.labelled = np.zeros(shape[0]), 0

    def count(self, probability: np.ndarray, classes: np.ndarray) -> None:
        """Take a scan into account.

        Args:
            probability: shape ``(regions, x, y, z)``.
            classes: 0 for none, else a region's place in the recipe, from 1; ``(x, y, z)``.
        """
        every = np.concatenate([1 - probability.sum(0, keepdims=True), probability])
        place = every.argmax(0)
        second, first = np.partition(every, -2, axis=0)[-2:]
        self.labelled += int((classes > 0).sum())
        for n, values in enumerate(probability):
            others = np.where(place == n + 1, second, first)
            truth = classes == n + 1
            self.true[n] += truth.sum()
            for k, weight in enumerate(WEIGHTS):
                marked = weight * values > others
                self.marked[n, k] += marked.sum()
                self.hits[n, k] += (marked & truth).sum()

    def weights(self) -> dict[str, float]:
        """By name, of the scarce regions alone; both sides of a structure weigh the same."""
        found = {}
        places = {region.index: n for n, region in enumerate(self.recipe.regions)}
        for n, region in enumerate(self.recipe.regions):
            both = sorted({n, places.get(region.partner or -1, n)})
            hits, marked, true = (x[both].sum(0) for x in (self.hits, self.marked, self.true))
            scores = 2 * hits / np.maximum(marked + true, 1)
            best = int(scores.argmax())
            small = 0 < true < SMALL * len(both) * self.labelled
            if small and marked[0] < SCARCE * true and scores[best] >= scores[0] + GAIN:
                found[region.name] = WEIGHTS[best]
        return found
