"""Options of the group level."""

from __future__ import annotations

from pathlib import Path

from bids_app.cli.option_kinds import Option, amount, below_zero, count_or_none, make_option

GROUP = "group level"

GROUP_OPTIONS: tuple[Option, ...] = (
    make_option(
        "group_column",
        ("--group-column",),
        "column of participants.tsv whose groups are shown apart and compared",
        GROUP,
        metavar="NAME",
    ),
    make_option(
        "control_group",
        ("--control-group",),
        "value of that column that the others are compared with",
        GROUP,
        metavar="VALUE",
    ),
    make_option(
        "covariates",
        ("--covariates",),
        "columns of participants.tsv or group_volumes_wide.tsv that comparisons are adjusted for, for example age sex "
        "brain_mask_ml; with --site-column that one too",
        GROUP,
        nargs="+",
        metavar="NAME",
    ),
    make_option(
        "contrast",
        ("--contrast",),
        "patients-controls for two groups, group:age for an interaction; every pair of groups by default",
        GROUP,
        nargs="+",
        metavar="WHAT",
    ),
    make_option(
        "scales", ("--scales",), "columns that every measure is correlated with", GROUP, nargs="+", metavar="NAME"
    ),
    make_option(
        "measures",
        ("--measures",),
        "columns of group_volumes_wide.tsv, or patterns such as habenula_*_soft_mm3 (default: soft volumes and lesion "
        "loads)",
        GROUP,
        nargs="+",
        metavar="NAME",
    ),
    make_option(
        "harmonize",
        ("--harmonize", "--harmonise"),
        "combat takes differences of the sites of --site-column out of the measures",
        GROUP,
        choices=("none", "combat"),
    ),
    make_option(
        "harmonize_reference",
        ("--harmonize-reference",),
        "site that stays as it is, and that the others are brought to",
        GROUP,
        metavar="SITE",
    ),
    make_option(
        "harmonize_on", ("--harmonize-on",), "who sites are estimated on", GROUP, choices=("everybody", "controls")
    ),
    make_option(
        "permutations",
        ("--permutations",),
        "test group differences by so many permutations as well",
        GROUP,
        kind=count_or_none,
        metavar="N",
    ),
    make_option(
        "normative_fit",
        ("--normative-fit",),
        "fit a normative model (age, covariates, site) on --control-group, or on all people, and score everybody",
        GROUP,
        kind=None,
    ),
    make_option(
        "normative",
        ("--normative",),
        "score everybody by a normative model that was fitted before (group_normative_model.json); at the "
        "participant level, put each session's profile on its page",
        GROUP,
        kind=Path,
        metavar="FILE",
    ),
    make_option("age_column", ("--age-column",), "column of ages, for the normative model", GROUP, metavar="NAME"),
    make_option(
        "lesion_maps",
        ("--lesion-maps",),
        "map how often lesions hit each place of the template, and test --scales and groups voxel by voxel",
        GROUP,
        kind=None,
    ),
    make_option(
        "atrophy_fit",
        ("--atrophy-fit",),
        "fit a normative model of grey matter, voxel by voxel, on --control-group, or on all people, and map the "
        "atrophy of everybody (sessions need --grey-matter-map at the participant level)",
        GROUP,
        kind=None,
    ),
    make_option(
        "atrophy",
        ("--atrophy",),
        "map the atrophy of everybody by a model that was fitted before (group_atrophy_model.npz)",
        GROUP,
        kind=Path,
        metavar="FILE",
    ),
    make_option(
        "atrophy_threshold",
        ("--atrophy-threshold",),
        "z below which a voxel counts as atrophied (default: -2)",
        GROUP,
        kind=below_zero,
        metavar="Z",
    ),
    make_option(
        "atrophy_extent",
        ("--atrophy-extent",),
        "ml that such voxels must have together (default: 0.5)",
        GROUP,
        kind=amount,
        metavar="ML",
    ),
    make_option(
        "allow_mixed",
        ("--allow-mixed",),
        "take sessions of several versions of the program or of a bundle together",
        GROUP,
        kind=None,
    ),
)
