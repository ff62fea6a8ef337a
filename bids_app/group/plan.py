"""What is asked of the group level, as the command line has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bids_app.bids.fmriprep import FMRIPREP
from bids_app.settings import DEFAULT_SEED, Settings


@dataclass(frozen=True)
class GroupPlan:
    """Questions; columns are those of participants.tsv or of ``group_volumes_wide.tsv``.

    Attributes:
        group: column with the groups; None takes the first of the usual names that is there, for the page alone.
        control_group: level of it that the others are compared with.
        covariates: what estimates are adjusted for.
        site: column of the scanner or site: a category, in every model.
        contrasts: ``A-B`` for two levels, ``group:age`` for an interaction; none means every pair.
        scales: columns that measures are correlated with.
        measures: names or patterns (``habenula_*_soft_mm3``); none means every soft volume and lesion load.
        harmonise: ``none`` or ``combat``.
        harmonise_reference: site that stays as it is.
        harmonise_on: ``everybody`` or ``controls``: who sites are estimated on.
        permutations: of each group difference, after Freedman and Lane; 0 for none.
        normative: None, ``fit`` (on the control group, or on everybody without groups), or the path of a model.
        age: column of ages, in years, for it.
        maps: whether lesions are mapped in template space and tested voxel by voxel.
        atrophy: None, ``fit``, or the path of a model of grey matter.
        atrophy_threshold: z below which a voxel counts as atrophied.
        atrophy_extent: ml that such voxels must have together.
        truth: folders of labels by their names, which masks are compared with.
        recipes: files of recipes that do not ship, for where their labels are.
        allow_mixed: take sessions of several versions or bundles together.
        seed: of what draws.
    """

    group: str | None = None
    control_group: str | None = None
    covariates: tuple[str, ...] = ()
    site: str | None = None
    contrasts: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    harmonise: str = "none"
    harmonise_reference: str | None = None
    harmonise_on: str = "everybody"
    permutations: int = 0
    normative: str | None = None
    age: str = "age"
    maps: bool = False
    atrophy: str | None = None
    atrophy_threshold: float = -2.0
    atrophy_extent: float = 0.5
    truth: Mapping[str, Path] = field(default_factory=dict)
    recipes: tuple[str, ...] = ()
    allow_mixed: bool = False
    seed: int = DEFAULT_SEED

    @property
    def asks(self) -> bool:
        """Whether anything is to be tested."""
        return bool(self.covariates or self.contrasts or self.scales or self.site or self.control_group)


def plan_of(settings: Settings) -> GroupPlan:
    """The group level's part of a run's settings."""
    return GroupPlan(
        group=settings.group_column,
        control_group=settings.control_group,
        covariates=settings.covariates,
        site=settings.site_column,
        contrasts=settings.contrast,
        scales=settings.scales,
        measures=settings.measures,
        harmonise=settings.harmonize,
        harmonise_reference=settings.harmonize_reference,
        harmonise_on=settings.harmonize_on,
        permutations=settings.permutations,
        normative="fit" if settings.normative_fit else str(settings.normative) if settings.normative else None,
        age=settings.age_column,
        maps=settings.lesion_maps,
        atrophy="fit" if settings.atrophy_fit else str(settings.atrophy) if settings.atrophy else None,
        atrophy_threshold=settings.atrophy_threshold,
        atrophy_extent=settings.atrophy_extent,
        truth={name: folder for name, folder in settings.derivatives.items() if name != FMRIPREP},
        recipes=settings.recipe,
        allow_mixed=settings.allow_mixed,
        seed=settings.random_seed,
    )
