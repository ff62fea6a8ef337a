from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.heads.brains import draw_brain
from bids_app.synthesis.heads.variation import (
    DISEASES,
    EFFECTS,
    MALE_HEAD,
    MEASURES,
    Effect,
    Measures,
    draw_measures,
    vary,
)

SHAPE, SPACING = (42, 50, 42), 4.5
NOTHING = {name: Effect(EFFECTS[name].share, 0.0, 0.0, EFFECTS[name].spread) for name in MEASURES}


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(brain, **logs: float):
    return vary(brain, Measures({name: logs.get(name, 0.0) for name in MEASURES}, 1.0), SPACING)


@pytest.fixture(scope="module", params=["template", "procedural"])
def brain(request):
    return draw_brain(request.param, stream(3), SHAPE, SPACING)


def people(effects, disease=None, n=30):
    """Logarithms of what was measured on drawn brains relative to the head, with age and sex; one brain for all."""
    rng = np.random.default_rng(0)
    plain = draw_brain("template", stream(1), SHAPE, SPACING)
    ages, sexes = rng.uniform(20, 85, n), ["FM"[i % 2] for i in range(n)]
    ill = [disease if disease and i // 2 % 2 else None for i in range(n)]
    rows = []
    for i in range(n):
        one = draw_measures(ages[i], sexes[i], stream(100 + i), disease=ill[i], effects=effects)
        v = vary(plain, one, SPACING).volumes
        both = v["hippocampus_left_ml"] + v["hippocampus_right_ml"]
        rows.append([np.log(both), np.log(v["ventricles_ml"]), np.log(v["cortex_ml"])])
    design = np.stack([np.ones(n), ages - 50, [s == "M" for s in sexes], [i is not None for i in ill]], 1).astype(float)
    design = design if disease else design[:, :3]
    values = np.array(rows)
    fitted, *_ = np.linalg.lstsq(design, values, rcond=None)
    left = values - design @ fitted
    spread = np.sqrt((left**2).sum(0) / (n - design.shape[1]))
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))[:, None] * spread
    return dict(zip(MEASURES, fitted.T, strict=True)), dict(zip(MEASURES, error.T, strict=True))


def test_planted_effects_of_age_are_recovered():
    found, error = people(EFFECTS)
    for name in MEASURES:
        # log volumes of thin structures on a coarse grid follow what is planted to within a tenth
        planted = EFFECTS[name].age
        assert abs(found[name][1] - planted) < 2.5 * error[name][1] + 0.1 * abs(planted), name
        assert np.sign(found[name][1]) == np.sign(planted)
    assert abs(found["ventricles"][1]) > 4 * error["ventricles"][1]
    assert abs(found["cortex"][1]) > 4 * error["cortex"][1]


def test_planted_effects_of_a_disease_are_recovered():
    found, error = people(EFFECTS, "alzheimer")
    for name in MEASURES:
        planted = DISEASES["alzheimer"][name]
        assert abs(found[name][3] - planted) < 2.5 * error[name][3] + 0.1 * abs(planted), name
    assert found["hippocampus"][3] < -4 * error["hippocampus"][3]


def test_nothing_is_found_where_nothing_was_planted():
    found, error = people(NOTHING)
    for name in MEASURES:
        assert (abs(found[name][1:]) < 2.5 * error[name][1:]).all(), name


def test_structures_have_the_volume_that_was_asked_for(brain):
    for hippocampus, ventricles in ((0.1, -0.7), (-0.3, 1.0)):
        v = changed(brain, hippocampus=hippocampus, ventricles=ventricles).volumes
        aim = {n: EFFECTS[n].share * v["intracranial_ml"] for n in MEASURES}
        each = aim["hippocampus"] * np.exp(hippocampus) / 2
        assert v["hippocampus_left_ml"] == pytest.approx(each, rel=0.02)
        assert v["hippocampus_right_ml"] == pytest.approx(each, rel=0.02)
        assert v["ventricles_ml"] == pytest.approx(aim["ventricles"] * np.exp(ventricles), rel=0.1)


def test_cortex_gives_way_to_fluid_in_the_amount_asked_for(brain):
    whole, thin = changed(brain), changed(brain, cortex=-0.1)
    assert thin.volumes["cortex_ml"] / whole.volumes["cortex_ml"] == pytest.approx(np.exp(-0.1), rel=0.01)
    assert float(thin.brain.tissue[2].sum()) == pytest.approx(float(whole.brain.tissue[2].sum()))
    lost = whole.brain.tissue[1] - thin.brain.tissue[1]
    assert torch.allclose(thin.brain.tissue[0] - whole.brain.tissue[0], lost, atol=1e-5)


def test_shares_of_the_parts_add_up_to_the_brain_and_none_is_negative(brain):
    names, shares = changed(brain, ventricles=1.2, hippocampus=-0.4, cortex=-0.2).partition()
    assert len(names) == len(shares)
    assert float(shares.min()) >= 0
    assert torch.allclose(shares.sum(0), brain.tissue.sum(0), atol=1e-4)


def test_hippocampi_lie_left_and_right(brain):
    left, right = changed(brain).hippocampi
    assert float(brain.frame[..., 0][left > 0.1].max()) < 0 < float(brain.frame[..., 0][right > 0.1].min())


def test_wide_ventricles_stay_in_one_piece_of_fluid(brain):
    """A wall that was pushed too far would leave tissue in the middle of the ventricles."""
    from scipy import ndimage

    varied = changed(brain, ventricles=1.2)
    full = (varied.brain.ventricle > 0.5).numpy()
    assert not (ndimage.binary_fill_holes(full) & ~full).any()


def test_men_have_larger_heads():
    woman, man = (draw_measures(50, sex, stream(1)).size for sex in "FM")
    assert 3 * np.log(man / woman) == pytest.approx(MALE_HEAD)


def test_deviations_are_the_same_with_and_without_a_disease():
    well, ill = (draw_measures(70, "F", stream(4), disease=d).logs for d in (None, "schizophrenia"))
    for name in MEASURES:
        assert ill[name] - well[name] == pytest.approx(DISEASES["schizophrenia"][name])


@pytest.mark.parametrize(("sex", "disease"), [("X", None), ("F", "gout")])
def test_an_unknown_sex_or_disease_is_refused(sex, disease):
    with pytest.raises(UsageError):
        draw_measures(50, sex, stream(1), disease=disease)
