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
        ("Peak memory at most", "24 GiB", f"memory={24 * 2**30}"),
        ("Peak memory at most", "24", "memory=24000000000"),
        ("Peak memory at most", "≤ 24 gb", "memory=24000000000"),
        ("Latency per image at most", "1500 MS", "seconds=1.5"),
        ("Latency per image at most", "1.02345 s", "seconds=1.02345"),
        ("Energy per image at most", "50 mj", "joules=0.05"),
        ("Cost of 1,000 images at most", "0.5 USD", "price=0.5"),
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
    assert float(kept) == float(value)


def test_tables_drawn_again_still_sort_and_are_saved_with_plain_numbers(opened: Any) -> None:
    opened.get_by_label("Horizontal axis").select_option("usd_1000")
    points = opened.locator("[data-table] > details").first
    points.locator("summary").click()
    head = points.locator("th[scope=col]").nth(1)
    rows = points.locator("tbody tr td:nth-child(2)")
    head.click()
    head.click()
    assert head.get_attribute("aria-sort") == "descending"
    costs = [float(one.strip("≈ ⚠")) for one in rows.locator("span[data-csv]:not(.interval)").evaluate_all(
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


def test_a_limit_that_no_record_can_meet_is_seen_and_can_be_taken_away(opened: Any) -> None:
    typed = opened.get_by_label("Peak memory at most, typed")
    opened.evaluate("""() => { const { kinds, points } = vlmnbExplore;
      const own = (kind) => points.filter((point) => kinds[point.kind] === kind);
      const blind = kinds.find((kind) => kind.reported && own(kind).every((point) => !point.values.peak));
      location.hash = `memory=24e9&metric=accuracy&quality=0&kind=${encodeURIComponent(blind.title)}`; }""")
    opened.wait_for_timeout(300)
    assert typed.input_value() == "24.0\u00a0GB"
    assert opened.get_by_role("alert").filter(has_text="No record of this kind").count() == 1
    typed.fill("")
    typed.blur()
    assert "memory" not in opened.url
    assert typed.is_disabled()
    assert "0 of them meet" not in opened.locator("[data-status]").inner_text()


def test_no_accuracy_is_above_1(opened: Any) -> None:
    typed = opened.get_by_label("Accuracy at least, typed")
    typed.fill("80")
    typed.blur()
    assert typed.get_attribute("aria-invalid") == "true"
    assert "quality" not in opened.url


def test_an_address_holds_in_a_book_with_other_kinds_and_says_what_it_does_not_find(opened: Any) -> None:
    status = opened.locator("[data-status]")
    assert len(set(titles := opened.evaluate("vlmnbExplore.kinds.map(({ title }) => title)"))) == len(titles)
    opened.locator("[data-choices] summary").first.click()
    boxes = opened.locator("[name=kind]")
    for box in boxes.all():
        box.check()
    boxes.first.uncheck()
    assert parse_qs(urlparse(opened.url).fragment)["kind"] == titles[1:]
    opened.evaluate("location.hash = 'model=fuyu-8b&setting=none-such&record=0123'")
    opened.wait_for_timeout(300)
    assert "setting none-such; record 0123" in status.inner_text()
    assert "none-such" not in opened.url
    opened.get_by_label("Horizontal axis").select_option("batch")
    assert "none-such" not in status.inner_text()


def test_a_choice_of_nothing_stays_in_the_address(opened: Any) -> None:
    opened.locator("[data-choices] summary").nth(2).click()
    for box in opened.locator("[name=model]").all():
        box.uncheck()
    before = opened.locator("[data-status]").inner_text()
    assert before.startswith("No record fits")
    opened.reload()
    opened.wait_for_timeout(500)
    assert opened.locator("[data-status]").inner_text() == before


def test_an_address_shows_what_the_slider_showed(opened: Any) -> None:
    slider, status = opened.locator("[name=limit-seconds]"), opened.locator("[data-status]")
    opened.evaluate("document.querySelector('[name=limit-quality]').value = 0")
    opened.locator("[name=limit-quality]").dispatch_event("input")
    for position in (0, 1, 50, 99):
        slider.evaluate("(slider, position) => { slider.value = position; }", position)
        slider.dispatch_event("input")
        before = slider.input_value(), status.inner_text()
        assert before[0] == str(position)
        assert " 0 of them" not in before[1], "the first position leaves the best"
        opened.reload()
        opened.wait_for_timeout(300)
        assert (slider.input_value(), status.inner_text()) == before


def test_an_address_with_costs_has_their_prices_whatever_its_reader_has_set(opened: Any) -> None:
    opened.get_by_label("Vertical axis").select_option("usd_1000")
    address, best = opened.url, opened.locator("[data-best]")
    before = best.inner_text()
    opened.locator("summary", has_text="Your prices").click()
    opened.get_by_label("GPU or machine, $ per hour").fill("9")
    assert best.inner_text() != before
    opened.goto("about:blank")
    opened.goto(address)
    opened.wait_for_timeout(500)
    assert best.inner_text() == before
