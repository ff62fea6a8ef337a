"""One table of options: the parser, its help, the TOML file and the Boutiques descriptor are all made from it."""

from __future__ import annotations

from pathlib import Path

from bids_app.cli.group_options import GROUP_OPTIONS
from bids_app.cli.option_kinds import (
    Option,
    amount,
    count,
    device,
    gigabytes,
    height,
    make_option,
    megabytes,
    memory,
    named_path,
    space,
)  # fmt: skip

LEVELS = ("participant", "group", "train")
DATA, WORK, TRAIN = "selecting data", "what is done", "training"
MACHINE, HOUSE = "machine", "housekeeping"

OPTIONS: tuple[Option, ...] = (
    make_option(
        "participant_label",
        ("--participant-label",),
        "participants to process, with or without sub-, or a text file that lists them; all by default",
        DATA,
        nargs="+",
        metavar="LABEL",
    ),
    make_option(
        "exclude_participant_label",
        ("--exclude-participant-label",),
        "participants to leave out",
        DATA,
        nargs="+",
        metavar="LABEL",
    ),
    make_option(
        "session_label",
        ("--session-label", "--session-id"),
        "sessions to process, with or without ses-",
        DATA,
        nargs="+",
        metavar="LABEL",
    ),
    make_option(
        "bids_filter_file",
        ("--bids-filter-file",),
        'JSON {"t1w": {"run": 2, "acquisition": null}}: null means the entity is absent, "*" any value',
        DATA,
        kind=Path,
        metavar="FILE",
    ),
    make_option(
        "sequences",
        ("--sequences",),
        "sequences to preprocess beside those the recipes want, for example T2w FLAIR ce-gadolinium_T1w",
        DATA,
        nargs="+",
        metavar="NAME",
    ),
    make_option(
        "skip_bids_validation",
        ("--skip-bids-validation", "--skip-bids-validator"),
        "do not check that the input is a BIDS dataset (the chosen images are always checked)",
        DATA,
        kind=None,
    ),
    make_option(
        "bids_database_dir",
        ("--bids-database-dir",),
        "folder of a pybids database to keep and reuse",
        DATA,
        kind=Path,
        metavar="DIR",
    ),
    make_option(
        "derivatives",
        ("-d", "--derivatives"),
        "finished derivatives to use, as NAME=PATH; manual=PATH gives lesion masks that registration leaves out, "
        "fmriprep=PATH preprocessed resting-state series",
        DATA,
        kind=named_path,
        nargs="+",
        metavar="NAME=PATH",
    ),
    make_option(
        "recipe",
        ("--recipe",),
        "recipes to run, by name (tandem recipes lists them) or TOML file",
        WORK,
        nargs="+",
        metavar="NAME|FILE",
    ),
    make_option("bundle", ("--bundle",), "bundle to use in place of the shipped one", WORK, kind=Path, metavar="DIR"),
    make_option(
        "output_spaces",
        ("--output-spaces",),
        "T1w (the default: the reference's own space, whatever it is) and, if wanted, "
        "MNI152NLin2009cAsym[:res-1|:res-2]",
        WORK,
        kind=space,
        nargs="+",
        metavar="SPACE",
    ),
    make_option(
        "skull_strip",
        ("--skull-strip", "--skull-strip-t1w"),
        "auto: strip unless the image is stripped already; skip: it is; force: strip whatever it looks like",
        WORK,
        choices=("auto", "skip", "force"),
    ),
    make_option(
        "brain_mask",
        ("--brain-mask",),
        "of whole heads. auto (default): that of the bundle anatomy where it can be a whole brain, else that of the "
        "template, carried over; network, template: always so",
        WORK,
        choices=("auto", "network", "template"),
    ),
    make_option(
        "grey_matter_map",
        ("--grey-matter-map",),
        "of T1w: carry the grey matter that the bundle anatomy finds to the template, its amount kept, for the group "
        "level's --atrophy-fit and --atrophy",
        WORK,
        kind=None,
    ),
    make_option("denoise", ("--denoise",), "non-local means before bias correction", WORK, kind=None),
    make_option(
        "slice_at",
        ("--slice-at",),
        "of recipes that look at one slice: its height in the template, mm, in place of the recipe's (of images that "
        "are taken as they are: above their middle)",
        WORK,
        kind=height,
        metavar="MM",
    ),
    make_option("tta", ("--tta",), "predict on mirror images too and average; slower, steadier", WORK, kind=None),
    make_option(
        "fast",
        ("--fast",),
        "no registration to the template: the head is placed by its structures, or as it is most alike; for large "
        "cohorts and in a hurry (its differences: docs/speed.md)",
        WORK,
        kind=None,
    ),
    make_option("sloppy", ("--sloppy",), "poor quality, fast: for trying things out", WORK, kind=None),
    make_option(
        "folds",
        ("--folds",),
        "folds of the cross-validation, by participant (default: 5)",
        TRAIN,
        kind=count,
        metavar="K",
    ),
    make_option(
        "repeats",
        ("--repeats",),
        "how often the cross-validation is repeated with other folds",
        TRAIN,
        kind=count,
        metavar="N",
    ),
    make_option(
        "nested", ("--nested",), "choose the weight of the targets by folds inside each training fold", TRAIN, kind=None
    ),
    make_option(
        "group_by",
        ("--group-by",),
        "column of participants.tsv whose people stay on one side, such as family",
        TRAIN,
        metavar="COLUMN",
    ),
    make_option(
        "site_column",
        ("--site-column",),
        "column that says where a participant was scanned; with two sites or "
        "more each is left out once (default: the recipe's)",
        TRAIN,
        metavar="COLUMN",
    ),
    make_option(
        "compare",
        ("--compare",),
        "tasks: multi-task beside each task alone and a frozen encoder; sequences: all "
        "beside each alone, and with and without sequence dropout",
        TRAIN,
        nargs="+",
        choices=("tasks", "sequences"),
    ),
    make_option(
        "controls",
        ("--controls",),
        "negative control: targets are permuted, and must come out at chance",
        TRAIN,
        kind=None,
    ),
    make_option(
        "plan",
        ("--plan",),
        "a plan.json to train by, instead of one made from the training fold",
        TRAIN,
        kind=Path,
        metavar="FILE",
    ),
    make_option("steps", ("--steps",), "steps of each fold (default: the recipe's)", TRAIN, kind=count, metavar="N"),
    make_option(
        "minutes",
        ("--minutes",),
        "end each fold after so many minutes of training, if its steps are not done",
        TRAIN,
        kind=amount,
        metavar="M",
    ),
    make_option(
        "patience",
        ("--patience",),
        "end a fold after so many looks at its validation side without a better loss (default: never)",
        TRAIN,
        kind=count,
        metavar="N",
    ),
    make_option(
        "gpus",
        ("--gpus",),
        "GPUs that share the batches of one fold (default: 1; folds run side by side)",
        TRAIN,
        kind=count,
        metavar="N",
    ),
    make_option(
        "nprocs",
        ("--nprocs", "--nthreads", "--n-cpus"),
        "CPUs for everything together (default: those this process may use)",
        MACHINE,
        kind=count,
        metavar="N",
    ),
    make_option(
        "omp_nthreads",
        ("--omp-nthreads", "--ants-nthreads"),
        "threads of one session; recorded, because they change results in the last digits (default: what sessions "
        "side by side leave, up to 4)",
        MACHINE,
        kind=count,
        metavar="N",
    ),
    make_option(
        "mem_gb",
        ("--mem",),
        "memory for everything together, with its unit: 16G, 16000M",
        MACHINE,
        kind=memory,
        metavar="AMOUNT",
    ),
    make_option("mem_gb", ("--mem-gb",), "the same in GB", MACHINE, kind=gigabytes, metavar="N"),
    make_option("mem_gb", ("--mem-mb",), "the same in MB", MACHINE, kind=megabytes, metavar="N"),
    make_option("low_mem", ("--low-mem",), "smaller tiles, stitched on the CPU", MACHINE, kind=None),
    make_option(
        "use_plugin",
        ("--use-plugin", "--nipype-plugin-file"),
        "YAML or TOML with plugin and plugin_args: the Nipype plugin that carries the sessions",
        MACHINE,
        kind=Path,
        metavar="FILE",
    ),
    make_option(
        "device",
        ("--device",),
        "auto, cpu, cuda or cuda:N; cuda without a GPU is an error, never a quiet fall back",
        MACHINE,
        kind=device,
    ),
    make_option("random_seed", ("--random-seed",), "seed of everything that draws", MACHINE, kind=int, metavar="N"),
    make_option(
        "reproducible",
        ("--reproducible",),
        "one thread and deterministic kernels: slower, and the result does not depend on how many CPUs there are",
        MACHINE,
        kind=None,
    ),
    make_option(
        "work_dir",
        ("-w", "--work-dir"),
        "folder for work files (default: OUTPUT_DIR_work)",
        HOUSE,
        kind=Path,
        metavar="DIR",
    ),
    make_option(
        "clean_workdir",
        ("--clean-workdir",),
        "when to delete a session's work files",
        HOUSE,
        choices=("never", "before", "on-success"),
    ),
    make_option(
        "resource_monitor",
        ("--resource-monitor", "--profile"),
        "sample memory and CPU of every session while it runs, into logs/",
        HOUSE,
        kind=None,
    ),
    make_option("write_graph", ("--write-graph",), "write the graph of a session into logs/", HOUSE, kind=None),
    make_option(
        "stop_on_first_crash", ("--stop-on-first-crash",), "start no further session after one failed", HOUSE, kind=None
    ),
    make_option(
        "reports_only",
        ("--reports-only",),
        "write the reports of finished sessions again, and nothing else",
        HOUSE,
        kind=None,
    ),
    make_option(
        "boilerplate_only", ("--boilerplate-only",), "write the methods text, and nothing else", HOUSE, kind=None
    ),
    make_option(
        "dry_run",
        ("--dry-run",),
        "show what would be chosen for each session and why, and run nothing",
        HOUSE,
        kind=None,
    ),
    make_option(
        "verbose", ("-v", "--verbose"), "say more; twice for everything", HOUSE, kind=None, extra={"action": "count"}
    ),
    *GROUP_OPTIONS,
)
