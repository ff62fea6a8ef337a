from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from bids_app.errors import UsageError
from bids_app.synthesis.scanner import physics
from bids_app.synthesis.scanner.physics import (
    FIELDS,
    SEQUENCES,
    PulseSequence,
    Tissue,
    enhanced,
    nulling_ms,
    pulse_sequence,
    signal,
    tissues,
    varied,
)


def brightness(sequence: str, field: float) -> dict[str, float]:
    return {name: float(signal(pulse_sequence(sequence, field), tissue)) for name, tissue in tissues(field).items()}


def is_rising(levels: dict[str, float], *names: str) -> bool:
    values = [levels[name] for name in names]
    return all(a < b for a, b in pairwise(values))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("sequence", ["T1w", "UNIT1"])
def test_white_matter_is_brightest_and_fluid_darkest_with_t1(sequence, field):
    assert is_rising(brightness(sequence, field), "fluid", "grey", "deep grey", "white", "fat")


@pytest.mark.parametrize("field", FIELDS)
def test_fluid_is_brightest_with_t2_and_white_matter_darker_than_cortex(field):
    assert is_rising(brightness("T2w", field), "bone", "white", "grey", "fluid")


@pytest.mark.parametrize("field", FIELDS)
def test_fluid_is_all_but_gone_on_flair(field):
    levels = brightness("FLAIR", field)
    assert levels["fluid"] < 0.2 * min(levels["grey"], levels["white"])


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_cortex_is_brighter_than_white_matter_on_flair(field):
    assert is_rising(brightness("FLAIR", field), "fluid", "white", "grey")


def test_at_7_tesla_a_t2_preparation_keeps_t1_from_ruling_a_flair():
    plain = replace(pulse_sequence("FLAIR", 7), preparation_ms=0.0)
    ratios = [
        signal(how, tissues(7)["grey"]) / signal(how, tissues(7)["white"])
        for how in (plain, pulse_sequence("FLAIR", 7))
    ]
    assert ratios[0] < 0.7 < 0.85 < ratios[1]


@pytest.mark.parametrize("field", FIELDS)
def test_an_acute_infarct_is_bright_on_trace_and_dark_on_adc(field):
    infarct = replace(tissues(field)["grey"], diffusivity=0.45)
    trace, adc = brightness("trace", field), brightness("ADC", field)
    assert trace["fluid"] < min(trace["grey"], trace["white"])
    assert max(trace["grey"], trace["white"]) * 1.3 < signal(pulse_sequence("trace", field), infarct)
    assert signal(pulse_sequence("ADC", field), infarct) < min(adc[name] for name in ("grey", "white", "fluid"))


@pytest.mark.parametrize("field", FIELDS)
def test_long_t2_shines_through_on_trace_and_not_on_adc(field):
    grey = tissues(field)["grey"]
    old = replace(grey, t2_ms=2 * grey.t2_ms)
    assert signal(pulse_sequence("trace", field), old) > 1.3 * signal(pulse_sequence("trace", field), grey)
    assert signal(pulse_sequence("ADC", field), old) == signal(pulse_sequence("ADC", field), grey)


@pytest.mark.parametrize("field", FIELDS)
def test_adc_of_fluid_is_that_of_free_water(field):
    assert brightness("ADC", field)["fluid"] == pytest.approx(3.0, abs=0.1)


def test_adc_is_what_two_b_values_give():
    grey, trace = tissues(3)["grey"], pulse_sequence("trace", 3)
    ratio = signal(replace(trace, b_s_mm2=0.0), grey) / signal(trace, grey)
    assert np.log(ratio) / trace.b_s_mm2 * 1e3 == pytest.approx(signal(pulse_sequence("ADC", 3), grey))


@pytest.mark.parametrize("field", FIELDS)
def test_gadolinium_shortens_both_times_and_only_shows_where_it_was_given(field):
    tumour = replace(tissues(field)["grey"], gadolinium_mM=0.5)
    after = enhanced(tumour, field)
    assert after.t1_ms < 0.5 * tumour.t1_ms
    assert 0.7 * tumour.t2_ms < after.t2_ms < tumour.t2_ms
    plain, given = pulse_sequence("T1w", field), pulse_sequence("ce-gadolinium_T1w", field)
    assert signal(plain, tumour) == signal(plain, tissues(field)["grey"])
    assert signal(given, tumour) > 1.2 * signal(given, tissues(field)["white"])


def test_relaxation_rate_grows_by_relaxivity_times_concentration():
    after = enhanced(Tissue(1000.0, 100.0, 1.0, gadolinium_mM=2.0), 3.0)
    assert 1000 / after.t1_ms == pytest.approx(1.0 + 2 * physics.R1_PER_MM[3.0])
    assert 1000 / after.t2_ms == pytest.approx(10.0 + 2 * physics.R2_PER_MM[3.0])


@pytest.mark.parametrize("field", FIELDS)
def test_brain_takes_longer_to_recover_in_a_stronger_field(field):
    stronger = tissues({1.5: 3.0, 3.0: 7.0, 7.0: 7.0}[field])
    for name in ("grey", "white", "deep grey", "blood", "muscle", "fat"):
        assert tissues(field)[name].t1_ms <= stronger[name].t1_ms


@pytest.mark.parametrize("field", FIELDS)
def test_uni_lies_between_minus_and_plus_a_half(field):
    uni = signal(pulse_sequence("UNIT1", field), Tissue(torch.logspace(1, 4, 400), 50.0, 1.0))
    assert uni.min() >= -0.5
    assert uni.max() <= 0.5
    assert uni.min() < -0.45
    assert uni.max() > 0.4


@pytest.mark.parametrize("field", FIELDS)
def test_uni_falls_with_t1_over_the_brain_so_that_t1_can_be_read_from_it(field):
    uni = signal(pulse_sequence("UNIT1", field), Tissue(torch.linspace(500, 3000, 200, dtype=torch.float64), 50.0, 1.0))
    assert (uni.diff() < 0).all()


def test_uni_is_free_of_density_and_receive_field_and_mprage_is_not():
    grey, uni, mprage = tissues(3)["grey"], pulse_sequence("UNIT1", 3), pulse_sequence("T1w", 3)
    doubled = replace(grey, density=2 * grey.density, t2_ms=30.0)
    assert signal(uni, doubled) == signal(uni, grey)
    assert signal(mprage, doubled) == pytest.approx(2 * signal(mprage, grey))
    assert uni.kind in physics.RATIOS
    assert mprage.kind not in physics.RATIOS


def played_out(how: PulseSequence, t1: float, efficiency: float) -> list[float]:
    """Magnetisation at the middle of each train, by playing pulse after pulse until nothing changes."""
    now, magnetisation, middles = 0.0, 1.0, []

    def wait(ms):
        nonlocal magnetisation
        magnetisation = 1 + (magnetisation - 1) * np.exp(-ms / t1)

    for _ in range(30):
        magnetisation, now, middles = -efficiency * magnetisation, 0.0, []
        for ti, flip in zip(how.inversions, np.atleast_1d(how.flip_deg), strict=True):
            wait(ti - how.echoes[0] * how.echo_spacing_ms - now)
            for pulse in range(sum(how.echoes)):
                if pulse == how.echoes[0]:
                    middles.append(magnetisation)
                magnetisation *= np.cos(np.radians(flip))
                wait(how.echo_spacing_ms)
            now = ti + how.echoes[1] * how.echo_spacing_ms
        wait(how.repetition_ms - now)
    return middles


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("t1", [300.0, 1200.0, 4000.0])
def test_gradient_echo_trains_are_what_playing_every_pulse_gives(field, t1):
    tissue = Tissue(t1, 60.0, 0.8)
    mprage, mp2rage = pulse_sequence("T1w", field), pulse_sequence("UNIT1", field)
    assert signal(mprage, tissue) == pytest.approx(0.8 * abs(played_out(mprage, t1, 1.0)[0]), rel=1e-9)
    first, second = played_out(mp2rage, t1, physics.MP2RAGE_EFFICIENCY) * np.sin(np.radians(mp2rage.flip_deg))
    assert signal(mp2rage, tissue) == pytest.approx(first * second / (first**2 + second**2), rel=1e-9)


def test_without_a_readout_an_mprage_is_an_inversion_recovery():
    how = PulseSequence("MPRAGE", 3.0, 2000.0, inversion_ms=700.0, flip_deg=0.0)
    expected = 1 - 2 * np.exp(-700 / 900) / (1 + np.exp(-2000 / 900))
    assert signal(how, Tissue(900.0, 60.0, 1.0)) == pytest.approx(abs(expected))


def test_spin_echo_tends_to_density_and_to_pure_weightings():
    tissue = Tissue(1000.0, 80.0, 0.7)
    assert signal(PulseSequence("SE", 3.0, 1e9, 0.0), tissue) == pytest.approx(0.7)
    assert signal(PulseSequence("TSE", 3.0, 1e9, 80.0), tissue) == pytest.approx(0.7 / np.e)
    assert signal(PulseSequence("SE", 3.0, 1000.0, 0.0), tissue) == pytest.approx(0.7 * (1 - 1 / np.e))
    assert signal(PulseSequence("DWI", 3.0, 1e9, 0.0, b_s_mm2=0.0), tissue) == pytest.approx(0.7)


def test_flair_of_endless_repetition_is_null_at_ln_2_of_t1():
    how = PulseSequence("FLAIR", 3.0, 1e9, 0.0, 1000.0)
    assert nulling_ms(how, Tissue(1500.0, 100.0, 1.0)) == pytest.approx(1500 * np.log(2))
    assert signal(how, Tissue(1000 / np.log(2), 100.0, 1.0)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("preparation", [0.0, 100.0])
def test_flair_at_the_nulling_time_gives_nothing(preparation):
    tissue = tissues(7)["fluid"]
    how = replace(pulse_sequence("FLAIR", 7), preparation_ms=preparation)
    assert signal(replace(how, inversion_ms=nulling_ms(how)), tissue) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_floats_arrays_and_tensors_give_the_same(sequence):
    t1, t2, density = np.array([700.0, 1800.0]), np.array([60.0, 90.0]), np.array([0.7, 0.9])
    how, rest = (
        pulse_sequence(sequence, 3),
        {"diffusivity": np.array([0.7, 1.2]), "gadolinium_mM": np.array([0.2, 0.0])},
    )
    arrays = signal(how, Tissue(t1, t2, density, **rest))
    tensors = signal(
        how, Tissue(*map(torch.from_numpy, (t1, t2, density)), **{k: torch.from_numpy(v) for k, v in rest.items()})
    )
    floats = [
        signal(how, Tissue(*(float(v[k]) for v in (t1, t2, density)), **{n: float(v[k]) for n, v in rest.items()}))
        for k in range(2)
    ]
    assert isinstance(tensors, torch.Tensor)
    assert tensors.numpy() == pytest.approx(arrays, rel=1e-12)
    assert arrays == pytest.approx(floats, rel=1e-12)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_another_scanner_differs_and_can_be_drawn_again(sequence, field):
    how = pulse_sequence(sequence, field)
    drawn = [varied(how, generator(seed)) for seed in range(40)]
    assert len({other.repetition_ms for other in drawn}) > 30
    assert drawn[3] == varied(how, generator(3))
    assert varied(how, generator(), spread=0.0) == how
    assert {(other.kind, other.contrast_agent, other.b_s_mm2) for other in drawn} == {
        (how.kind, how.contrast_agent, how.b_s_mm2)
    }


@pytest.mark.parametrize("field", FIELDS)
def test_every_scanner_still_gives_each_sequence_its_contrast(field):
    healthy = tissues(field)
    for seed in range(40):
        for sequence, order in {
            "T1w": ("fluid", "grey", "white"),
            "UNIT1": ("fluid", "grey", "white"),
            "T2w": ("white", "grey", "fluid"),
        }.items():
            how = varied(pulse_sequence(sequence, field), generator(seed))
            assert is_rising({name: float(signal(how, healthy[name])) for name in order}, *order)
        flair = varied(pulse_sequence("FLAIR", field), generator(seed))
        assert signal(flair, healthy["fluid"]) < 0.5 * signal(flair, healthy["white"])


def test_even_wild_timings_can_be_played():
    for seed in range(50):
        for sequence in SEQUENCES:
            varied(pulse_sequence(sequence, 3), generator(seed), spread=0.5)


def test_sidecar_is_in_seconds():
    assert pulse_sequence("T1w", 3).sidecar() == {
        "FlipAngle": 9.0,
        "RepetitionTime": 1.9,
        "EchoTime": 0.003,
        "InversionTime": 0.9,
    }
    assert pulse_sequence("UNIT1", 7).sidecar()["RepetitionTimePreparation"] == 6.0
    assert "InversionTime" not in pulse_sequence("T2w", 3).sidecar()


@pytest.mark.parametrize("sequence", ["PDw", "t1w", ""])
def test_unknown_sequence_is_refused(sequence):
    with pytest.raises(UsageError, match="T1w, UNIT1, T2w, FLAIR, trace, ADC, ce-gadolinium_T1w"):
        pulse_sequence(sequence, 3)


@pytest.mark.parametrize("field", [0.0, 2.9, "3"])
def test_unknown_field_is_refused(field):
    with pytest.raises(UsageError, match=r"1\.5, 3, 7 T"):
        tissues(field)
    with pytest.raises(UsageError, match=r"1\.5, 3, 7 T"):
        pulse_sequence("T1w", field)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "EPI"}, "kind of sequence 'EPI'"),
        ({"repetition_ms": 1000.0}, "lengthen the repetition"),
        ({"inversion_ms": 300.0}, "shorten the readout"),
        ({"echo_ms": -1.0}, "echo -1 ms"),
        ({"repetition_ms": 0.0, "echoes": (0, 0), "inversion_ms": 0.0}, "repetition 0 ms"),
    ],
)
def test_timing_that_cannot_be_played_is_refused(changes, says):
    with pytest.raises(UsageError, match=says):
        replace(pulse_sequence("T1w", 3), **changes)


def test_a_negative_spread_is_refused():
    with pytest.raises(UsageError, match="must not be negative"):
        varied(pulse_sequence("T1w", 3), generator(), spread=-0.1)


def test_importing_the_equations_does_not_import_torch():
    code = "import sys, bids_app.synthesis.scanner.physics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
