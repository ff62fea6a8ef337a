"""The methods text says what each step said of itself when it ran, and cites it."""

from __future__ import annotations

import pytest

from bids_app.bids.record import Images, RecipePart, Sentence, SessionRecord
from bids_app.bids.record_file import read_session
from bids_app.bundle.words import network_words, training_words
from bids_app.report.citation import bibtex, citation_markdown, parse_reference, write_citation
from bids_app.report.methods import ORDER, build_methods, cited_in, methods_markdown, record_methods
from bids_app.report.references import REFERENCES, SHORT
from tests.bids_app.report.fake import write_session
from tests.learned.small_bundle import small_manifest, write_small
from workflows.interfaces.imaging import said_of_bias, said_of_brain, said_of_template
from workflows.interfaces.prediction import said_of_regions


def said(*steps: tuple[str, str]) -> list[Sentence]:
    return [Sentence(step=step, text=text) for step, text in steps]


@pytest.fixture
def record() -> SessionRecord:
    """Two recipes on one reference."""
    chosen = {"reference": "T1w", "sequences": [{"sequence": "T1w", "file": "sub-01_T1w.nii.gz"}]}
    shared = said(("template", "T1w was registered [@ants]."), ("bias", "T1w was corrected with N4 [@n4]."))
    images = Images(reference="T1w", selection=chosen, methods=shared)
    parts = {
        name: RecipePart(recipe=name, state=state, reference="T1w", methods=said(("network", f"{name} ran [@monai].")))
        for name, state in (("habenula", "done"), ("anatomy", "done"), ("tumour", "failed"))
    }
    return SessionRecord(key="sub-01", participant="01", version="9", images={"T1w": images}, recipes=parts)


def text_of(record) -> str:
    return " ".join(build_methods(record).paragraphs)


def test_steps_stand_in_their_order_and_are_cited(record):
    text = text_of(record)
    assert text.index("N4 (Tustison") < text.index("T1w was registered (Avants et al., 2011)")
    assert "Tandem 9 (The Tandem developers)" in text


def test_every_finished_recipe_is_described_and_no_other(record):
    text = text_of(record)
    assert "habenula ran" in text
    assert "anatomy ran" in text
    assert "tumour ran" not in text


def test_each_reference_is_listed_once_and_each_is_cited(record):
    methods = build_methods(record)
    assert len(methods.references) == len(set(methods.references)) == 7
    text = " ".join(methods.paragraphs)
    for key, reference in REFERENCES.items():
        assert (reference in methods.references) <= (SHORT[key] in text)


def test_every_reference_has_a_short_form_and_can_be_taken_apart():
    assert set(REFERENCES) == set(SHORT)
    for text in REFERENCES.values():
        parts = parse_reference(text)
        assert parts["author"]
        assert ("doi:" in text) == bool(parts["doi"])


def test_a_failed_session_has_an_honest_text():
    assert "No usable image" in text_of(SessionRecord(key="sub-01", participant="01"))


def test_markdown_numbers_the_references(record):
    text = methods_markdown(record)
    assert text.startswith("# Methods\n")
    assert "\n1. The Tandem developers" in text


def test_the_text_of_an_earlier_version_is_kept(record):
    record.images["T1w"].methods = []
    for part in record.recipes.values():
        part.methods = []
    record.old_methods.paragraphs = ["Text of then."]
    assert record_methods(record).paragraphs == ["Text of then."]


def test_the_bibliography_holds_what_the_text_cites(record):
    text = citation_markdown(record)
    assert "[@n4]" in text
    entries = bibtex(cited_in(text))
    assert "@article{n4,\n  author = {Tustison, NJ and Avants, BB and Cook, PA and others}," in entries
    assert "@software{tandem,\n  author = {{The Tandem developers}}," in entries
    assert entries.count("@") == len(cited_in(text))


def test_citation_files_are_written_once_something_is_finished(tmp_path, record):
    from bids_app.bids.record_file import write_record

    assert write_citation(tmp_path) == []
    write_session(tmp_path, "sub-00")  # of an earlier version: its steps said nothing
    write_record(tmp_path, record)
    assert [path.name for path in write_citation(tmp_path)] == ["CITATION.md", "CITATION.bib"]
    assert "habenula ran" in (tmp_path / "CITATION.md").read_text()
    assert read_session(tmp_path, "sub-00").done()


@pytest.mark.parametrize(
    ("manifest", "expected", "never"),
    [
        ({"scans_drawn": 40, "label_maps": 16, "real_images": ["a"]}, ("40 scans drawn from 16", "1 real image."), "x"),
        ({"counts": {"participants": 3, "sessions": 4}}, ("4 real sessions of 3 participants",), "drawn"),
        ({}, (), "trained on"),
        ({"methods": "Placed as in an atlas [@cit168]."}, ("Placed as in an atlas [@cit168].",), "trained on"),
        ({"scans_drawn": "many", "real_images": 3, "counts": {"participants": "x"}}, (), "trained on"),
    ],
)
def test_what_is_said_of_a_training_is_what_the_manifest_says(tmp_path, manifest, expected, never):
    plain = small_manifest(counts={}) | manifest
    text = training_words(write_small(tmp_path / "bundle", manifest=plain))
    assert all(words in text for words in expected)
    assert never not in text


def test_the_name_of_a_recipe_says_nothing_of_its_training(tmp_path):
    from tests.learned.small_bundle import small_recipe

    bundle = write_small(tmp_path / "own", recipe=small_recipe(name="habenula"))
    text = network_words(bundle) + training_words(bundle)
    assert "synthseg" not in text
    assert "cit168" not in text
    assert "3 real sessions of 3 participants" in text


def test_a_template_is_credited_to_whose_copy_it_is():
    from bids_app.imaging.templates import FROM_NILEARN, FROM_STORE, find_template

    template = find_template()
    assert template.credit == FROM_NILEARN
    row = {"moving": "T1w", "fixed": template.name}
    text = said_of_template(row, template, "affine", masked=False)[0]["text"]
    assert "nilearn [@nilearn]" in text
    assert "templateflow" not in text.lower()
    assert "TemplateFlow" in FROM_STORE
    assert "SyN [@syn]" in said_of_template(row, template, "syn", masked=True)[0]["text"]


def test_what_did_not_happen_is_not_said():
    assert "N4" not in said_of_bias("T1w", {"method": "left out", "skipped": True})
    assert "with N4 [@n4], estimated at 4 mm" in said_of_bias("T1w", {"method": "N4, estimated at 4 mm"})
    assert "without its skull" not in said_of_brain(False, "by the network of the bundle anatomy")
    grid = {"shape": [4, 4, 4], "spacing": 0.5}
    text = " ".join(one["text"] for one in said_of_regions({"grid": grid, "threshold": 0.4}))
    assert "0.5 × 0.5 × 0.5 mm on 4 × 4 × 4 voxels" in text
    assert "at or above 0.4" in text
    assert "mirror" not in text


def test_every_step_that_speaks_has_its_place():
    grid = {"shape": [4, 4, 4], "spacing": 0.5}
    located = {"by": "anatomy", "left": 17, "right": 53, "mirrored": "right"}
    told = said_of_regions({"grid": grid, "threshold": None, "located": located, "sequence": "T1w"})
    assert {one["step"] for one in told} <= set(ORDER)
