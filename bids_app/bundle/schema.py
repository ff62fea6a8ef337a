"""What the JSON files of a bundle may hold: names, kinds and ranges; anything else is refused before it predicts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bids_app.errors import BundleError

Real = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Side = Annotated[int, Field(ge=1, le=2048)]


class _Strict(BaseModel):
    """A number is a number: no text, no true or false stands for one."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Open(BaseModel):
    """As `_Strict`, with fields that nothing here reads."""

    model_config = ConfigDict(extra="allow", strict=True)


class TargetFit(_Strict):
    """What `bids_app.targets` fitted for one target, of which kind, on how many participants."""

    kind: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    fitted_on: Count | None = None
    temperature: Annotated[float, Field(ge=0.01, le=100)] | None = None
    half_width: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    coverage: Share | None = None
    set_level: Share | None = None
    note: str | None = None


class FamiliarityFit(_Strict):
    """See `bids_app.predict.vote.Familiarity`."""

    mean: list[Real]
    scale: list[Positive]
    covariance: list[list[Real]]
    threshold: Positive
    fitted_on: Count = 0

    @model_validator(mode="after")
    def _of_one_size(self) -> FamiliarityFit:
        sizes = {len(self.mean), len(self.scale), len(self.covariance), *(len(row) for row in self.covariance)}
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError("mean, scale and covariance are not of one size")
        if any(self.covariance[k][k] <= 0 for k in range(len(self.mean))):
            raise ValueError("covariance has a variance that is not above zero")
        return self


class Calibration(_Strict):
    """``calibration.json``: how probabilities are read, and what is usual; volumes in mm³, distances in mm."""

    threshold: Share
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    thresholds: dict[str, Share] = {}
    weights: dict[str, Annotated[float, Field(ge=0.01, le=100)]] = {}
    targets: dict[str, TargetFit] = {}
    volume_gain: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    usual_mm3: list[Annotated[float, Field(ge=0, lt=1e9)]] | None = Field(default=None, min_length=2, max_length=2)
    usual_apart_mm: list[Annotated[float, Field(ge=0, lt=1e3)]] | None = Field(default=None, min_length=2, max_length=2)
    repeat_cv: Annotated[float, Field(ge=0, le=2)] | None = None
    least_mm3: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    familiarity: FamiliarityFit | None = None
    fitted_on: Count | None = None
    out_of_fold: bool | None = None
    notes: list[str] = []

    @model_validator(mode="after")
    def _ranges_rise(self) -> Calibration:
        for name in ("usual_mm3", "usual_apart_mm"):
            pair = getattr(self, name)
            if pair and pair[0] >= pair[1]:
                raise ValueError(f"{name}: {pair[0]:g} is not below {pair[1]:g}")
        return self


class HeadFields(_Strict):
    """One target's head."""

    name: str = Field(min_length=1, max_length=200)
    kind: str = Field(min_length=1, max_length=50)
    outputs: Annotated[int, Field(ge=1, le=1000)]
    hidden: list[Annotated[int, Field(ge=0, le=1000)]] = []


class Network(_Strict):
    """``network.json``: `bids_app.networks.multitask.NetworkShape`, and how many members vote."""

    sequences: Annotated[int, Field(ge=1, le=64)]
    classes: Annotated[int, Field(ge=0, le=4096)]
    filters: Annotated[int, Field(ge=1, le=512)] = 16
    blocks: list[Annotated[int, Field(ge=1, le=32)]] = Field(default=[1, 2, 2], min_length=1, max_length=8)
    deep_supervision: Annotated[int, Field(ge=1, le=8)] = 2
    fold: Annotated[int, Field(ge=1, le=8)] = 1
    dimensions: Literal[2, 3] = 3
    heads: list[HeadFields] = []
    covariates: Annotated[int, Field(ge=0, le=1000)] = 0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    reads_regions: bool = False
    sided: bool = False
    partners: list[Annotated[int, Field(ge=0, le=4096)]] = []
    reads_features: bool = False
    gradient: Literal["all", "features", "none"] = "all"
    slices: Annotated[int, Field(ge=1, le=9)] = 1
    cells: Annotated[int, Field(ge=0, le=16)] = 0
    frames: Annotated[int, Field(ge=1, le=200)] = 1
    finest: Annotated[int, Field(ge=1, le=8)] = 1
    members: Annotated[int, Field(ge=1, le=100)] = 1


class Normalisation(_Open):
    """How one sequence is brought to a common scale."""

    kind: Literal["scan", "cohort"]
    mean: Real | None = None
    sd: Positive | None = None

    @model_validator(mode="after")
    def _whole(self) -> Normalisation:
        if self.kind == "cohort" and (self.mean is None or self.sd is None):
            raise ValueError("kind cohort needs mean and sd")
        return self


class Scaling(_Open):
    """Mean and standard deviation of a covariate, or of a continuous target with its least and largest value."""

    mean: Real | None = None
    sd: Positive | None = None
    low: Real | None = None
    high: Real | None = None


class MemberPlan(_Open):
    """One member's part of ``plan.json`` that prediction reads."""

    patch: list[Side] | None = Field(default=None, min_length=2, max_length=3)
    field_of_view: list[Side] | None = Field(default=None, min_length=2, max_length=3)
    spacing_mm: Positive | None = None
    normalisation: dict[str, Normalisation] = {}
    targets: dict[str, Scaling] = {}
    covariates: dict[str, Scaling] = {}


class Plans(_Open):
    """``plan.json`` of several members."""

    members: list[MemberPlan] | None = None


class Manifest(_Open):
    """``manifest.json``: who trained it, as salted hashes."""

    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    salt: str = ""
    participants: list[str] = []
    trained_on: list[str] = []
    covariate_levels: dict[str, list[str]] | None = None


def check_part(content: Any, schema: type[BaseModel], source: str) -> None:
    """Refuse a part of a bundle that its schema does not allow.

    Raises:
        BundleError: naming every wrong field, what was given, and the file.
    """
    try:
        schema.model_validate(content)
    except ValidationError as error:
        rows = []
        for trouble in error.errors(include_url=False)[:5]:
            where = ".".join(str(part) for part in trouble["loc"]) or "it"
            given = "" if isinstance(trouble["input"], dict | list) else f" (given: {str(trouble['input'])[:50]!r})"
            rows.append(f"{where}: {trouble['msg'].removeprefix('Value error, ')}{given}")
        raise BundleError(f"{source}: {'; '.join(rows)}; fetch or train the bundle again") from error
