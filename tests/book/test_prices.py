"""What is no price is said beside its field, and nothing follows from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import browser
import pytest

from vlmnb.analysis import titles

pytestmark = browser.needed

PRICES = {"[name=hire]": ("-3", ""), "[name=use]": ("101", "-1")}


def _refused(page: Any, field: Any, text: str, kept: str) -> None:
    """A text is refused by its field, and storage and address keep what they had."""
    before = page.evaluate("JSON.stringify(localStorage)")
    field.fill(text)
    assert field.get_attribute("aria-invalid") == "true", text
    assert "number" in page.get_by_role("alert").filter(visible=True).inner_text()
    assert page.evaluate("JSON.stringify(localStorage)") == before
    assert not re.search(rf"{kept}=({text or '&|$'}|NaN)", page.url)


def _accepted(page: Any, field: Any, text: str) -> None:
    field.fill(text)
    assert field.get_attribute("aria-invalid") is None
    assert page.get_by_role("alert").filter(has_text="number").count() == 0


@pytest.mark.parametrize("selector", PRICES)
def test_the_finder_shows_no_cost_until_a_price_is_valid(site: Path, selector: str) -> None:
    with browser.opened(site / "book/generated/finder.html") as (page, noise):
        costs = page.locator("table.vlmnb-filter tbody td:nth-of-type(4)")
        before, field = costs.all_inner_texts(), page.locator(selector)
        valid = field.input_value()
        assert any("$" in text for text in before)
        for text in PRICES[selector]:
            _refused(page, field, text, selector[6:-1])
            assert set(costs.all_inner_texts()) == {"-"}
            assert "$" not in page.locator("#vlmnb-finder-cpu").inner_text()
            assert f"{selector[6:-1]}=" not in page.locator("#vlmnb-finder-links a").get_attribute("href")
            _accepted(page, field, valid)
            assert costs.all_inner_texts() == before
    assert noise == browser.Noise([], [], [])


@pytest.mark.parametrize("selector", PRICES)
def test_explore_shows_no_cost_until_a_price_is_valid(site: Path, selector: str) -> None:
    with browser.opened(site / "book/generated/explore.html") as (page, noise):
        page.get_by_label("Vertical axis").select_option("usd_1000")
        page.locator("summary", has_text="Your prices").click()
        cheapest = page.locator("[data-best] tbody tr").first.locator("td").nth(1)
        before, field = cheapest.inner_text(), page.locator(selector)
        valid = field.input_value()
        assert "$" in before
        for text in PRICES[selector]:
            _refused(page, field, text, selector[6:-1])
            assert "$" not in page.locator("[data-best]").inner_text()
            assert page.locator("[data-status]").inner_text().startswith("0 of")
            _accepted(page, field, valid)
            assert cheapest.inner_text() == before
    assert noise == browser.Noise([], [], [])


def test_the_switch_of_units_shows_no_cost_until_a_price_is_valid(site: Path) -> None:
    with browser.opened(site / "book/generated/comparison.html") as (page, noise):
        page.select_option(".vlmnb-units select", "$")
        costs = {name: page.locator(f"td[data-amount^={name}]").first for name in ("hire", "tariff")}
        for label, name, texts in (
            ("GPU or machine, $ per hour", "hire", ("-3", "")),
            ("Share of paid hours at work, %", "hire", ("101", "-1")),
            ("Electricity, $ per kWh", "tariff", ("-3", "")),
        ):
            before, field = costs[name].text_content(), page.get_by_label(label)
            valid = field.input_value()
            for text in texts:
                _refused(page, field, text, name)
                assert costs[name].text_content().strip() == "-"
                _accepted(page, field, valid)
                assert costs[name].text_content() == before
    assert noise == browser.Noise([], [], [])


def test_an_address_with_no_price_gives_the_usual_one(site: Path) -> None:
    with browser.opened(site / "book/generated/finder.html") as (page, _):
        for name in ("finder", "explore"):
            page.goto("about:blank")
            page.goto(f"{(site / f'book/generated/{name}.html').as_uri()}#hire=-3&use=101")
            page.wait_for_timeout(300)
            assert [page.locator(each).input_value() for each in PRICES] == ["2.5", "100"]
            assert "-3" not in page.url


def test_a_time_without_a_gpu_names_its_data_set_and_batch(site: Path) -> None:
    with browser.opened(site / "book/generated/finder.html") as (page, _):
        page.locator("#vlmnb-finder [name=model]").select_option("llava-tiny")
        line, found = page.locator("#vlmnb-finder-cpu"), page.evaluate("vlmnbFinder.cpus")
        sizes = [row[2] for row in found if row[0] == "llava-tiny"]
        for chosen in (1, 2, 64):
            page.locator("#vlmnb-finder [name=batch]").select_option(str(chosen))
            shown = max((size for size in sizes if size <= chosen), default=sizes[0])
            assert titles.dataset_title("textvqa-mini") in line.inner_text()
            told = re.search(r"batch (\d+)(, because (\d+) was not measured)?", line.inner_text())
            assert told.groups()[::2] == (str(shown), None if shown == chosen else str(chosen))
        page.evaluate("vlmnbFinder.cpus = vlmnbFinder.cpus.filter((row) => row[2] === 1)")
        page.locator("#vlmnb-finder [name=batch]").select_option("8")
        assert "batch 1, the only size measured" in line.inner_text()
