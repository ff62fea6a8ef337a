"""Middles of structures in the template: ``python -m tests.benchmarks.template_landmarks``.

The bundle `anatomy` labels the template (symmetric, so that both sides are averaged) and the middles are printed as
`bids_app.imaging.landmarks` has them. Fluid around the brain, cortex and white matter have no place of their own.
"""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from bids_app.bundle.bundle import Bundle, load_bundle
from bids_app.imaging.landmarks import MIDDLES, middles_of
from bids_app.imaging.templates import PACKAGED, find_template
from bids_app.predict.anatomy import find_anatomy

#: White matter, cortex, the inferior horns (nothing in a young brain), fluid.
NO_PLACE = (2, 3, 5, 24, 41, 42, 44)


def measured(bundle: Bundle) -> dict[int, np.ndarray]:
    """Middles on the packaged template, mm; those of two sides are mirror images of each other."""
    found = {n: np.array(at) for n, at in middles_of(find_anatomy(bundle, find_template(PACKAGED).image).rows).items()}
    mirror = np.array([-1.0, 1.0, 1.0])
    partners = {region.index: region.partner or region.index for region in bundle.recipe.regions}
    return {n: (at + mirror * found[partners[n]]) / 2 for n, at in found.items() if n not in NO_PLACE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="anatomy")
    for number, at in measured(load_bundle(parser.parse_args().bundle)).items():
        print(f"    {number}: ({', '.join(f'{value + 0.0:.1f}' for value in at)}),")


@pytest.mark.benchmark
def test_the_table_is_that_of_the_bundle_that_ships():
    found = measured(load_bundle("anatomy"))
    assert max(np.linalg.norm(found[number] - MIDDLES[number]) for number in MIDDLES) < 1.0


if __name__ == "__main__":
    main()
