"""From relaxation times, proton density and diffusivity to brightness: published values and signal equations.

Every function takes floats, NumPy arrays or torch tensors alike, and returns the same kind. Times are in ms,
diffusivities in 1e-3 mm²/s, fields in tesla. Signals are magnitudes in units of a sequence's own; only their ratios
mean something, except that an ADC is a diffusivity and an MP2RAGE UNI image lies in [-0.5, 0.5].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_app.errors import UsageError

if TYPE_CHECKING:
    import torch

FIELDS = (1.5, 3.0, 7.0)
KINDS = ("MPRAGE", "MP2RAGE", "SE", "TSE", "FLAIR", "DWI", "ADC")
#: Kinds whose image is free of the coil's receive field: a ratio, in which it cancels.
RATIOS = ("MP2RAGE", "ADC")

#: Longitudinal relaxivity of gadobutrol in whole blood, per mM and s. Shen 2015 (Invest Radiol 50:330).
R1_PER_MM = {1.5: 4.6, 3.0: 4.5, 7.0: 4.2}
#: Transverse relaxivity of gadobutrol in plasma. Rohrer 2005 (Invest Radiol 40:715); at 7 T taken as at 3 T.
R2_PER_MM = {1.5: 6.1, 3.0: 7.1, 7.0: 7.1}
#: Share of the magnetisation that the adiabatic pulse of an MP2RAGE inverts. Marques 2010 (Neuroimage 49:1271).
MP2RAGE_EFFICIENCY = 0.96


@dataclass(frozen=True)
class Tissue:
    """What a tissue is to a scanner.

    Attributes:
        t1_ms, t2_ms: relaxation times at one field.
        density: of protons, relative to cerebrospinal fluid.
        diffusivity: mean over directions, 1e-3 mm²/s.
        gadolinium_mM: concentration once contrast agent was given; only sequences with contrast agent see it.
    """

    t1_ms: Any
    t2_ms: Any
    density: Any
    diffusivity: Any = 0.8
    gadolinium_mM: Any = 0.0


@dataclass(frozen=True)
class PulseSequence:
    """Timing of a sequence.

    Attributes:
        kind: one of ``KINDS``.
        field_tesla: 1.5, 3 or 7; decides relaxivities alone, relaxation times belong to the `Tissue`.
        repetition_ms: from one inversion, or excitation, to the next.
        echo_ms: effective echo time.
        inversion_ms: from the inversion to the middle of k-space; two of them for an MP2RAGE.
        flip_deg: of the excitation; two for an MP2RAGE.
        b_s_mm2: diffusion weighting.
        contrast_agent: gadolinium was given before.
        echoes: excitations of a gradient-echo train before the middle of k-space, and from there to its end.
        echo_spacing_ms: between two of them.
        preparation_ms: echo time of a T2 preparation before the inversion, 0 for none.

    Raises:
        UsageError: no such kind, or times that no scanner could play.
    """

    kind: str
    field_tesla: float
    repetition_ms: float
    echo_ms: float = 0.0
    inversion_ms: float | tuple[float, float] = 0.0
    flip_deg: float | tuple[float, float] = 90.0
    b_s_mm2: float = 0.0
    contrast_agent: bool = False
    echoes: tuple[int, int] = (0, 0)
    echo_spacing_ms: float = 0.0
    preparation_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"there is no kind of sequence {self.kind!r}; there are {', '.join(KINDS)}")
        _check_field(self.field_tesla)
        before, after = (n * self.echo_spacing_ms for n in self.echoes)
        starts = [ti - before for ti in self.inversions] + [self.repetition_ms]
        ends = [0.0] + [ti + after for ti in self.inversions]
        if self.repetition_ms <= 0 or self.echo_ms < 0 or any(s < e for s, e in zip(starts, ends, strict=True)):
            raise UsageError(
                f"this {self.kind} cannot be played: repetition {self.repetition_ms:g} ms, echo {self.echo_ms:g} ms, "
                f"inversion {', '.join(f'{ti:g}' for ti in self.inversions) or 'none'} ms, readout of "
                f"{before:g} ms before and {after:g} ms after the middle; lengthen the repetition, shorten the readout"
            )

    @property
    def inversions(self) -> tuple[float, ...]:
        """Inversion times, none to two."""
        if isinstance(self.inversion_ms, tuple):
            return self.inversion_ms
        return (self.inversion_ms,) if self.inversion_ms else ()

    @property
    def flips(self) -> tuple[float, ...]:
        """Flip angles, one or two."""
        return self.flip_deg if isinstance(self.flip_deg, tuple) else (self.flip_deg,)

    def sidecar(self) -> dict[str, Any]:
        """The BIDS fields of the timing, in seconds and degrees."""
        flips = list(self.flip_deg) if isinstance(self.flip_deg, tuple) else self.flip_deg
        fields: dict[str, Any] = {"FlipAngle": flips}
        if self.kind == "MP2RAGE":
            fields["RepetitionTimePreparation"] = _seconds(self.repetition_ms)
            fields["RepetitionTimeExcitation"] = _seconds(self.echo_spacing_ms)
        else:
            fields["RepetitionTime"] = _seconds(self.repetition_ms)
        fields["EchoTime"] = _seconds(self.echo_ms)
        if len(self.inversions) == 1:
            fields["InversionTime"] = _seconds(self.inversions[0])
        return fields


def _seconds(ms: float) -> float:
    return round(ms / 1000, 6)


# Relaxation times by tissue and field: T1 ms, T2 ms. Densities and diffusivities, which hardly change with the field,
# stand below.
#
# fluid      T1 Lin 2001, which hardly depends on the field (Rooney 2007, Magn Reson Med 57:308). T2 Spijkerman 2018
#            (MAGMA 31:415), who find it shorter at 7 T; 1000 ms is a round number of ours.
# grey       cortex. 1.5 T: T1 Rooney 2007, T2 Stanisz 2005 (Magn Reson Med 54:507). 3 T: Stanisz 2005. 7 T: T1 Wright
#            2008 (MAGMA 21:121), T2 Cox and Gowland 2010 (Magn Reson Med 64:1440), frontal cortex.
# white      as grey.
# deep grey  T1 mean of putamen and caudate head, Wright 2008. T2 from the linear law of "Dependence of brain-tissue R2
#            on MRI field strength" (R2 = 9 + (0.9 + 2e4 iron + 5.7 lipid) B0 per s), with the mean iron of putamen,
#            caudate and thalamus of Hallgren and Sourander 1958 (J Neurochem 3:41), 9e-5, and 0.05 of lipid (ours).
# muscle     1.5 and 3 T: Stanisz 2005. 7 T: round numbers of ours, longer T1 and shorter T2 than at 3 T as Jordan 2013
#            (Eur J Radiol 82:734) find.
# fat        1.5 and 3 T: de Bazelaire 2004 (Radiology 230:652), under the skin. 7 T: round numbers of ours, as muscle.
# bone       compact bone, which hardly gives a signal; round numbers of ours.
# blood      arterial, at rest; flow is not modelled. 1.5 and 3 T: Stanisz 2005. 7 T: T1 Zhang 2013 (Magn Reson Med
#            70:1082), T2 Krishnamurthy 2014 (Magn Reson Med 71:2035).
_RELAXATION: dict[str, dict[float, tuple[float, float]]] = {
    "fluid": {1.5: (4163.0, 2000.0), 3.0: (4163.0, 2000.0), 7.0: (4163.0, 1000.0)},
    "grey": {1.5: (1188.0, 95.0), 3.0: (1820.0, 99.0), 7.0: (1939.0, 47.0)},
    "white": {1.5: (656.0, 72.0), 3.0: (1084.0, 69.0), 7.0: (1126.0, 47.0)},
    "deep grey": {1.5: (1097.0, 74.0), 3.0: (1364.0, 55.0), 7.0: (1664.0, 33.0)},
    "muscle": {1.5: (1008.0, 44.0), 3.0: (1412.0, 50.0), 7.0: (1600.0, 35.0)},
    "fat": {1.5: (343.0, 58.0), 3.0: (382.0, 68.0), 7.0: (450.0, 50.0)},
    "bone": {1.5: (250.0, 3.0), 3.0: (300.0, 3.0), 7.0: (350.0, 2.0)},
    "blood": {1.5: (1441.0, 290.0), 3.0: (1932.0, 275.0), 7.0: (2100.0, 68.0)},
}
# Proton density relative to fluid: round numbers of ours near the water content of each tissue. Diffusivity: fluid is
# free water at body temperature (Holz 2000, Phys Chem Chem Phys 2:4740, whose law gives 3.04 at 37 °C); cortex, deep
# grey and white matter Helenius 2002 (AJNR 23:194); the rest are round numbers of ours. Gadolinium a few minutes
# after a single dose, mM, round numbers of ours: it stays in the blood, and healthy brain has it in its blood alone.
_OTHER: dict[str, tuple[float, float, float]] = {
    "fluid": (1.00, 3.0, 0.0),
    "grey": (0.82, 0.89, 0.01),
    "white": (0.70, 0.7, 0.005),
    "deep grey": (0.80, 0.75, 0.01),
    "muscle": (0.75, 1.5, 0.1),
    "fat": (0.90, 0.1, 0.0),
    "bone": (0.12, 0.3, 0.0),
    "blood": (0.85, 1.5, 0.5),
}
TISSUES = tuple(_RELAXATION)


def tissues(field_tesla: float) -> dict[str, Tissue]:
    """Healthy tissues at a field, in order of ``TISSUES``.

    Raises:
        UsageError: a field other than 1.5, 3 and 7 T.
    """
    field = _check_field(field_tesla)
    return {
        name: Tissue(*_RELAXATION[name][field], density, diffusivity, gadolinium)
        for name, (density, diffusivity, gadolinium) in _OTHER.items()
    }


def _check_field(field_tesla: float) -> float:
    if field_tesla not in FIELDS:
        raise UsageError(f"there are relaxation times at {', '.join(f'{f:g}' for f in FIELDS)} T, not {field_tesla!r}")
    return float(field_tesla)


# Protocols are round numbers within what is in use. MPRAGE at 1.5 T as in ADNI (Jack 2008, J Magn Reson Imaging
# 27:685); MP2RAGE at 7 T as in the scripts that go with Marques 2010; at 7 T a FLAIR needs a T2 preparation, or T1
# rules its contrast (Visser 2010, Magn Reson Med 64:194), and its inversion nulls fluid given that preparation.
_PROTOCOLS: dict[str, dict[float, PulseSequence]] = {
    "T1w": {
        1.5: PulseSequence("MPRAGE", 1.5, 2400.0, 3.5, 1000.0, 8.0, echoes=(80, 80), echo_spacing_ms=8.0),
        3.0: PulseSequence("MPRAGE", 3.0, 1900.0, 3.0, 900.0, 9.0, echoes=(88, 88), echo_spacing_ms=8.0),
        7.0: PulseSequence("MPRAGE", 7.0, 2600.0, 2.8, 1100.0, 6.0, echoes=(88, 88), echo_spacing_ms=8.0),
    },
    "UNIT1": {
        1.5: PulseSequence("MP2RAGE", 1.5, 5000, 3.0, (600, 2200), (5, 6), echoes=(44, 88), echo_spacing_ms=7.0),
        3.0: PulseSequence("MP2RAGE", 3.0, 5000, 3.0, (700, 2500), (4, 5), echoes=(44, 88), echo_spacing_ms=7.0),
        7.0: PulseSequence("MP2RAGE", 7.0, 6000, 2.8, (800, 2700), (4, 5), echoes=(35, 72), echo_spacing_ms=6.7),
    },
    "T2w": {
        1.5: PulseSequence("TSE", 1.5, 5000.0, 100.0),
        3.0: PulseSequence("TSE", 3.0, 5000.0, 90.0),
        7.0: PulseSequence("TSE", 7.0, 6000.0, 60.0),
    },
    "FLAIR": {
        1.5: PulseSequence("FLAIR", 1.5, 9000.0, 110.0, 2500.0),
        3.0: PulseSequence("FLAIR", 3.0, 9000.0, 100.0, 2500.0),
        7.0: PulseSequence("FLAIR", 7.0, 8000.0, 80.0, 2150.0, preparation_ms=100.0),
    },
    "trace": {
        1.5: PulseSequence("DWI", 1.5, 6000.0, 90.0, b_s_mm2=1000.0),
        3.0: PulseSequence("DWI", 3.0, 6000.0, 75.0, b_s_mm2=1000.0),
        7.0: PulseSequence("DWI", 7.0, 7000.0, 60.0, b_s_mm2=1000.0),
    },
}
_PROTOCOLS["ADC"] = {field: replace(how, kind="ADC") for field, how in _PROTOCOLS["trace"].items()}
_PROTOCOLS["ce-gadolinium_T1w"] = {f: replace(how, contrast_agent=True) for f, how in _PROTOCOLS["T1w"].items()}
SEQUENCES = tuple(_PROTOCOLS)


def pulse_sequence(sequence: str, field_tesla: float) -> PulseSequence:
    """Usual timing of a sequence, named as recipes name it.

    Raises:
        UsageError: no such sequence, or a field other than 1.5, 3 and 7 T.
    """
    if sequence not in _PROTOCOLS:
        raise UsageError(f"there is no signal equation for {sequence!r}; there are {', '.join(SEQUENCES)}")
    return _PROTOCOLS[sequence][_check_field(field_tesla)]


def varied(how: PulseSequence, generator: torch.Generator, spread: float = 0.1) -> PulseSequence:
    """Timing of another scanner: repetition, echo, inversion and flip each times a log-normal factor.

    ``spread`` is the standard deviation of the factor's logarithm, cut at two of them. Where the timing makes the
    contrast, scanners hardly differ: a FLAIR's inversion follows its repetition, so that it goes on nulling fluid
    within a fifth of ``spread``, and an MP2RAGE's repetition and inversions move by a fifth, or the darkest fluid
    would turn brighter than cortex. Times that could not be played are lengthened until they can.
    """
    import torch

    if spread < 0:
        raise UsageError(f"the spread of a timing must not be negative: {spread:g}")
    z = torch.randn(4, generator=generator, device=generator.device).clamp(-2, 2).tolist()
    repetition, echo, inversion, flip = (float(np.exp(spread * value)) for value in z)
    if how.kind == "MP2RAGE":
        repetition, inversion = repetition**0.2, inversion**0.2
    elif how.kind == "FLAIR":
        changed = replace(how, repetition_ms=how.repetition_ms * repetition)
        inversion = inversion**0.2 * float(nulling_ms(changed) / nulling_ms(how))
    before, after = (n * how.echo_spacing_ms for n in how.echoes)
    times, free = [], 0.0
    for ti in how.inversions:
        times.append(max(ti * inversion, free + before))
        free = times[-1] + after
    both = how.flip_deg
    flips = (both[0] * flip, both[1] * flip) if isinstance(both, tuple) else both * flip
    return replace(
        how,
        repetition_ms=max(how.repetition_ms * repetition, free),
        echo_ms=how.echo_ms * echo,
        inversion_ms=(times[0], times[1]) if len(times) == 2 else sum(times),
        flip_deg=flips if how.echoes[1] else how.flip_deg,
    )


def nulling_ms(how: PulseSequence, tissue: Tissue | None = None) -> float:
    """Inversion time at which an inversion recovery gives no signal of a tissue, fluid where none is named."""
    tissue = tissue or tissues(how.field_tesla)["fluid"]
    kept = _decay(how.preparation_ms, tissue.t2_ms)
    return tissue.t1_ms * np.log((1 + kept) / (1 + kept * _decay(how.repetition_ms, tissue.t1_ms)))


def signal(how: PulseSequence, tissue: Tissue) -> Any:
    """Brightness of a tissue.

    Magnitude in arbitrary units; of an ``ADC`` the diffusivity in 1e-3 mm²/s; of an ``MP2RAGE`` the UNI image, in
    [-0.5, 0.5], which depends on T1 alone. A coil's receive field multiplies the magnitudes, and none of ``RATIOS``.

    * MPRAGE: steady state of inversion, recovery and a train of small pulses (Wang 2014, PLoS ONE 9:e96899), per sine
      of the flip angle; the echo is taken to be short beside T2*.
    * MP2RAGE: Marques 2010 (Neuroimage 49:1271), the real part of the product of the two images over the sum of their
      squares.
    * SE, TSE: saturation recovery and T2 decay until the effective echo; DWI the same, and ``exp(-b D)``.
    * FLAIR: inversion recovery and T2 decay.
    * After contrast agent, both relaxation rates grow in proportion to its concentration (``enhanced``).
    """
    if how.kind == "ADC":
        return tissue.diffusivity
    if how.contrast_agent:
        tissue = enhanced(tissue, how.field_tesla)
    if how.kind == "MP2RAGE":
        return _uni(how, tissue)
    if how.kind == "MPRAGE":
        (middle,) = _trains(how, tissue.t1_ms, 1.0)
        return tissue.density * abs(middle)
    echo = _decay(how.echo_ms, tissue.t2_ms)
    if how.kind == "FLAIR":
        return tissue.density * abs(_inversion_recovery(how, tissue)) * echo
    recovered = tissue.density * (1 - _decay(how.repetition_ms, tissue.t1_ms)) * echo
    return recovered * _exp(-how.b_s_mm2 * tissue.diffusivity * 1e-3) if how.kind == "DWI" else recovered


def enhanced(tissue: Tissue, field_tesla: float) -> Tissue:
    """The tissue with relaxation times shortened by the gadolinium in it."""
    field = _check_field(field_tesla)
    per_ms = tissue.gadolinium_mM * 1e-3
    return replace(
        tissue,
        t1_ms=1 / (1 / tissue.t1_ms + R1_PER_MM[field] * per_ms),
        t2_ms=1 / (1 / tissue.t2_ms + R2_PER_MM[field] * per_ms),
    )


def _inversion_recovery(how: PulseSequence, tissue: Tissue) -> Any:
    """Longitudinal magnetisation at the inversion time; a T2 preparation leaves less to invert."""
    inverted, cycle = _decay(how.inversions[0], tissue.t1_ms), _decay(how.repetition_ms, tissue.t1_ms)
    full = 1 - 2 * inverted + cycle
    return full + (1 - _decay(how.preparation_ms, tissue.t2_ms)) * (inverted - cycle)


def _uni(how: PulseSequence, tissue: Tissue) -> Any:
    first, second = _trains(how, tissue.t1_ms, MP2RAGE_EFFICIENCY)
    first, second = (m * float(np.sin(np.radians(flip))) for m, flip in zip((first, second), how.flips, strict=True))
    return first * second / (first * first + second * second)


def _trains(how: PulseSequence, t1: Any, efficiency: float) -> list[Any]:
    """Longitudinal magnetisation at the middle of each gradient-echo train, in the steady state.

    Every step of the cycle maps it as ``m -> scale * m + gain``; the steady state is what a whole cycle maps to itself.
    """
    before, after = how.echoes
    spacing = how.echo_spacing_ms
    passed, now, middles = (-efficiency, 0.0), 0.0, []
    for ti, flip in zip(how.inversions, how.flips, strict=True):
        decay = np.cos(np.radians(flip)) * _decay(spacing, t1)
        passed = _then(passed, _recover(ti - before * spacing - now, t1))
        passed = _then(passed, _pulses(before, decay, spacing, t1))
        middles.append(passed)
        passed = _then(passed, _pulses(after, decay, spacing, t1))
        now = ti + after * spacing
    cycle = _then(passed, _recover(how.repetition_ms - how.inversions[-1] - after * spacing, t1))
    steady = cycle[1] / (1 - cycle[0])
    return [scale * steady + gain for scale, gain in middles]


def _recover(ms: float, t1: Any) -> tuple[Any, Any]:
    return _decay(ms, t1), 1 - _decay(ms, t1)


def _pulses(count: int, decay: Any, spacing: float, t1: Any) -> tuple[Any, Any]:
    if not count:
        return 1.0, 0.0
    return decay**count, (1 - _decay(spacing, t1)) * (1 - decay**count) / (1 - decay)


def _then(first: tuple[Any, Any], second: tuple[Any, Any]) -> tuple[Any, Any]:
    return second[0] * first[0], second[0] * first[1] + second[1]


def _decay(ms: float, time: Any) -> Any:
    return _exp(-ms / time)


def _exp(value: Any) -> Any:
    """Exponential of a float, an array or a tensor."""
    return value.exp() if hasattr(value, "exp") else np.exp(value)
