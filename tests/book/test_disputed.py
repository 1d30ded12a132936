"""What the audit found stands where the figures are: a box on a report's page, and a mark at each figure."""

from __future__ import annotations

import bookmaking
import pytest

from vlmnb.book import disputed
from vlmnb.book.content import Page
from vlmnb.book.pages import audit, run
from vlmnb.records import record_file
from vlmnb.records.record import Record

QWEN = "qwen2.5-vl-3b"


@pytest.fixture(scope="module")
def reported() -> list[Record]:
    return [r for r in record_file.read_all(bookmaking.PROJECT / "results")[0] if r.source == "reports"]


def test_a_page_of_a_report_lists_the_findings_about_its_own_figures(reported: list[Record]) -> None:
    found = audit.findings(reported, "reports")
    own = tuple(record for record in reported if record.cell.model == QWEN)
    page = Page(QWEN, "optimization", "", {"source": "reports"}, own)
    box = run.opening(page, reported, disputed.lines(found, page))
    rules = {found[line.number - 1].rule for line in disputed.lines(found, page)}
    assert {"flops-of-the-geometry", "percent-of-its-base", "optimization-is-faster"} <= rules
    assert "power-follows-the-work" not in rules, "that is of the page of devices"
    assert box.count("#finding-") == len(disputed.lines(found, page))
    checked = audit.page(reported, "reports")
    for number in range(1, len(found) + 1):
        assert checked.count(f'id="finding-{number}"') == checked.count(f'"#finding-{number}"') == 1


def test_a_disputed_figure_is_marked_and_no_other() -> None:
    table = '<td title="as printed: 001, Tests, &#39;fp16&#39;, FLOPS" data-key="a">96.3 T</td>'
    assert 'class="vlmnb-disputed"' in disputed.marked(table, {"001, Tests, 'fp16', FLOPS"})
    assert disputed.marked(table, {"001, Tests, fp16, FLOPS"}) == table
