"""What readers set on one page holds on all, and what a page shows follows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import browser
import pytest

from vlmnb.fit import model_facts

pytestmark = browser.needed

SHOWN = """rows => rows.filter((row) => !row.hidden)
  .map((row) => parseFloat(row.cells[3].dataset.sort)).filter((each) => !Number.isNaN(each))"""


def _cost(page: Any, site: Path) -> float:
    """Return a cost of the comparison's page at the reader's prices."""
    page.goto((site / "book/generated/comparison.html").as_uri())
    page.select_option(".vlmnb-units select", "$")
    return float(page.locator("td[data-amount^=hire]").first.text_content().split()[0])


def test_the_share_of_paid_hours_at_work_counts_on_every_page(site: Path) -> None:
    with browser.opened(site / "book/generated/finder.html") as (page, _):
        finder = page.locator("table.vlmnb-filter tbody tr:has(td:nth-of-type(4)[data-sort])").first
        bound = float(finder.locator("td").nth(3).get_attribute("data-sort"))
        fully = _cost(page, site)
        page.get_by_label("Share of paid hours at work, %").fill("50")
        assert _cost(page, site) == pytest.approx(2 * fully, rel=0.01)
        page.get_by_label("Share of paid hours at work, %").fill("0")
        assert page.locator("td[data-amount^=hire]").first.text_content().strip() == "-"
        page.get_by_label("Share of paid hours at work, %").fill("50")
        page.goto((site / "book/generated/finder.html").as_uri())
        assert float(finder.locator("td").nth(3).get_attribute("data-sort")) == pytest.approx(2 * bound)
        page.locator("#vlmnb-finder-links a").click()
        page.wait_for_timeout(500)
        assert page.locator("[name=use]").input_value() == "50"
        assert "use=50" in page.url


def test_a_sorted_table_stays_sorted_when_its_numbers_change(site: Path) -> None:
    with browser.opened(site / "book/generated/comparison.html") as (page, _):
        table = page.locator("table.vlmnb-table:has(td[data-units])").first
        numbers = table.locator("tbody td:first-of-type a")
        table.locator("th[scope=col]").nth(1).click()
        for unit in (0, 2, 1):  # in images per s, the fastest has the largest number
            page.select_option(".vlmnb-units select", index=unit)
            found = [float(text.split()[0]) for text in numbers.all_inner_texts()]
            assert len(found) > 1
            assert found == sorted(found), unit
    with browser.opened(site / "book/generated/finder.html") as (page, _):
        page.locator("table.vlmnb-filter th[scope=col]").nth(3).click()
        rows = page.locator("table.vlmnb-filter tbody tr")
        for batch, kind in (("1", "fp16"), ("64", "int8")):
            page.locator("#vlmnb-finder [name=batch]").select_option(batch)
            page.locator("#vlmnb-finder [name=quantization]").select_option(kind)
            found = rows.evaluate_all(SHOWN)
            assert found == sorted(found), (batch, kind)


def test_gpus_are_limited_in_memory_and_time_on_both_sides(site: Path) -> None:
    with browser.opened(site / "book/generated/finder.html") as (page, noise):
        page.locator("#vlmnb-finder [name=model]").select_option("llava-1.5-7b")
        page.get_by_label("GiB at least").fill("24")
        page.get_by_label("GiB at most").fill("24")
        page.get_by_label("Time per image, s at most").fill("1.25")
        licence = model_facts.published()["llava-1.5-7b"].licence
        assert licence in page.locator("#vlmnb-finder-links").inner_text()
        rows = page.locator("table.vlmnb-filter tbody tr")
        assert set(rows.locator("visible=true").locator("td:nth-of-type(5)").all_inner_texts()) == {"24"}
        times = rows.evaluate_all(SHOWN)
        assert 0 < max(times) <= 1.25
        page.reload()
        page.wait_for_timeout(300)
        assert rows.evaluate_all(SHOWN) == times
    assert noise == browser.Noise([], [], [])


def test_the_contents_of_a_page_fit_beside_it(site: Path) -> None:
    tall = {}
    with browser.opened(site / "book/generated/reports-checked.html") as (page, _):
        for file in sorted((site / "book/generated").glob("*.html")):
            page.goto(file.as_uri())
            page.add_style_tag(content=".bd-sidebar-secondary ul { display: block !important }")
            height = page.evaluate("document.querySelector('.bd-sidebar-secondary')?.scrollHeight ?? 0")
            if height > 900:
                tall[file.name] = height
    assert tall == {}
