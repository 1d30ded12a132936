"""The book as a reader sees it: quiet, offline, readable in light and dark."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import browser
import pytest
from PIL import Image

from vlmnb.views.table import Field, Table, render

pytestmark = browser.needed
PAGES = (
    "book/index.html", "book/methodology.html", "book/generated/comparison.html",
    "book/generated/llava-tiny.html", "book/generated/status.html", "book/runs/llava-tiny/image_size.html",
    "book/runs/llava-tiny/card.html", "book/generated/audit.html", "book/generated/reports-checked.html",
)  # fmt: skip
TEXTS = ", ".join(
    ("table.vlmnb-table th", "table.vlmnb-table td", "table.vlmnb-table td > a",
     "table.vlmnb-table caption > span", "table.vlmnb-table .interval", "article p",
     "article figcaption p", "article summary")
)  # fmt: skip
"""Texts of a page, also of tables that are folded away until a line is clicked."""
AA_TEXT = 4.5
"""Contrast ratio that WCAG 2.1 asks of text."""


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_page_opened_as_a_file_is_quiet_offline_and_readable(site: Path, name: str, dark: bool) -> None:
    with browser.opened(site / name, dark=dark) as (page, noise):
        assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        ratios = page.evaluate(browser.CONTRAST, TEXTS)
        assert min(ratios) >= AA_TEXT
        assert page.evaluate(browser.CONTRAST, "article")[0] >= AA_TEXT
    assert noise == browser.Noise([], [], [])


def test_the_search_of_a_book_opened_as_a_file_is_quiet_and_finds_pages(site: Path) -> None:
    with browser.opened(site / "search.html") as (page, noise):
        page.goto(f"{(site / 'search.html').as_uri()}?q=image+tokens")
        page.wait_for_selector("#search-results li")
        page.wait_for_timeout(600)
        page.goto(f"{(site / 'search.html').as_uri()}?q=4090")
        page.wait_for_selector("#search-results li")
        assert "Which GPU runs it?" in page.locator("#search-results li a").all_inner_texts()
    assert noise == browser.Noise([], [], [])


def test_tables_are_visible_and_fit_their_page(site: Path) -> None:
    with browser.opened(site / "book/runs/qwen2.5-vl-tiny/image_size.html", width=500) as (page, _):
        tables = page.locator("table.vlmnb-table")
        assert tables.first.is_visible()
        assert tables.first.bounding_box()["width"] > 100
        # The table scrolls within its box; the page itself does not scroll sideways.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")


def test_tables_do_not_scroll_where_a_desk_has_room(site: Path) -> None:
    for name in ("book/index.html", "book/generated/finder.html", "book/generated/comparison.html"):
        with browser.opened(site / name) as (page, _):
            beyond = page.locator(".vlmnb-scroll:visible").evaluate_all(
                "all => all.map((each) => each.scrollWidth - each.clientWidth)"
            )
            assert max(beyond) <= 1, name


def test_readers_choose_the_columns_of_every_cell_by_group(site: Path) -> None:
    with browser.opened(site / "book/runs/llava-tiny/image_size.html") as (page, _):
        heads = page.locator("table:has(th[data-group])").first.locator("thead th:visible")
        boxes = page.locator("form.vlmnb-columns").first.locator("input")
        first = heads.count()
        assert 5 < first < 12
        for number in range(1, boxes.count()):
            boxes.nth(number).check()
        assert heads.count() > 2 * first


def test_columns_that_are_cut_off_are_told_by_a_shade(project: Path, tmp_path: Path) -> None:
    style = (project / "book/_static/book.css").as_uri()
    words = "".join(f"<td>column {i} of many</td>" for i in range(20))
    for name, row in (("wide", words), ("narrow", "<td>alone</td>")):
        (tmp_path / f"{name}.html").write_text(
            f'<!doctype html><link rel="stylesheet" href="{style}"><body style="background: white">'
            f'<div class="vlmnb-scroll"><table class="vlmnb-table"><tr>{row}</tr></table></div>',
            encoding="utf-8",
        )

    def edges(page: Any) -> tuple[int, int]:
        """How dark the box is at its left and its right edge, from 0 to 255."""
        picture = page.locator(".vlmnb-scroll").screenshot()
        box = Image.open(io.BytesIO(picture)).convert("L")
        return 255 - box.getpixel((1, 3)), 255 - box.getpixel((box.width - 2, 3))

    with browser.opened(tmp_path / "wide.html", width=500) as (page, _):
        left, right = edges(page)
        assert left < 10 < right
        page.locator(".vlmnb-scroll").evaluate("e => { e.scrollLeft = e.scrollWidth }")
        left, right = edges(page)
        assert right < 10 < left
    with browser.opened(tmp_path / "narrow.html", width=500) as (page, _):
        assert max(edges(page)) < 10


@pytest.mark.parametrize("name", ["data", "generated/tried"])
def test_a_wide_table_scrolls_inside_the_page_of_a_phone(site: Path, name: str) -> None:
    with browser.opened(site / f"book/{name}.html", width=380) as (page, _):
        wide = """all => all.filter((e) => e.scrollWidth > e.parentElement.clientWidth)
          .map((e) => getComputedStyle(e.parentElement).overflowX)"""
        assert set(page.locator("article table").evaluate_all(wide)) == {"auto"}
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_names_of_rows_stay_in_sight_while_a_wide_table_scrolls(site: Path) -> None:
    with browser.opened(site / "book/runs/llava-tiny/batch_size.html", width=390) as (page, _):
        box = page.locator(".vlmnb-scroll:has(thead)").filter(has_text="Every cell").first
        box.evaluate("e => { e.scrollLeft = e.scrollWidth }")
        edge = box.bounding_box()["x"]
        for name in box.locator("thead th:first-child, tbody th:first-child").all():
            place = name.bounding_box()
            assert place["x"] == pytest.approx(edge, abs=2)
            assert place["width"] < 160, "it leaves room for the numbers"
        assert box.evaluate("e => e.scrollLeft") > 100


def test_a_figure_of_several_panels_scrolls_inside_the_page_of_a_phone(site: Path) -> None:
    with browser.opened(site / "book/generated/axis-batch_size.html", width=380) as (page, _):
        box = page.locator("article .vlmnb-wide").first
        assert box.locator("svg").evaluate("e => e.getBoundingClientRect().width") > 600
        assert (box.get_attribute("tabindex"), box.get_attribute("role")) == ("0", "group")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_figures_have_no_box_behind_them(site: Path, dark: bool) -> None:
    with browser.opened(site / "book/runs/qwen2.5-vl-tiny/image_size.html", dark=dark) as (page, _):
        style = "e => { const s = getComputedStyle(e); return [s.backgroundColor, s.filter, e.clientWidth] }"
        caption = page.locator("article figcaption p").first
        assert caption.evaluate("e => Number(getComputedStyle(e).fontWeight)") >= 400, "thin type fades"
        ground, effect, width = page.locator("article figure svg").first.evaluate(style)
        assert ground in ("rgba(0, 0, 0, 0)", "transparent")
        assert effect == "none"
        assert width > 100


def test_a_table_sorts_by_a_click_and_by_what_its_numbers_are(site: Path) -> None:
    with browser.opened(site / "book/generated/comparison.html") as (page, noise):
        tables = page.locator("table.vlmnb-table")
        small = ["LLaVA tiny" in text for text in tables.all_text_contents()]
        table = tables.nth(small.index(True))
        head = table.locator("thead th").nth(1)

        def column(number: int) -> Any:
            return table.locator("tbody tr").evaluate_all(
                f"rows => rows.map(r => r.cells[{number}].textContent)"
            )

        head.click()
        ascending = column(0)
        head.press("Enter")
        assert column(0) == ascending[::-1]
        assert ascending == ["LLaVA tiny", "Fuyu tiny", "Qwen2.5-VL tiny"]
        assert head.get_attribute("aria-sort") == "descending"
        table.evaluate(
            "(table, texts) => { const row = table.tBodies[0].rows[0]; const rows = texts.map((text) => {"
            "const made = row.cloneNode(true); made.cells[1].textContent = text; return made; });"
            "table.tBodies[0].replaceChildren(...rows); }",
            ["3.1 G", "390.5 M", "≈ 0.09", "12 kB", "-"],
        )
        head.click()
        assert column(1) == ["≈ 0.09", "12 kB", "390.5 M", "3.1 G", "-"]
    assert noise.errors == []


def test_the_table_of_gpus_is_filtered_by_words_and_limits_and_still_sorts(site: Path) -> None:
    with browser.opened(site / "book/runs/llava-tiny/card.html") as (page, noise):
        fields = page.locator("form.vlmnb-filters")
        rows = page.locator("table.vlmnb-filter tbody tr:visible")
        every = rows.count()
        fields.get_by_label("Contains").fill("rtx 40")
        assert 0 < rows.count() < every
        assert all("RTX" in text for text in rows.all_inner_texts())
        fields.get_by_label("Contains").fill("")
        fields.get_by_label("USD at most").fill("150")
        assert fields.locator("output").inner_text().startswith(f"{rows.count()} of {every}; ")
        assert "left out, their USD is not known" in fields.locator("output").inner_text()
        prices = "rows => rows.map(r => parseFloat(r.cells[9].textContent))"
        assert rows.evaluate_all(prices)
        assert all(price <= 150 for price in rows.evaluate_all(prices))  # what has no price is out
        fields.get_by_label("USD at most").fill("")
        fields.get_by_label("only those that run it").check()
        assert all("yes" in text for text in rows.all_inner_texts())
        head = page.locator("table.vlmnb-filter thead th").nth(5)
        head.click()
        bandwidths = rows.evaluate_all("rows => rows.map(r => parseFloat(r.cells[5].textContent))")
        assert bandwidths == sorted(bandwidths)
    assert noise == browser.Noise([], [], [])


def test_the_front_page_leads_to_the_book(site: Path) -> None:
    with browser.opened(site / "index.html") as (page, noise):
        page.wait_for_url("**/book/index.html")
        assert page.locator("h1").first.inner_text().startswith("What vision-language models cost")
    assert noise.network == []


def test_every_table_is_saved_as_csv_with_its_intervals_and_plain_numbers(tmp_path: Path) -> None:
    columns = ("Model", "Latency, s", "Memory", "At least", "Aim")
    made = Table("Times", columns, (
        (Field("a"), Field("≈ 0.5", span="[0.4, 0.6]"), Field("7.05\u00a0GB"), Field("≥ 989 ms *"),
         Field("2 s")),
        (Field("b"), Field("-"), Field("193\u00a0MB ⚠"), Field("≥ 2.14 s"), Field("5 J")),
    ))  # fmt: skip
    script = (Path(__file__).parents[2] / "book/_static/csv.js").read_text(encoding="utf-8")
    page = f"<!doctype html><meta charset=utf-8><script>{script}</script>{render(made)}"
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with browser.opened(tmp_path / "page.html") as (opened, noise):
        with opened.expect_download() as saved:
            opened.get_by_role("link", name="Save table 1 of this page as CSV").click()
        assert saved.value.suggested_filename == "page-table-1.csv"
        with Path(saved.value.path()).open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    assert lines == [
        ["Model", "Latency, s", "Latency, s, low", "Latency, s, high", "Latency, s, mark", "Memory, B",
         "Memory, mark", "At least, s", "At least, mark", "Aim"],
        ["a", "0.5", "0.4", "0.6", "≈", "7050000000", "", "0.989", "≥ *", "2 s"],
        ["b", "-", "", "", "", "193000000", "⚠", "2.14", "≥", "5 J"],
    ]  # fmt: skip
    assert noise == browser.Noise([], [], [])


def test_the_finder_keeps_its_filters_saves_what_is_seen_and_knows_a_machine_without_a_gpu(
    site: Path,
) -> None:
    with browser.opened(site / "book/generated/finder.html") as (page, noise):
        page.get_by_label("GiB at least").fill("24")
        page.get_by_label("only those that run it").check()
        page.select_option("[name=model]", "llava-tiny")
        seen, cpu = page.locator(".vlmnb-filters output"), page.locator("#vlmnb-finder-cpu")
        before = seen.inner_text()
        assert "test-cpu-2c" in cpu.inner_text()
        with page.expect_download() as saved:
            page.get_by_role("link", name="Save table 1").click()
        lines = Path(saved.value.path()).read_text(encoding="utf-8-sig").splitlines()
        assert len(lines) - 1 == int(before.split()[0])
        page.reload()
        page.wait_for_timeout(300)
        assert page.get_by_label("GiB at least").input_value() == "24"
        assert seen.inner_text() == before
        cpu.get_by_role("link").click()
        page.wait_for_timeout(500)
        assert page.locator("[data-status]").inner_text().startswith("1 of 1 chosen")
        page.go_back()
        page.wait_for_timeout(300)
        assert seen.inner_text() == before
    assert noise.errors == []


def test_a_price_is_set_once_for_all_pages(site: Path) -> None:
    price = "[name=hire]"
    with browser.opened(site / "book/generated/finder.html") as (page, _):
        page.fill(price, "0.4")
        page.fill(price, "-3")
        page.goto((site / "book/generated/comparison.html").as_uri())
        page.select_option(".vlmnb-units select", "$")
        assert page.locator(".vlmnb-prices input").first.input_value() == "0.4"
        page.goto((site / "book/generated/explore.html").as_uri())
        assert page.locator(price).input_value() == "0.4"
        page.wait_for_timeout(300)
        assert "hire=0.4" in page.url, "a link to this page has the price"
        page.goto(f"{(site / 'book/generated/finder.html').as_uri()}#hire=3")
        assert page.locator(price).input_value() == "3"
        page.goto((site / "book/generated/explore.html").as_uri())
        page.get_by_role("button", name="Reset").click()
        assert page.locator(price).input_value() == "2.5"
        page.goto((site / "book/index.html").as_uri())
        page.goto((site / "book/generated/finder.html").as_uri())
        assert page.locator(price).input_value() == "2.5"


def test_readers_see_the_cost_at_their_own_prices(site: Path) -> None:
    with browser.opened(site / "book/generated/comparison.html") as (page, noise):
        fields = page.locator("td[data-amount^=hire]").first, page.locator("td[data-amount^=tariff]").first
        own = [field.text_content() for field in fields]
        amounts = [field.get_attribute("data-amount").split()[1:] for field in fields]
        assert page.locator(".vlmnb-prices").is_hidden(), "no price where nobody asks for one"
        page.select_option(".vlmnb-units select", "$")
        prices = [
            page.get_by_label(name) for name in ("GPU or machine, $ per hour", "Electricity, $ per kWh")
        ]
        assert page.locator(".vlmnb-prices a").count() == len(prices), "each price has its source"
        for price in ("2", "4"):
            for at, field in enumerate(fields):
                prices[at].fill(price)
                shown = field.text_content().replace("[", " ").replace("]", " ").replace(",", " ").split()
                found = [float(part) for part in shown if part[0].isdigit()]
                assert found == pytest.approx([float(price) * float(n) for n in amounts[at]], rel=0.005)
        assert "$ per 1,000 images" in page.locator("th[data-amount]").first.text_content()
        page.select_option(".vlmnb-units select", index=0)
        assert [field.text_content() for field in fields] == own
    assert noise.errors == []
