import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from bids_app.bids import dataset as module
from bids_app.bids.dataset import check_dataset, lookup_table, write_dataset_files
from bids_app.errors import CannotWrite, InputMissing, ValidationFailed


@dataclass
class Region:
    index: int
    name: str
    abbreviation: str
    color: object


REGIONS = [Region(1, "left habenula", "HbL", "#ff0000"), Region(2, "right habenula", "HbR", (0, 128, 255))]


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "MODEL_CARD.md").write_text("# Card\n")
    recipe = SimpleNamespace(name="habenula", title="Habenula", regions=REGIONS)
    return SimpleNamespace(name="habenula", path=folder, recipe=recipe)


class TestCheck:
    def test_a_good_dataset_has_no_trouble(self, dataset, settings):
        dataset("sub-01/anat/sub-01_T1w.nii.gz")
        assert check_dataset(settings()) == []

    def test_a_missing_dataset_is_exit_66(self, settings):
        with pytest.raises(InputMissing) as caught:
            check_dataset(settings())
        assert caught.value.exit_code == 66

    @pytest.mark.faults
    @pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"Name": "x"}', b"\xff\xfe{}"])
    def test_a_bad_description_is_exit_16_unless_checks_are_skipped(self, dataset, settings, content):
        root = dataset("sub-01/anat/sub-01_T1w.nii.gz")
        path = root / "dataset_description.json"
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(ValidationFailed, match=r"dataset_description\.json") as caught:
            check_dataset(settings())
        assert caught.value.exit_code == 16
        assert check_dataset(settings(skip_bids_validation=True)) != []

    @pytest.mark.faults
    @pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe{}", b'{"Name": "x"}'])
    def test_without_checks_a_bad_description_does_not_stop_the_selection(self, dataset, settings, content):
        from bids_app.bids.select import select_participant
        from tests.bids_app.bids.samples import T1W

        root = dataset("sub-01/anat/sub-01_T1w.nii.gz")
        path = root / "dataset_description.json"
        path.unlink() if content is None else path.write_bytes(content)
        (selection,) = select_participant(settings(), "01", [T1W])
        assert selection.path_of("T1w")

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
    def test_a_description_in_another_encoding_is_read(self, dataset, settings, encoding):
        root = dataset("sub-01/anat/sub-01_T1w.nii.gz")
        about = '{"Name": "Müller", "BIDSVersion": "1.8.0"}'
        (root / "dataset_description.json").write_bytes(about.encode(encoding))
        told = check_dataset(settings())
        assert ["not UTF-8" in text for text in told] == ([] if encoding == "utf-8-sig" else [True])

    def test_a_folder_without_participants_is_refused(self, dataset, settings):
        dataset()
        with pytest.raises(ValidationFailed, match=r"no sub-\* folder"):
            check_dataset(settings())

    def test_a_participant_with_shell_characters_is_named(self, dataset, settings):
        dataset("sub-$(x)/anat/sub-$(x)_T1w.nii.gz")
        assert "sub-$(x): no BIDS names" in check_dataset(settings())[0]

    def test_a_derivative_dataset_is_named(self, dataset, settings):
        root = dataset("sub-01/anat/sub-01_T1w.nii.gz")
        description = {"Name": "x", "BIDSVersion": "1.8.0", "DatasetType": "derivative"}
        (root / "dataset_description.json").write_text(json.dumps(description))
        assert "derivative dataset" in check_dataset(settings())[0]


class TestWrite:
    def test_everything_is_written(self, dataset, settings, bundle):
        dataset("sub-01/anat/sub-01_T1w.nii.gz")
        out = settings().output_dir
        assert write_dataset_files(out, settings(), [bundle]) == []
        assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == [
            ".bidsignore",
            "README.md",
            "dataset_description.json",
            "descriptions.tsv",
            "docs/model_card-habenula.md",
            "seg-habenula_dseg.tsv",
        ]

    def test_the_description_names_the_source(self, dataset, settings):
        dataset()
        write_dataset_files(settings().output_dir, settings())
        described = json.loads((settings().output_dir / "dataset_description.json").read_text())
        assert described["Name"] == "Tandem derivatives of A test"
        assert described["License"] == "CC0"
        assert described["DatasetLinks"] == {"raw": "../raw"}
        assert described["GeneratedBy"][0]["Name"] == "tandem"

    def test_a_link_far_away_is_a_uri(self, dataset, settings, tmp_path):
        dataset()
        far = settings(output_dir=tmp_path / "a/b/c/d/e/out")
        write_dataset_files(far.output_dir, far)
        described = json.loads((far.output_dir / "dataset_description.json").read_text())
        assert described["DatasetLinks"]["raw"] == (tmp_path / "raw").as_uri()

    def test_folders_named_with_d_are_linked(self, dataset, settings, tmp_path):
        dataset()
        write_dataset_files(settings().output_dir, settings(derivatives={"manual": tmp_path / "masks"}))
        described = json.loads((settings().output_dir / "dataset_description.json").read_text())
        assert described["DatasetLinks"]["manual"] == "../masks"

    def test_twice_changes_nothing(self, dataset, settings, bundle):
        dataset()
        out = settings().output_dir
        write_dataset_files(out, settings(), [bundle])
        before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
        write_dataset_files(out, settings(), [bundle])
        assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before

    def test_descriptions_of_another_run_are_kept(self, dataset, settings):
        dataset()
        out = settings().output_dir
        write_dataset_files(out, settings(), descriptions={"first": "of a run"})
        write_dataset_files(out, settings(), descriptions={"second": "of another"})
        lines = (out / "descriptions.tsv").read_text().splitlines()
        assert lines[0] == "desc_id\tdescription"
        assert "desc-first\tof a run" in lines
        assert "desc-second\tof another" in lines

    @pytest.mark.faults
    def test_many_processes_may_write_at_once(self, dataset, settings, bundle):
        dataset()
        out = settings().output_dir
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: write_dataset_files(out, settings(), [bundle]), range(16)))
        assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
        assert not list(out.rglob(".tandem-*"))

    @pytest.mark.faults
    def test_a_description_that_another_process_writes_meanwhile_is_taken(self, dataset, settings, monkeypatch):
        dataset()
        run = settings()
        write_dataset_files(run.output_dir, run)
        real, calls = module.read_description, []

        def late(folder):
            calls.append(folder)
            return ({}, ["is missing"], []) if len(calls) == 1 else real(folder)

        monkeypatch.setattr(module, "read_description", late)
        assert module.check_owner(run.output_dir, run) == []

    @pytest.mark.faults
    def test_another_dataset_is_not_overwritten(self, dataset, settings):
        root = dataset("sub-01/anat/sub-01_T1w.nii.gz")
        before = (root / "dataset_description.json").read_bytes()
        with pytest.raises(CannotWrite, match="already holds another dataset"):
            write_dataset_files(root, settings(output_dir=root))
        assert (root / "dataset_description.json").read_bytes() == before

    @pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '"x"', ""])
    def test_a_description_that_cannot_be_used_may_be_anybodys(self, dataset, settings, content):
        dataset()
        run = settings()
        run.output_dir.mkdir(parents=True)
        (run.output_dir / "dataset_description.json").write_text(content)
        with pytest.raises(CannotWrite, match="another program"):
            write_dataset_files(run.output_dir, run)
        assert (run.output_dir / "dataset_description.json").read_text() == content

    @pytest.mark.parametrize("makers", [3, "Tandem", {"Name": "tandem"}, [["tandem"]]])
    def test_an_odd_generated_by_is_somebody_elses(self, dataset, settings, makers):
        dataset()
        run = settings()
        run.output_dir.mkdir(parents=True)
        about = json.dumps({"Name": "x", "BIDSVersion": "1.10.0", "GeneratedBy": makers})
        (run.output_dir / "dataset_description.json").write_text(about)
        with pytest.raises(CannotWrite, match="already holds another dataset"):
            write_dataset_files(run.output_dir, run)

    def test_files_of_an_older_version_are_said(self, dataset, settings):
        dataset()
        out = settings().output_dir
        out.mkdir()
        older = {"Name": "x", "BIDSVersion": "1.8.0", "GeneratedBy": [{"Name": "tandem", "Version": "0.0.1"}]}
        (out / "dataset_description.json").write_text(json.dumps(older))
        assert "version 0.0.1" in write_dataset_files(out, settings())[0]


def test_a_lookup_table_has_colours_in_hexadecimal():
    assert lookup_table(REGIONS).splitlines() == [
        "index\tname\tabbreviation\tcolor",
        "1\tleft habenula\tHbL\t#ff0000",
        "2\tright habenula\tHbR\t#0080ff",
    ]


def test_ignored_folders_have_no_slash():
    from bids_app.bids.dataset import BIDSIGNORE

    assert not any(Path(pattern).name != pattern or pattern.endswith("/") for pattern in BIDSIGNORE)
