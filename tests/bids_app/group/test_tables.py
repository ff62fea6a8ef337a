"""The group level, from an output folder alone."""

from __future__ import annotations

import csv
import json
import re

import pytest

from bids_app.bids.record_file import read_session, write_record
from bids_app.errors import DataError, InputMissing
from bids_app.group.plan import GroupPlan
from bids_app.group.tables import write_group
from bids_app.report.session import write_session_report
from tests.bids_app.report.fake import write_failed, write_logs, write_session, write_volumes

PEOPLE = "participant_id\tage\tgroup\tregion\nsub-01\t39\tdepr\tA\nsub-02\t50\tcontrol\tB\nsub-09\t20\tcontrol\tB\n"


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Two sessions done, one failed, one participant who was not run."""
    root = tmp_path_factory.mktemp("output")
    write_session(root, "sub-01_ses-01", participants=PEOPLE)
    write_session(root, "sub-01_ses-02", soft=(12.0, 13.0))
    write_failed(root, "sub-02", reason="no T1w")
    write_session_report(root, "sub-01_ses-01")
    write_group(root)
    return root


def test_long_table_has_one_row_per_number_with_participants_columns(output):
    rows = rows_of(output / "group_volumes.tsv")
    chosen = [r for r in rows if r["measure"] == "soft_mm3"]
    assert len(chosen) == 4
    assert chosen[0]["participant_id"] == "sub-01"
    assert chosen[0]["session_id"] == "ses-01"
    assert chosen[0]["value"] == "16.4"
    assert chosen[0]["unit"] == "mm3"
    assert chosen[0]["age"] == "39"


def test_a_participants_column_with_our_name_is_kept_under_another(output):
    row = rows_of(output / "group_volumes.tsv")[0]
    assert row["region"] == "Left habenula"
    assert row["participants_region"] == "A"


def test_wide_table_has_one_row_per_session(output):
    rows = rows_of(output / "group_volumes_wide.tsv")
    assert [r["session_id"] for r in rows] == ["ses-01", "ses-02"]
    assert rows[1]["habenula_right_soft_mm3"] == "13"


def test_attrition_lists_every_session_and_participant(output):
    rows = {(r["participant_id"], r["session_id"]): r for r in rows_of(output / "group_attrition.tsv")}
    assert rows["sub-02", "n/a"]["reason"] == "no T1w"
    assert rows["sub-02", "n/a"]["reached"] == "found"
    assert rows["sub-01", "ses-01"]["reached"] == "in the table"
    assert rows["sub-09", "n/a"]["state"] == "not run"


def test_a_doubt_about_a_brain_mask_stands_in_the_table_of_sessions(tmp_path):
    write_session(tmp_path, "sub-01_ses-01")
    record = read_session(tmp_path, "sub-01_ses-01")
    images = next(iter(record.images.values()))
    images.warnings = ["the brain mask measures 2979 ml, which is unusual; look at its picture"]
    write_record(tmp_path, record)
    write_group(tmp_path)
    (row,) = rows_of(tmp_path / "group_attrition.tsv")
    assert row["state"] == "done"
    assert "2979 ml" in row["warnings"]


@pytest.mark.parametrize("table", ["group_volumes.tsv", "group_volumes_wide.tsv"])
def test_every_column_is_in_the_dictionary(output, table):
    entries = json.loads((output / "group_volumes.json").read_text())
    assert set(rows_of(output / table)[0]) <= set(entries)


def test_page_links_each_point_to_its_session(output):
    page = (output / "group.html").read_text()
    assert 'href="sub-01_ses-01.html"' in page
    assert "sub-01_ses-02, 12.0 mm³" in page
    assert "Research use only" in page
    assert not re.findall(r"https?://", page)


def test_page_says_that_nothing_is_tested(output):
    assert "Nothing is tested" in (output / "group.html").read_text()


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(InputMissing, match="participant level first"):
        write_group(tmp_path)


def test_failed_sessions_alone_still_give_a_page(tmp_path):
    write_failed(tmp_path, "sub-01")
    write_group(tmp_path)
    assert "No session has a volumes table" in (tmp_path / "group.html").read_text()


def session_with(root, key, soft, found=True):
    """A finished session with a table but no images."""
    regions = [{"name": n, "found": found} for n in ("Left habenula", "Right habenula")]
    table = f"{key}_volumes.tsv"
    participant, _, session = key.removeprefix("sub-").partition("_ses-")
    record = {"key": key, "participant": participant, "session": session or None, "state": "done", "reason": ""}
    record |= {"preprocessing": {"brain_ml": 1300}, "files": {"volumes": {"habenula": table}}}
    record |= {"predictions": [{"recipe": "habenula", "regions": regions}]}
    write_logs(root, record, seconds=1.0)
    facts = {"soft_mm3": soft, "soft_low_mm3": 1, "soft_high_mm3": 2, "hard_mm3": soft, "centre_mm": [0, 0, 0]}
    full = [{"index": i + 1, "name": r["name"], **facts} for i, r in enumerate(regions)]
    write_volumes(root / table, {"predictions": [{"regions": full}]})


def test_far_value_is_flagged_in_table_and_page(tmp_path):
    for i, soft in enumerate((16.0, 17.0, 18.0, 16.5, 17.5, 60.0)):
        session_with(tmp_path, f"sub-{i:02d}", soft)
    write_group(tmp_path)
    flagged = {r["participant_id"] for r in rows_of(tmp_path / "group_volumes.tsv") if r["qc"] == "outlier"}
    assert flagged == {"sub-05"}
    assert rows_of(tmp_path / "group_volumes_wide.tsv")[5]["outliers"] == "2"
    assert 'class="flag"' in (tmp_path / "group.html").read_text()


def test_region_that_was_not_found_has_no_volume(tmp_path):
    session_with(tmp_path, "sub-01", 17.0)
    session_with(tmp_path, "sub-02", 0.0, found=False)
    write_group(tmp_path)
    rows = [
        r for r in rows_of(tmp_path / "group_volumes.tsv") if r["participant_id"] == "sub-02" and r["unit"] == "mm3"
    ]
    assert {(r["value"], r["qc"]) for r in rows} == {("n/a", "not found")}
    assert "sub-02, 0.0" not in (tmp_path / "group.html").read_text()


def test_unreadable_table_is_a_warning_not_a_crash(tmp_path):
    session_with(tmp_path, "sub-01", 17.0)
    session_with(tmp_path, "sub-02", 17.0)
    (tmp_path / "sub-02_volumes.tsv").unlink()
    write_group(tmp_path)
    assert "cannot be read" in (tmp_path / "group.html").read_text()
    assert rows_of(tmp_path / "group_attrition.tsv")[1]["reached"] == "predicted"


def test_group_column_that_is_not_there_is_said_so(tmp_path):
    session_with(tmp_path, "sub-01", 17.0)
    (tmp_path / "participants.tsv").write_text(PEOPLE)
    with pytest.raises(DataError, match=r"'site' is not in participants\.tsv; its columns are: age, group, region"):
        write_group(tmp_path, GroupPlan(group="site"))
    assert not list(tmp_path.glob("group*"))


def test_the_same_output_gives_the_same_files(output):
    before = {p.name: p.read_bytes() for p in output.glob("group*")}
    write_group(output)
    assert {p.name: p.read_bytes() for p in output.glob("group*")} == before


def test_group_names_are_escaped(tmp_path):
    session_with(tmp_path, "sub-01", 17.0)
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\nsub-01\t<script>x</script>\n")
    write_group(tmp_path)
    assert "<script>x" not in (tmp_path / "group.html").read_text()


def test_copy_of_participants_in_logs_is_found(tmp_path):
    session_with(tmp_path, "sub-01", 17.0)
    (tmp_path / "logs" / "participants.tsv").write_text(PEOPLE)
    write_group(tmp_path)
    assert rows_of(tmp_path / "group_volumes.tsv")[0]["group"] == "depr"


def test_quotes_in_a_participants_value_stay_as_they_are(tmp_path):
    session_with(tmp_path, "sub-01", 17.0)
    (tmp_path / "participants.tsv").write_text('participant_id\tnote\nsub-01\ta "quoted" word, 5\'\n')
    write_group(tmp_path)
    line = (tmp_path / "group_volumes.tsv").read_text().splitlines()[1]
    assert line.endswith('\ta "quoted" word, 5\'')
