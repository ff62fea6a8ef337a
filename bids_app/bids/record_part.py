"""The base of every part of a session's record, and the profile, which the group level writes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Strictly typed; fields of a later version with the same format are passed by."""

    model_config = ConfigDict(extra="ignore", strict=True)


class Deviation(Part):
    """One number of a session among people of the same age, sex and site, by a normative model."""

    measure: str
    recipe: str = ""
    region: str = ""
    unit: str = ""
    value: float
    expected: float
    deviation: float
    z: float
    centile: float


class Profile(Part):
    """Every number of a session that a normative model knows.

    ``fitted_on``: whom the model was fitted on; ``ages``: their least and greatest; ``note``: what to know of it.
    """

    fitted_on: str
    ages: list[float]
    file: str = ""
    note: str = ""
    rows: list[Deviation] = []
