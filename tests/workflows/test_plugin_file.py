"""The file that names a Nipype plugin, as people write it."""

import pytest

from bids_app.errors import UsageError
from bids_app.settings import Settings
from workflows.cohort import _plugin_file, choose_plugin
from workflows.resources import Resources

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yml", "plugin: Linear\r\nplugin_args: {n_procs: 2}\r\n"),
        ("p.toml", 'plugin = "Linear"\r\nplugin_args = { n_procs = 2 }\r\n'),
    ],
)
def test_it_is_read_in_every_encoding(tmp_path, name, text, encoding):
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert _plugin_file(tmp_path / name) == ("Linear", {"n_procs": 2})


@pytest.mark.parametrize(
    "text",
    [
        "", "- a\n- b\n", "plugin: 3\n", "plugin: [a]\n", "plugin: Linear\nplugin_args: 4\n", "[" * 100_000,
        "plugin: Linear\nplugin_args: [1]\n", "plugin: Linear\nplugin_args: {1: 2}\n", "a: " * 50,
        "!!python/object/apply:os.system ['true']\n",
    ],
)  # fmt: skip
def test_anything_else_ends_in_a_sentence(tmp_path, text):
    (tmp_path / "p.yml").write_text(text)
    with pytest.raises(UsageError, match=r"p\.yml") as caught:
        _plugin_file(tmp_path / "p.yml")
    assert caught.value.exit_code == 64


def test_a_plugin_that_nipype_does_not_have_is_refused_by_name(tmp_path):
    (tmp_path / "p.yml").write_text("plugin: Slurm\n")
    settings = Settings(tmp_path, tmp_path / "out", use_plugin=tmp_path / "p.yml")
    with pytest.raises(UsageError, match=r"p\.yml: there is no Nipype plugin 'Slurm'; there are .*SLURM"):
        choose_plugin(settings, Resources(2, 8.0, 1, 2, 4.0, ""))
    (tmp_path / "p.yml").write_text("plugin: SLURM\n")
    assert choose_plugin(settings, Resources(2, 8.0, 1, 2, 4.0, "")) == ("SLURM", {})
