"""What the connectivity baselines can find: courses of parcels alone, without images, in minutes.

``python -m tests.benchmarks.connectivity_courses [--people 128] [--repeats 5]``. Parcels follow the course of their
network as in the simulator of resting-state runs (`BoldSettings`: 20 parcels a hemisphere, 5 networks, coupling 0.75)
and have noise of their own. In half of the people one parcel is coupled to its network by 0.1 only: the same parcel in
all of them, another one in each, or none (dial 0). Prints AUC of the baselines in 4 folds, its mean and range over
repeats.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from bids_app.cohort.split import Member, draw_folds
from bids_app.judge.answers import evaluate_answers
from bids_app.judge.connectivity import Evidence, answer_functional, functional_baselines
from bids_app.judge.target_answers import answers_of
from bids_app.recipes.recipe import load_recipe
from bids_app.scans.scan import Scan
from bids_app.synthesis.bold.bold import Alteration, BoldSettings, band_limited
from bids_app.synthesis.fields import stream

#: Spread of the noise in a parcel's mean course, relative to its signal.
NOISE = 0.5
FORMS = ("the same parcel", "another parcel in each", "nothing (dial 0)")


def courses(person: int, seed: int, belongs: np.ndarray, altered: int | None) -> np.ndarray:
    """``(t, parcels)``."""
    how, generator = BoldSettings(), stream(seed, person, 1)
    networks = band_limited(how.networks, how.frames, how.tr_s, generator).numpy()
    own, noise = (band_limited(len(belongs), how.frames, how.tr_s, generator).numpy() for _ in range(2))
    coupling = np.full((len(belongs), 1), how.coupling)
    if altered is not None:
        coupling[altered] = Alteration().coupling
    return (coupling * networks[belongs] + np.sqrt(1 - coupling**2) * own + NOISE * noise).T


def cohort(people: int, seed: int, form: str) -> tuple[list[Scan], dict[str, Evidence]]:
    rng, how = np.random.default_rng(seed), BoldSettings()
    belongs = np.tile(rng.permutation(how.parcels) % how.networks, 2)
    common = int(rng.integers(len(belongs)))
    scans, evidence = [], {}
    for i in range(people):
        which = common if form == FORMS[0] else int(rng.integers(len(belongs)))
        altered = which if i % 2 and form != FORMS[2] else None
        known = np.array([rng.uniform(20, 70), rng.integers(2), rng.uniform(0.05, 0.4)])
        key = f"sub-{i:03d}"
        about = {"targets": np.array([float(i % 2)]), "covariates": known[:2]}
        scans.append(Scan(key, key[4:], np.zeros((1, 1, 1, 1), np.float32), np.ones(1, bool), None, 1.0, **about))
        evidence[key] = Evidence(courses(i, seed, belongs, altered), known)
    return scans, evidence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe("restingstate")
    for form in FORMS:
        areas: dict[str, list[float]] = {}
        for seed in range(options.repeats):
            scans, evidence = cohort(options.people, seed, form)
            split = draw_folds([Member(s.participant) for s in scans], 4, validation=0)
            for name in functional_baselines(recipe, evidence):
                with tempfile.TemporaryDirectory() as out:
                    folders = answer_functional(name, scans, split, recipe, Path(out), evidence)
                    found = evaluate_answers(scans, folders, recipe)
                area = answers_of(recipe.targets[0], found.targets).scores().values["auc"]
                areas.setdefault(name, []).append(area)
        for name, values in areas.items():
            print(f"{form}: {name} AUC {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})", flush=True)


if __name__ == "__main__":
    main()
