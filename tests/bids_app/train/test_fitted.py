from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_app.errors import TrainingError
from bids_app.train.fitted import describe_fold, fit_covariates, fit_normalisation, fit_targets
from tests.learned.phantom_cohort import TARGETS, phantom_recipe
from tests.learned.small import small_scans

SCANS = small_scans(6)


def test_a_scan_is_scaled_by_itself_and_a_map_with_a_unit_by_all_training_voxels():
    recipe = phantom_recipe(("T1w", "FLAIR"))
    quantitative = recipe.sequences[1].model_copy(update={"quantitative": True})
    recipe = recipe.model_copy(update={"sequences": (recipe.sequences[0], quantitative)})
    how = fit_normalisation(recipe, SCANS)
    values = np.stack([scan.stack[1] for scan in SCANS])
    assert how["T1w"] == {"kind": "scan"}
    assert how["FLAIR"]["mean"] == pytest.approx(float(values.mean()), rel=1e-4)
    assert how["FLAIR"]["sd"] == pytest.approx(float(values.std()), rel=1e-4)


def test_a_target_of_one_value_is_refused_by_name():
    same = [replace(scan, targets=np.array([1.0, scan.targets[1]])) for scan in SCANS]
    with pytest.raises(TrainingError, match="target outcome: the training side has only the value 1"):
        fit_targets([TARGETS["outcome"], TARGETS["score"]], same)


def test_a_number_is_scaled_by_those_who_have_one():
    scans = [replace(scan, targets=np.array([0.0, value])) for scan, value in zip(SCANS, (1, 3, np.nan), strict=False)]
    fitted = fit_targets([TARGETS["score"]], [replace(scan, targets=scan.targets[1:]) for scan in scans])
    assert fitted["score"]["mean"] == 2


def test_a_covariate_that_nobody_has_is_refused_by_name():
    assert set(fit_covariates(["age"], SCANS)["age"]) == {"mean", "sd"}
    without = [replace(scan, covariates=np.array([np.nan])) for scan in SCANS]
    with pytest.raises(TrainingError, match="covariate age"):
        fit_covariates(["age"], without)


def test_a_fold_is_described_without_a_name_and_whatever_the_order():
    told = describe_fold(SCANS, "fold-1")
    assert told == describe_fold(SCANS[::-1], "fold-1")
    assert told != describe_fold(SCANS[1:], "fold-1")
    assert not any(scan.participant in str(told["digest"]) for scan in SCANS if len(scan.participant) > 2)
