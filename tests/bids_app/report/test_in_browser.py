"""The group page in a headless Chromium, where there is one: clicks, sorting, filters, downloads, a narrow window."""

from __future__ import annotations

import re
from urllib.parse import unquote

import numpy as np
import pytest

from bids_app.group.plan import GroupPlan
from bids_app.group.tables import write_group
from tests.bids_app.group.test_tables import session_with
from tests.bids_app.report.browser import CHROMIUM, browse

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
COLUMN = """
function column(table, i) {
  return Array.from(table.tBodies[0].rows).map(function (row) { return row.cells[i].textContent.trim(); });
}
"""


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(" × 10^", "e"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("browsed"), np.random.default_rng(0)
    lines = ["participant_id\tgroup\tage\tsex\tsite"]
    for i in range(40):
        session_with(root, f"sub-{i:02d}", 20 - 3 * (i % 2) + rng.normal())
        (root / f"sub-{i:02d}.html").write_text("a page")
        lines.append(
            f"sub-{i:02d}\t{('controls', '<script>alert(1)</script>')[i % 2]}\t{20 + i}\t{'FM'[i // 2 % 2]}\tA"
        )
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    write_group(root, GroupPlan("group", "controls", ("age",), normative="fit"))
    return root / "group.html"


def test_a_click_sorts_and_a_second_turns_the_order_round(page):
    told = browse(
        page,
        COLUMN
        + """
        var table = Array.from(document.querySelectorAll("table.sortable")).find(function (t) {
          return t.tHead.textContent.indexOf("Holm") >= 0;
        });
        var heads = Array.from(table.tHead.rows[0].cells);
        var at = heads.findIndex(function (h) { return h.textContent.trim() === "p"; });
        heads[at].querySelector("button").click();
        told.up = column(table, at);
        told.said = heads[at].getAttribute("aria-sort");
        heads[at].querySelector("button").click();
        told.down = column(table, at);
        told.alerted = document.querySelectorAll("main script").length;
        """,
    )
    assert told["errors"] == []
    assert told["requests"] == []
    numbers = [number(text) for text in told["up"] if text != "–"]
    assert len(numbers) > 3
    assert numbers == sorted(numbers)
    assert told["said"] == "ascending"
    assert [number(text) for text in told["down"] if text != "–"] == numbers[::-1]
    assert min(numbers) < 1e-4  # shown as 3 × 10^−12, which was sorted as 3
    assert told["alerted"] == 0


def test_a_filter_redraws_distributions_and_sessions(page):
    told = browse(
        page,
        """
        var filter = Array.from(document.querySelectorAll("[data-filter]")).find(function (f) {
          return f.parentNode.textContent.indexOf("sex") >= 0;
        });
        function counts() {
          var svg = document.querySelector("svg [data-dot]").ownerSVGElement;
          return {
            rows: document.querySelectorAll("[data-row]:not([hidden])").length,
            dots: svg.querySelectorAll("[data-dot]:not(.hidden)").length,
            n: Array.from(svg.querySelectorAll(".count")).map(function (t) { return t.textContent; }),
            line: svg.querySelector(".median").getAttribute("y1")
          };
        }
        told.before = counts();
        filter.value = filter.options[1].value;
        filter.dispatchEvent(new Event("change"));
        told.during = counts();
        told.words = document.querySelector("[data-filtered]").textContent;
        filter.value = "";
        filter.dispatchEvent(new Event("change"));
        told.after = counts();
        """,
    )
    assert told["errors"] == []
    assert told["before"]["rows"] == told["before"]["dots"] == 40
    assert told["during"]["rows"] == told["during"]["dots"] == 20
    assert told["during"]["n"] == ["n = 10", "n = 10"]
    assert told["during"]["line"] != told["before"]["line"]
    assert "filtered" in told["words"]
    assert told["after"] == told["before"]


def test_tables_and_figures_are_saved(page):
    told = browse(
        page,
        """
        var blobs = [], names = [];
        URL.createObjectURL = function (blob) { blobs.push(blob); return "data:,"; };
        HTMLAnchorElement.prototype.click = function () { names.push(this.download); };
        ["Save as CSV", "Save as SVG"].forEach(function (label) {
          document.querySelector('[aria-label="' + label + '"]').click();
        });
        told.names = names;
        told.texts = [];
        blobs.forEach(function (blob, i) { blob.text().then(function (text) { told.texts[i] = text; }); });
        """,
    )
    assert told["errors"] == []
    assert [name.rsplit(".", 1)[1] for name in told["names"]] == ["csv", "svg"]
    assert told["texts"][0].count("\r\n") >= 2
    assert told["texts"][1].startswith("<svg")


def test_a_narrow_window_scrolls_down_only_and_every_link_leads_somewhere(page):
    told = browse(
        page,
        """
        told.width = document.documentElement.clientWidth;
        told.needed = document.documentElement.scrollWidth;
        told.links = Array.from(document.querySelectorAll("a[href]")).map(function (a) {
          return a.getAttribute("href");
        });
        told.ids = Array.from(document.querySelectorAll("[id]")).map(function (e) { return e.id; });
        told.unnamed = Array.from(document.querySelectorAll("button, select")).filter(function (e) {
          return !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels.length);
        }).length;
        """,
        width=360,
    )
    assert told["errors"] == []
    assert told["needed"] <= told["width"]
    assert told["unnamed"] == 0
    inner = [link[1:] for link in told["links"] if link.startswith("#")]
    assert inner
    assert set(inner) <= set(told["ids"])
    files = [unquote(link) for link in told["links"] if not re.match(r"#|https?:", link)]
    assert len(files) > 40
    assert [name for name in files if not (page.parent / name).is_file()] == []
