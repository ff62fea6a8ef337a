"""The training page: the harder figure first, every number with whom it rests on, and there when little is known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bids_app.report import training_figures as figures
from bids_app.report.training import NO_CONTROL, write_training_report
from bids_app.report.training_tables import cell
from tests.bids_app.report.fake_training import comparison, rich, write_logs

BANNER = "Research use only: scores, not diagnoses"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a training with everything."""
    root = tmp_path_factory.mktemp("training")
    return write_training_report(rich(), root / "training.html", logs=write_logs(root)).read_text(encoding="utf-8")


def written(tmp_path, results, logs=None):
    return write_training_report(results, tmp_path / "page.html", logs=logs or {}).read_text(encoding="utf-8")


def section(page, name):
    return page.split(f'<h2 id="{name}"')[1].split("<h2")[0]


def none_everywhere(value):
    if isinstance(value, dict):
        return {k: none_everywhere(v) for k, v in value.items()}
    if isinstance(value, list):
        return [none_everywhere(v) for v in value]
    return value if isinstance(value, str) else None


EMPTY = {"summary": None, "subsets": None, "folds": None}


@pytest.mark.parametrize(
    "results",
    [
        {},
        {"arms": None, "plan": None, "cohort": None, "failed": None},
        {"arms": {"multi-task": None}, "splits": {"folds": None}},
        {"arms": {"multi-task": {"splits": {"folds": EMPTY}}}},
    ],
)
def test_page_of_nearly_nothing_says_what_is_not_known(tmp_path, results):
    page = written(tmp_path, results)
    assert BANNER in page
    assert "not known" in page
    assert NO_CONTROL in page


def test_numbers_that_are_none_become_dashes(tmp_path):
    page = written(tmp_path, none_everywhere(rich()))
    assert "–" in section(page, "arms")
    assert not re.findall(r">\s*(?:None|nan)\b", page)


@pytest.mark.parametrize("text", [BANNER, "default-src 'none'", "0.820", "of 33", "ab12cd34ef567890"])
def test_page_says(page, text):
    assert text in page


def test_nothing_leaves_the_page(page):
    assert "http://" not in page
    assert "https://" not in page
    assert not re.findall(r"<(?:link|iframe|object|embed|img)|<script[^>]+src|@import|url\(", page)


def test_text_from_data_is_escaped(page):
    assert "Lesions &amp; grade &lt;b&gt;" in page
    assert "MS &lt;1&gt;" in page


def test_site_that_was_left_out_comes_before_folds_at_random_with_the_reason(page):
    said = section(page, "findings")
    assert said.index("Each site left out once") < said.index("Folds at random") < said.index("never seen, as it will")


def test_without_sites_the_page_says_that_none_was_left_out(tmp_path):
    results = rich()
    for arm in results["arms"].values():
        arm["splits"].pop("sites")
    results["splits"].pop("sites")
    assert "No site was left out" in section(written(tmp_path, results), "findings")


def test_forest_has_one_row_per_comparison(page):
    rows = len(comparison()["rows"])
    assert section(page, "comparison").count('class="forest-row"') == 2 * rows
    assert section(page, "comparison").count("not defined") == 2


def test_forest_of_an_error_calls_the_smaller_side_better():
    groups = figures.forest(comparison()["rows"], {})
    sides = {group["title"]: (group["left"], group["right"]) for group in groups}
    assert sides["dice"] == ("the other arm better", "multi-task better")
    assert sides["mae"] == ("multi-task better", "the other arm better")


def test_forest_places_zero_and_difference_on_one_axis():
    group = figures.forest(comparison()["rows"], {})[0]
    at = group["rows"][0]["at"]
    assert group["zero"] < at["low"] < at["difference"] < at["high"]


def test_a_difference_has_one_sign_in_sentences_and_figure():
    row = {"arm": "target-only", "reference": "multi-task", "measure": "auc", "difference": -0.2, "low": -0.3}
    row |= {"high": -0.1, "value": 0.6, "reference_value": 0.8, "better": True}
    drawn = figures.forest([row], {})[0]["rows"][0]
    assert (drawn["difference"], drawn["low"], drawn["high"]) == (0.2, 0.1, 0.3)  # multi-task learning raised it
    assert (drawn["value"], drawn["reference_value"]) == (0.8, 0.6)
    other = {**row, "reference": "segmentation-only"}
    assert figures.forest([other], {})[0]["rows"][0]["difference"] == -0.2


def test_the_page_opens_with_its_table_and_a_list_of_findings(page):
    found = section(page, "findings")
    assert found.index('class="headline"') < found.index('class="findings"') < found.index("Learned:")
    assert "<li>Multi-task learning raised the Dice.</li>" in found


def test_long_volumes_are_in_ml():
    facts = {"truth": [120_000.0, 90_000.0], "answer": [121_000.0, 92_000.0], "bias": 1500.0}
    drawn = figures.agreement("brain", facts)
    assert "ml" in drawn["across"]
    assert drawn["note"].startswith("bias +1.5 ml")
    assert "mm³" in figures.agreement("habenula", {"truth": [15.0, 18.0], "answer": [16.0, 18.0]})["across"]


def test_mark_is_hollow_where_nothing_was_shown(page):
    rows = section(page, "comparison").split('class="forest-row"')[1:6]
    drawn = [(('class="mark"' in row), ('class="hollow"' in row)) for row in rows]
    assert drawn == [(True, False), (True, True), (True, True), (False, False), (True, False)]


def test_without_controls_the_page_says_so(tmp_path):
    assert NO_CONTROL in section(written(tmp_path, rich() | {"controls": None}), "controls")


def test_with_controls_the_page_gives_their_verdict(page):
    assert NO_CONTROL not in page
    assert "0.350 to 0.610" in section(page, "controls")


def test_controls_above_chance_stand_out(tmp_path):
    results = rich()
    results["controls"] |= {"passed": False, "text": "Something leaks."}
    page = written(tmp_path, results)
    assert '<p class="failure">Something leaks.' in section(page, "controls")
    assert "The negative control did not pass" in page.split("<nav")[0]


def test_curves_have_a_line_per_log_and_a_mean(page):
    drawn = section(page, "curves").split("<figure")
    for arm, tasks in {"multi-task": ("segmentation", "diagnosis"), "segmentation-only": ("segmentation",)}.items():
        for task in tasks:
            figure = next(f for f in drawn if f"{arm}: {task}<" in f and ">loss<" in f)
            assert figure.count("line thin fold") == 6
            assert figure.count("thin fold dashed") == figure.count("fold-") / 2 == 3
            assert figure.count("line thick") == 2


def test_cosine_between_tasks_is_drawn(page):
    assert section(page, "curves").count(">cosine<") == 1


def test_damaged_and_missing_logs_are_passed_over(tmp_path):
    path = tmp_path / "fold-1" / "log.csv"
    path.parent.mkdir()
    path.write_text("step,loss_segmentation,validation_joint\n10,0.5,\nx,,\n20,nan,1\n30,0.4", encoding="utf-8")
    page = written(tmp_path, {}, {"segmentation-only": [path, tmp_path / "gone" / "log.csv"]})
    assert section(page, "curves").count("<polyline") == 1
    assert figures.read_log(path)["loss_segmentation"].tolist() == [[10, 0.5], [30, 0.4]]


def test_mean_ends_where_the_first_fold_does():
    lines = [np.array([[10.0, 1], [20, 1], [30, 1]]), np.array([[10.0, 3], [20, 3]])]
    mean = figures.mean_line(lines)
    assert mean[-1].tolist() == [20, 2]


def test_agreement_has_a_dot_per_participant_and_limits(page):
    figure = next(f for f in section(page, "agreement").split("<figure") if ">anterior<" in f)
    assert figure.count("<circle") == 40
    assert figure.count("thin dashed") == 2


def test_reliability_counts_what_stands_behind_each_dot():
    bins = [{"said": 0.2, "happened": 0.1, "count": 9}, {"said": 0.8, "happened": None, "count": 0}]
    figure = figures.reliability("d", bins)
    assert [t["text"] for t in figure["texts"]] == ["9"]


def test_every_figure_has_words_for_those_who_do_not_see_it(page):
    drawn = re.findall(r"<svg[^>]*>", page)
    assert len(drawn) > 20
    assert all(re.search(r'role="img" aria-label="[^"]{10,}"', svg) for svg in drawn)


def test_number_names_its_participants_where_they_are_not_the_rows():
    row = {"value": 0.61, "low": 0.5, "high": 0.7, "participants": 33}
    assert cell(row, "f1", 40) == {"value": "0.610", "interval": "0.500 to 0.700", "of": 33}
    assert cell(row, "f1", 33)["of"] is None


def test_subsets_name_the_sequences_that_were_there(page):
    said = section(page, "subsets")
    assert said.count("T1w, FLAIR") == 2
    assert "AUC, diagnosis" in said


def test_bundle_is_shown_with_its_command(page):
    assert "tandem BIDS OUT participant --bundle OUT/bundles/ms" in page


def test_what_should_be_doubted_stands_above_everything(tmp_path):
    text = "Folds at random: The AUC for diagnosis is 0.990, more than the literature supports (about 0.95)"
    page = written(tmp_path, {**rich(), "suspicions": [text]})
    assert page.index("Doubt these figures.") < page.index('id="findings"')
    assert text in page
    assert "Doubt these figures." not in written(tmp_path, rich())
