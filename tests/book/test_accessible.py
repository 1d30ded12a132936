"""Every page for fingers, keys and screen readers: axe-core, a phone's width, the size of targets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import pytest

from vlmnb.fit import answer

pytestmark = browser.needed
AXE = (Path(__file__).parents[1] / "vendor" / "axe.min.js").read_text(encoding="utf-8")
"""axe-core 4.12.1 of npm, unchanged; its licence lies beside it."""

FAILURES = """axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
  violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.target.join(" "))}`))"""

SMALL = """() => {
  const least = 43.5;
  const touched = `a[href], button, input:not([type=hidden]), select, summary,
    td[title], th[title], th[aria-sort]`;
  const small = (e) => { const r = e.getBoundingClientRect(); return r.width < least || r.height < least; };
  return [...document.querySelectorAll(touched)].filter((e) => {
    if (!e.checkVisibility({ visibilityProperty: true }) || !e.getBoundingClientRect().width) return false;
    if (e.matches(".skip-link a, a.headerlink")) return false;
    if (e.matches("a") && getComputedStyle(e).display === "inline" && e.closest("p, li, dd")) return false;
    if (e.matches("input") && e.closest("label")) return small(e.closest("label"));
    return small(e);
  }).map((e) => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 30)}`);
}"""
"""What is smaller than 44 pixels; links within sentences may be."""


@pytest.fixture(params=["phone, light", "desk, dark"])
def window(request: pytest.FixtureRequest) -> Iterator[Any]:
    phone = request.param.startswith("phone")
    with browser.started() as chromium:
        context = chromium.new_context(
            color_scheme="light" if phone else "dark", has_touch=phone, is_mobile=phone,
            viewport={"width": 390 if phone else 1280, "height": 844},
        )  # fmt: skip
        yield context.new_page(), phone


ALL = bool(os.environ.get("VLMNB_ALL_PAGES"))
"""``make test-pages`` visits every page, ``make test`` those of one model and one report."""
PARTS, PARTS_OF_ONE = ("reports/*", "runs/*"), ("reports/llava*", "runs/llava-tiny")
"""Folders of pages in the book."""


@pytest.mark.parametrize(
    "part",
    [
        "search",
        "book/*",
        "book/generated/*",
        *(f"book/{part}/*" for part in (PARTS if ALL else PARTS_OF_ONE)),
    ],
)
def test_a_page_has_no_failure_of_axe_does_not_scroll_sideways_and_has_large_targets(
    site: Path, window: Any, part: str
) -> None:
    page, phone = window
    if not (ALL or phone or part in ("search", "book/*")):
        pytest.skip("make test-pages visits these in the dark theme")
    failures = {}
    for file in sorted(site.glob(f"{part}.html")):
        page.goto(file.as_uri(), wait_until="load")
        page.add_style_tag(content="* { animation: none !important; transition: none !important; }")
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        page.wait_for_timeout(100)
        page.evaluate(AXE)
        found = page.evaluate(FAILURES)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            found.append("scrolls sideways")
        if phone:
            found += page.evaluate(SMALL)[:5]
        if found:
            failures[file.relative_to(site).as_posix()] = found
    assert failures == {}


def test_every_dash_of_the_built_book_has_its_reason(site: Path) -> None:
    untold = re.compile(r'<t[dh](?![^>]* title="[^"])[^>]*>-</t[dh]>')
    found = {
        page.relative_to(site).as_posix(): len(untold.findall(page.read_text(encoding="utf-8")))
        for page in (site / "book").rglob("*.html")
    }
    assert {page: count for page, count in found.items() if count} == {}


def test_every_header_of_a_table_says_what_it_is_the_header_of(site: Path) -> None:
    without = re.compile(r"<th\b(?![^>]* scope=)[^>]*>")
    found = {
        page.relative_to(site).as_posix(): len(without.findall(page.read_text(encoding="utf-8")))
        for page in site.rglob("*.html")
    }
    assert {page: count for page, count in found.items() if count} == {}


def test_every_page_of_the_book_has_text(site: Path) -> None:
    pages = {page.name: page.read_text(encoding="utf-8") for page in site.glob("*.html")}
    assert pages.keys() == {"index.html", "search.html"}, "no index of words, which would be empty"


def test_a_tap_on_a_number_opens_its_tooltip_with_the_link_to_its_record(site: Path) -> None:
    with browser.started() as chromium:
        page = chromium.new_context(has_touch=True, is_mobile=True).new_page()
        page.goto((site / "book/runs/llava-tiny/batch_size.html").as_uri())
        field = page.locator("table.vlmnb-table td[title]:has(a)").first
        field.scroll_into_view_if_needed()
        address, tooltip = page.url, field.get_attribute("title")
        field.tap()
        assert page.url.split("#")[0] == address
        assert page.locator(".vlmnb-tip").inner_text().startswith(tooltip[:20])
        page.locator(".vlmnb-tip a").tap()
        page.wait_for_url("**/downloads/records/**")


def test_keys_reach_a_record_once_a_row_and_move_within_it(site: Path) -> None:
    with browser.opened(site / "book/runs/llava-tiny/batch_size.html") as (page, _):
        row = page.locator("table.vlmnb-table tbody tr:has(a)").first
        links = row.locator("a[href]")
        addresses = set(links.evaluate_all("all => all.map(a => a.href)"))
        assert row.locator("a[href][tabindex='0']").count() == len(addresses) < links.count()
        row.locator("[tabindex='0']").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".vlmnb-tip").count() == 1
        page.keyboard.press("Escape")
        assert page.locator(".vlmnb-tip").count() == 0


def test_the_finder_shows_which_gpus_run_a_model(site: Path) -> None:
    with browser.opened(site / "book/generated/finder.html") as (page, noise):
        rows = page.locator("table.vlmnb-filter tbody tr")
        page.locator("#vlmnb-finder [name=model]").select_option("llava-1.5-7b")
        page.locator("#vlmnb-finder [name=quantization]").select_option("fp16")
        runs = rows.filter(has_text="GeForce RTX 3060").first.locator("td").first
        before = runs.inner_text()
        page.locator("#vlmnb-finder [name=quantization]").select_option("Q4_K_M")
        assert before.startswith("lacks")
        assert runs.inner_text() == "yes"
        page.locator("#vlmnb-finder [name=batch]").select_option("64")
        assert runs.inner_text().startswith("lacks")
        free = rows.filter(has_text="GeForce RTX 3060").first.locator("td").nth(1)
        assert (free.inner_text(), "does not fit" in free.get_attribute("title")) == ("-", True)
        page.locator("#vlmnb-finder [name=batch]").select_option("1")
        page.get_by_label("GPU or machine, $ per hour").fill("0.4")
        load = answer.load_of("llava-1.5-7b")
        bounds = {row.gpu.title: row for row in answer.of("llava-1.5-7b", "Q4_K_M", load).gpus}
        shown = rows.evaluate_all("""rows => rows.map((row) =>
          [0, 3, 4].map((i) => row.cells[i].dataset.sort ?? row.cells[i].textContent))""")
        for title, seconds, cost in shown:
            if not bounds[title].runs:
                assert (seconds, cost) == ("-", "-")
                continue
            assert float(seconds) == pytest.approx(bounds[title].bound.total_s)
            assert float(cost) == pytest.approx(1000 * bounds[title].bound.total_s * 0.4 / 3600)
        texts = {
            row[4] for row in rows.evaluate_all("rows => rows.map(r => [...r.cells].map(c => c.textContent))")
        }
        assert all(text == "-" or text.startswith("≥ $") for text in texts)
        link = page.locator("#vlmnb-finder-links a").get_attribute("href")
        assert link == "explore.html#model=llava-1.5-7b&hire=0.4"
        page.locator("#vlmnb-finder [name=batch]").select_option("64")
        page.get_by_label("only those that run it").check()
        assert set(rows.locator("visible=true").locator("td:first-of-type").all_inner_texts()) == {"yes"}
        address = page.url
        page.reload()
        assert page.locator("#vlmnb-finder [name=batch]").input_value() == "64"
        assert page.get_by_label("GPU or machine, $ per hour").input_value() == "0.4"
        page.locator("#vlmnb-finder-links a").click()
        page.wait_for_url("**/explore.html#*")
        page.wait_for_timeout(500)
        assert page.locator("[name=hire]").input_value() == "0.4"
        page.locator("[data-links] a", has_text="GPUs that run it").click()
        page.wait_for_url("**/finder.html#model=llava-1.5-7b*")
        page.go_back()
        page.go_back()
        assert page.url == address
    assert noise == browser.Noise([], [], [])


@pytest.mark.parametrize("dark", [False, True])
def test_one_screen_holds_the_findings_their_figure_and_the_doors(site: Path, dark: bool) -> None:
    with browser.opened(site / "book/index.html", dark=dark, width=1300) as (page, _):
        figure = page.locator(".vlmnb-first figure").bounding_box()
        doors = page.locator(".vlmnb-doors").bounding_box()
        assert figure["y"] + figure["height"] < 900
        assert doors["y"] + doors["height"] < 900
        assert figure["y"] < page.locator(".vlmnb-first li").last.bounding_box()["y"]


def test_cards_and_chapters_lead_to_costs_and_to_explore(site: Path) -> None:
    for name, folder in (("runs/llava-tiny/card", "../../generated/"), ("generated/llava-tiny", "")):
        text = (site / f"book/{name}.html").read_text(encoding="utf-8")
        for page in ("finder", "explore"):
            assert f'href="{folder}{page}.html#model=llava-tiny"' in text, (name, page)
