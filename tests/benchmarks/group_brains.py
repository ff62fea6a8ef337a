"""Real brains by group: participant and group level as a person runs them, and what they answer.

``python -m tests.benchmarks.group_brains WORK`` runs `depression` (16 stripped brains, habenula and structures, by
group, adjusted for age, gender and brain volume) and the people of `ixi` who trained nothing (31 whole heads,
structures, by age, sex and the volume within the skull) into WORK, which it goes on from, and prints the contrasts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

from bids_app.lessons.real_heads import head_names
from tests.data import data_root

#: Measures that are printed of the whole heads.
STRUCTURES = ("hippocampus", "amygdala", "thalamus", "caudate", "putamen", "lateral_ventricle", "cerebral_cortex")
SIZE = "anatomy_total_intracranial_volume_soft_mm3"


def tandem(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "bids_app", *arguments], check=True)


def contrasts(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "group_contrasts.tsv", sep="\t")


def depression(root: Path, work: Path, cpus: str) -> None:
    """Habenula, hippocampus and all within the skull, depressed people and controls."""
    out = work / "depression"
    bids, who = str(root / "depression"), ("--group-column", "group", "--control-group", "control")
    tandem(bids, str(out), "participant", "--recipe", "habenula", "anatomy", "-w", str(work / "w"), "--n-cpus", cpus)
    tandem(
        bids, str(out), "group", *who, "--covariates", "age", "gender",
        "brain_mask_ml", "--permutations", "2000",
    )  # fmt: skip
    table = contrasts(out)
    rows = table[(table["kind"] == "difference") & table["measure"].str.contains("habenula|hippocampus|intracranial")]
    print(
        rows[["measure", "n_groups", "estimate", "low", "high", "hedges_g", "p", "p_permutation", "p_fdr"]].to_string()
    )


def heads(root: Path, work: Path, cpus: str) -> None:
    """Slopes of age and differences of sex at the same head size."""
    out = work / "ixi"
    labels = [name.removeprefix("sub-") for name in head_names(root, held_out=True)]
    tandem(
        str(root / "ixi"), str(out), "participant", "--recipe", "anatomy", "--participant-label", *labels, "-w",
        str(work / "w2"), "--n-cpus", cpus,
    )  # fmt: skip
    tandem(str(root / "ixi"), str(out), "group", "--covariates", "age", "sex", SIZE)
    table = contrasts(out)
    sizes = table["measure"].map(pd.read_csv(out / "group_volumes_wide.tsv", sep="\t").mean(numeric_only=True))
    table = table.assign(percent_per_decade=1000 * table["estimate"] / sizes)
    own = table["measure"].str.contains("|".join(STRUCTURES)) & ~table["measure"].str.endswith("asymmetry")
    ages = table[own & (table["kind"] == "slope") & (table["contrast"] == "age")]
    print(ages[["measure", "n", "percent_per_decade", "p", "p_fdr"]].to_string())
    sexes = table[own & (table["kind"] == "category")]
    print(sexes[["measure", "contrast", "n", "hedges_g", "g_low", "g_high", "p_fdr"]].to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--cpus", default="2")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    heads(data_root(), given.work, given.cpus)
    depression(data_root(), given.work, given.cpus)


if __name__ == "__main__":
    main()
