"""The command line: what it takes, what it refuses, and that it answers at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bids_app.bids.files import write_text
from bids_app.cli.parser import executable_spec, parse
from bids_app.errors import UnknownLevel, UsageError
from bids_app.settings import from_plain, read_toml, to_toml

HEAVY = ("torch", "monai", "ants", "nipype", "bids", "nilearn", "matplotlib")


def arguments(*more: str) -> list[str]:
    return ["in", "out", "participant", *more]


@pytest.mark.parametrize(
    ("given", "gigabytes"),
    [
        (["--mem", "16G"], 16),
        (["--mem", "1.5GB"], 1.5),
        (["--mem", "512M"], 0.5),
        (["--mem", "2GiB"], 2),
        (["--mem-gb", "8"], 8),
        (["--mem_mb", "2048"], 2),
    ],
)
def test_memory_is_read_with_its_unit(given, gigabytes):
    assert parse(arguments(*given)).mem_gb == pytest.approx(gigabytes)


@pytest.mark.parametrize("text", ["16", "16000", "16x", "G", "0G", "-1G"])
def test_memory_without_a_clear_meaning_is_refused(text):
    with pytest.raises(UsageError):
        parse(arguments(f"--mem={text}"))


@pytest.mark.parametrize("spelling", ["--participant-label", "--participant_label"])
def test_both_spellings_of_an_option_work(spelling):
    assert parse(arguments(spelling, "01", "sub-02")).participant_label == ("01", "sub-02")


def test_session_id_is_session_label():
    assert parse(arguments("--session-id", "a")).session_label == ("a",)


def test_options_may_stand_between_the_positional_words():
    settings = parse(["in", "--nprocs", "2", "out", "--tta", "participant", "group"])
    assert (settings.levels, settings.nprocs, settings.tta) == (("participant", "group"), 2, True)


def test_an_unknown_level_has_its_own_exit_code():
    with pytest.raises(UnknownLevel, match="session") as caught:
        parse(["in", "out", "session"])
    assert caught.value.exit_code == 17


@pytest.mark.parametrize(
    "words",
    [
        ["in"],
        ["in", "out"],
        arguments("--no-such"),
        arguments("--device", "tpu"),
        arguments("--output-spaces", "moon"),
        arguments("-d", "nopath"),
        arguments("--nprocs", "0"),
        arguments("--participant", "01"),
    ],
)
def test_what_cannot_be_used_is_a_usage_error(words):
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert caught.value.exit_code == 64


def test_settings_survive_their_toml_file(tmp_path):
    words = ["--mem", "7.5G", "-d", "manual=masks", "--recipe", "habenula", "--participant-label", 'a"b', "-vv"]
    settings = parse(arguments(*words))
    write_text(tmp_path / "run.toml", to_toml(settings))
    assert from_plain(read_toml(tmp_path / "run.toml")) == settings


def test_the_command_line_wins_over_the_configuration_file(tmp_path):
    write_text(tmp_path / "run.toml", to_toml(parse(arguments("--nprocs", "3", "--tta"))))
    settings = parse(["--config-file", str(tmp_path / "run.toml"), "--nprocs", "2"])
    assert (settings.nprocs, settings.tta) == (2, True)


@pytest.mark.parametrize("content", ['nprocs = "two"', "colour = 1", "tta = 1", "this is not toml"])
def test_a_wrong_configuration_file_is_named(tmp_path, content):
    (tmp_path / "bad.toml").write_text(content)
    with pytest.raises(UsageError, match=r"bad\.toml"):
        parse(arguments("--config-file", str(tmp_path / "bad.toml")))


@pytest.mark.parametrize(
    "content",
    [
        "nprocs = 0", "nprocs = -3", "mem_gb = 0", "mem_gb = nan", "mem_gb = inf", 'device = "tpu"', 'device = ""',
        'output_spaces = ["moon"]', "output_spaces = []", "recipe = []", 'recipe = [""]', 'skull_strip = "maybe"',
        "folds = 0", "minutes = -1.0", "minutes = inf", "patience = -1", "steps = 0", 'compare = ["everything"]',
        'clean_workdir = "always"', "participant_label = [1, 2]", "bundle = 3", "derivatives = { manual = 3 }",
        'derivatives = { "" = "x" }', 'levels = "participant"', "levels = []", "verbose = -1", "verbose = true",
        "random_seed = 1.5", "bids_dir = 3", "recipe = [[[]]]", "derivatives = { manual = { a = 1 } }",
    ],
)  # fmt: skip
def test_a_configuration_file_passes_every_check_of_the_command_line(tmp_path, content):
    (tmp_path / "bad.toml").write_text(content)
    with pytest.raises(UsageError, match=r"bad\.toml"):
        parse(arguments("--config-file", str(tmp_path / "bad.toml")))


def test_an_unknown_level_in_a_configuration_file_has_its_own_code(tmp_path):
    (tmp_path / "bad.toml").write_text('bids_dir = "in"\noutput_dir = "out"\nlevels = ["session"]\n')
    with pytest.raises(UnknownLevel):
        parse(["--config-file", str(tmp_path / "bad.toml")])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_a_configuration_file_is_read_in_any_encoding(tmp_path, encoding):
    (tmp_path / "run.toml").write_bytes('derivatives = { manual = "Läsionen" }\r\n'.encode(encoding))
    settings = parse(arguments("--config-file", str(tmp_path / "run.toml")))
    assert settings.derivatives["manual"].name == "Läsionen"


def test_every_default_may_stand_in_a_configuration_file(tmp_path):
    write_text(tmp_path / "run.toml", to_toml(parse(arguments())))
    assert parse(["--config-file", str(tmp_path / "run.toml")]) == parse(arguments())


def test_where_and_how_fast_does_not_change_the_result_hash():
    base = parse(arguments())
    assert parse(arguments("--nprocs", "1", "-w", "elsewhere")).result_hash() == base.result_hash()
    assert parse(arguments("--tta")).result_hash() != base.result_hash()
    assert parse(arguments("--omp-nthreads", "1")).result_hash() != base.result_hash()


def test_the_descriptor_lists_every_option_once():
    spec = executable_spec()
    names = [entry["id"] for entry in spec["inputs"]]
    assert len(names) == len(set(names))
    assert {"bids_dir", "output_dir", "analysis_level", "participant_label", "recipe"} <= set(names)
    json.dumps(spec)


@pytest.mark.parametrize("flag", ["--help", "--version", "--bids-exec-spec"])
def test_quick_answers_import_nothing_heavy(flag):
    code = (
        "import sys\nfrom bids_app.__main__ import main\n"
        f"try:\n    main([{flag!r}])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert done.stdout
