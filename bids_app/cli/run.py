"""The levels of a run: what is checked first, what runs, how it ends."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from bids_app.bids.files import check_private, unfinished_name
from bids_app.cli.units import choose_units, run_units
from bids_app.errors import CannotWrite, InputMissing, UsageError
from bids_app.settings import Settings


def run(settings: Settings) -> int:
    """Run the levels asked for, in order; a level that fails ends the run with its exit code."""
    check_folders(settings)
    levels = {"participant": participant_level, "group": group_level, "train": train_level}
    for name, level in levels.items():
        if name in settings.levels and (code := level(settings)):
            return code
    return 0


def check_folders(settings: Settings) -> None:
    """Refuse what would lose data or fail after an hour.

    Raises:
        InputMissing: the dataset is not there.
        UsageError: output or work folder would write into the input.
        CannotWrite: output or work folder cannot be written.
    """
    bids, out, work = (p.resolve() for p in (settings.bids_dir, settings.output_dir, settings.work))
    if settings.levels != ("group",):
        if not bids.is_dir():
            raise InputMissing(f"the BIDS dataset {settings.bids_dir} is not a folder that can be read")
        if out == bids:
            raise UsageError(
                f"the output folder is the dataset itself; use for example {bids / 'derivatives' / 'tandem'}"
            )
        if bids in out.parents and out.relative_to(bids).parts[0] not in ("derivatives", "code", "sourcedata"):
            raise UsageError(f"{out} lies inside the dataset; only derivatives/ may take outputs there")
        if bids == work or bids in work.parents:
            if settings.work_dir is None:  # the default beside an output folder inside the dataset
                raise UsageError(f"the work folder would be {work}, inside the dataset; name one outside with -w")
            raise UsageError(f"the work folder {work} lies inside the dataset; name one outside with -w")
        if out in bids.parents:
            raise UsageError(f"the dataset {bids} lies inside the output folder {out}; choose another output folder")
    if settings.dry_run or settings.boilerplate_only:
        return
    for folder in (out,) if settings.levels == ("group",) else (out, work):
        check_writable(folder)
    if settings.levels != ("group",):
        check_private(work)


def check_writable(folder: Path) -> None:
    """Make the folder if need be, and try it.

    Raises:
        CannotWrite: naming the folder and the user.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / unfinished_name()
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotWrite(
            f"cannot write to {folder}: {error.strerror} (as user {os.getuid()}:{os.getgid()}); "
            f"make it writable, or in a container run with -u $(id -u):$(id -g)"
        ) from error


def participant_level(settings: Settings) -> int:
    """Every session of every participant asked for."""
    from bids_app.bids.select import check_dataset

    for warning in check_dataset(settings):
        print(f"tandem: {warning}", file=sys.stderr)
    units = choose_units(settings)
    if settings.dry_run:
        from bids_app.cli.preview import preview

        return preview(settings, units)
    if settings.reports_only or settings.boilerplate_only:
        from bids_app.cli.again import boilerplate, reports

        return boilerplate(settings, units) if settings.boilerplate_only else reports(settings, units)
    check_before_work(settings)
    if settings.clean_workdir == "before":
        from workflows.scratch import clear_work

        for unit in units:
            clear_work(settings.work / unit.key)
    return run_units(settings, units)


def check_before_work(settings: Settings) -> None:
    """Find out in a second what would otherwise fail in every session: recipe, bundle, template, device, disk."""
    from bids_app.bids.preflight import check_template
    from bids_app.bundle.bundle import bundle_for
    from bids_app.imaging.templates import find_template
    from workflows.wanted import anatomy_of, is_prepared, load_recipes

    recipes = load_recipes(settings)
    for recipe in recipes:
        if recipe.predicts:
            bundle_for(recipe, settings.bundle)
    anatomy_of(settings, recipes)
    if any(not is_prepared([recipe]) for recipe in recipes):
        check_template(find_template())
    if settings.normative is not None:
        from bids_app.group.normative_scores import read_normative

        read_normative(settings.normative)
    if settings.device.startswith("cuda"):
        from bids_app.predict.predict import resolve_device

        resolve_device(settings.device)
    free = shutil.disk_usage(settings.work).free
    if free < 500e6:
        raise CannotWrite(f"only {free / 1e6:.0f} MB are free in {settings.work}; a session needs up to 300 MB there")


def group_level(settings: Settings) -> int:
    """Tables and a page over everything the output folder holds."""
    from bids_app.group.plan import plan_of
    from bids_app.group.tables import write_group

    written = write_group(settings.output_dir, plan_of(settings))
    for path in written:
        print(f"tandem: wrote {path}")
    return 0


def train_level(settings: Settings) -> int:
    """Train a recipe on a labelled cohort, compare the arms asked for, leave a bundle and a page."""
    from bids_app.cli.train import train

    return train(settings)
