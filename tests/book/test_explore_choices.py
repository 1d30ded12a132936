"""What readers of the explorer type and follow: limits in their units, addresses, tables, the status."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import browser
import pytest

pytestmark = browser.needed


@pytest.fixture
def opened(site: Path) -> Iterator[Any]:
    with browser.opened(site / "book/generated/explore.html") as (page, noise):
        yield page
        assert noise == browser.Noise([], [], [])


def test_an_address_names_models_or_records_and_leads_on_to_the_gpus(opened: Any) -> None:
    status = opened.locator("[data-status]")
    opened.evaluate("location.hash = 'model=fuyu-8b'")
    opened.wait_for_timeout(300)
    opened.locator("[data-table] > details:first-child > summary").click()
    drawn = opened.locator("[data-table] > details:first-child tbody th").all_inner_texts()
    assert drawn
    assert all(text.startswith("Fuyu 8B") for text in drawn)
    gpus = opened.locator("[data-links] a", has_text="GPUs").get_attribute("href")
    assert gpus == "finder.html#model=fuyu-8b"
    key = opened.evaluate("vlmnbExplore.points.find((p) => p.values.s_image && p.model === 'fuyu-8b').key")
    opened.evaluate("(key) => { location.hash = `record=${key}`; }", key)
    opened.wait_for_timeout(300)
    assert status.inner_text().startswith("1 of 1 chosen")
    assert key in opened.locator("[data-table]").text_content()


def test_the_page_leads_to_the_full_size_models(opened: Any) -> None:
    status = opened.locator("[data-status]")
    for words, kind in (("as reported", "of the reports"), ("as measured here", "test-gpu")):
        opened.locator("article a", has_text=words).click()
        opened.wait_for_timeout(300)
        assert not status.inner_text().startswith("0 of ")
        assert kind in opened.locator("[data-choices] summary").first.inner_text()


def test_a_limit_can_be_typed(opened: Any) -> None:
    typed = opened.get_by_label("Latency per image at most, typed")
    for text, limit in (("500 ms", "500\u00a0ms"), ("0.1", "100\u00a0ms"), ("2 s", "2.00\u00a0s")):
        typed.fill(text)
        typed.press("Enter")
        typed.blur()
        assert typed.input_value() == limit
    assert "seconds=2" in opened.url
    typed.fill("0,5 s or so")
    typed.blur()
    assert "seconds=2" in opened.url, "what cannot be read changes nothing"
    assert typed.get_attribute("aria-invalid") == "true"
    assert "500 ms" in opened.get_by_role("alert").filter(has_text="Not read").inner_text()
    typed.fill("no limit")
    typed.blur()
    assert "seconds" not in opened.url
    assert typed.get_attribute("aria-invalid") is None


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("Latency per image at most", "1,000 ms", "seconds=1"),
        ("Peak memory at most", "24 GiB", f"memory={24 * 2**30:.4g}"),
        ("Peak memory at most", "24", "memory=24000000000"),
        ("Energy per image at most", "0.2 Wh", "joules=720"),
        ("Accuracy at least", "75 %", "quality=0.75"),
    ],
)
def test_a_typed_limit_is_read_in_its_unit(opened: Any, name: str, text: str, limit: str) -> None:
    typed = opened.get_by_label(f"{name}, typed")
    typed.fill(text)
    typed.blur()
    key, value = limit.split("=")
    (kept,) = parse_qs(urlparse(opened.url).fragment)[key]
    assert float(kept) == pytest.approx(float(value), rel=1e-3)


def test_tables_drawn_again_still_sort_and_are_saved_with_plain_numbers(opened: Any) -> None:
    opened.get_by_label("Horizontal axis").select_option("usd_1000")
    points = opened.locator("[data-table] > details").first
    points.locator("summary").click()
    head = points.locator("th[scope=col]").nth(1)
    rows = points.locator("tbody tr td:nth-child(2)")
    head.click()
    head.click()
    assert head.get_attribute("aria-sort") == "descending"
    costs = [float(one) for one in rows.locator("span[data-csv]:not(.interval)").evaluate_all(
        "all => all.map((each) => each.dataset.csv)")]  # fmt: skip
    assert len(costs) > 2
    assert costs == sorted(costs, reverse=True)
    with opened.expect_download() as saved:
        points.locator(".vlmnb-csv").click()
    with Path(saved.value.path()).open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0][1:4] == [f"Cost of 1,000 images, ${end}" for end in ("", ", low", ", high")]
    assert [float(line[1]) for line in lines[1:]] == costs


def test_the_status_leads_on_where_nothing_is_drawn_and_to_other_kinds(opened: Any) -> None:
    status = opened.locator("[data-status]")
    opened.get_by_label("Horizontal axis").select_option("cider")
    assert status.inner_text().startswith("0 of ")
    assert status.inner_text().endswith("No record has both.")
    opened.get_by_label("Vertical axis").select_option("s_image")
    assert status.inner_text().startswith("0 of ")
    assert "COCO" in status.inner_text()
    opened.evaluate("location.hash = 'model=fuyu-8b'")
    opened.wait_for_timeout(300)
    assert "test-gpu" in status.inner_text()
