"""A row of a comparison: one arm against the reference in one measure, and what measures are called."""

from __future__ import annotations

from dataclasses import dataclass

#: What a reader calls each measure; ``False``: the smaller the better.
TITLES = {
    "dice": ("Dice", True),
    "nsd": ("normalised surface distance", True),
    "hd95_mm": ("HD95 (mm)", False),
    "absolute_volume_error_mm3": ("absolute volume error (mm³)", False),
    "f1": ("lesion F1", True),
    "relative_volume_error": ("relative volume error", False),
    "volume_error_mm3": ("volume error (mm³)", False),
    "false_positive_mm3": ("false-positive volume (mm³)", False),
    "auc": ("AUC", True),
    "balanced_accuracy": ("balanced accuracy", True),
    "sensitivity": ("sensitivity", True),
    "specificity": ("specificity", True),
    "brier": ("Brier score", False),
    "log_loss": ("log loss", False),
    "calibration_slope": ("calibration slope", True),
    "calibration_intercept": ("calibration intercept", True),
    "ece": ("expected calibration error", False),
    "mae": ("mean absolute error", False),
    "kappa": ("quadratic weighted kappa", True),
    "r2": ("R²", True),
    "correlation": ("correlation", True),
    "bias": ("bias", False),
}


@dataclass(frozen=True)
class ComparisonRow:
    """One arm against the reference in one measure: a line of the table and of the forest plot.

    Attributes:
        arm, reference: names.
        kind: region or target.
        what: its name.
        measure: as in `bids_app.judge.rows.TITLES`.
        value, reference_value: of either arm, on the same sessions.
        difference: arm minus reference.
        low, high: its interval, by bootstrap over participants.
        better: whether a larger value is better.
        test: ``permutation`` (signs of participants' differences) or ``DeLong``.
        p, p_holm: two-sided; after Holm's correction over every test of the table. NaN where there is no test.
    """

    arm: str
    reference: str
    kind: str
    what: str
    measure: str
    value: float
    reference_value: float
    difference: float
    low: float
    high: float
    better: bool
    participants: int
    sessions: int
    test: str
    p: float
    p_holm: float = float("nan")

    @property
    def title(self) -> str:
        return f"{TITLES[self.measure][0]} {'of' if self.kind == 'region' else 'for'} {self.what}"

    @property
    def shown(self) -> bool:
        """Whether a difference was shown: p below 0.05 after correction, and the interval leaves zero out."""
        return bool(self.p_holm < 0.05 and (self.low > 0 or self.high < 0))
