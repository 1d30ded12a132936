"""The page that explores records: its data, and the page driven in a browser from file://."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import browser
import factory
import pytest

from vlmnb.analysis import series
from vlmnb.book import explorer
from vlmnb.book.content import Content, Page
from vlmnb.book.pages import explore
from vlmnb.records import record_file
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.stats import formatting, intervals

DIFFERENCES = """pairs => pairs.map(([i, j]) => {
  const { points, difference } = vlmnbExplore;
  const found = difference(points[i], points[j]);
  return found.why ? null : [found.answer, ...found.ends];
})"""
FRONT = """() => {
  const { points, value, front } = vlmnbExplore;
  const found = points.filter((p) => value(p, 's_image') && value(p, 'accuracy'));
  return [found.map((p) => [value(p, 's_image')[0], 1 - value(p, 'accuracy')[0], p.key]),
    front(found, 's_image', 'accuracy').map((p) => p.key)];
}"""
LEADERS = """() => vlmnbExplore.leaders(
  vlmnbExplore.points.filter((p) => 'abc'.includes(p.key[0])), 's_image').map((p) => p.key[0])"""
COST = """() => {
  const p = vlmnbExplore.points.find((p) => p.values.j_image);
  return [p.values.s_image[0], p.values.j_image[0], vlmnbExplore.value(p, 'usd_1000')[0]];
}"""
ALL_KINDS = """location.hash = 'x=s_image&y=wer&'
  + vlmnbExplore.kinds.map(({ title }) => `kind=${encodeURIComponent(title)}`).join('&')"""


def test_kinds_of_records_are_kept_apart() -> None:
    cells = [
        factory.cell(), factory.cell(length="fixed"), factory.cell(length="fixed", max_new_tokens=8),
        factory.cell(weights="random"), factory.cell(repeat=1), factory.cell(measure="layers"),
    ]  # fmt: skip
    made = [factory.record(cell, key=f"{i:016x}") for i, cell in enumerate(cells)]
    older = factory.but(made[0], key="a" * 16)
    newer = factory.changed(made[0], "provenance", started_at="2026-02-01T00:00:00+00:00")
    found = explorer.data([older, newer, *made[1:]])
    assert sorted(point["kind"] for point in found["points"]) == list(range(7))
    assert [kind["usual"] for kind in found["kinds"]].count(True) == 1
    by_key = {point["key"]: point for point in found["points"]}
    random = by_key[made[3].key]
    assert "accuracy" not in random["values"], "random weights have no quality"
    assert by_key[made[0].key]["values"]["accuracy"][0] == 0.75
    assert all(point["modelled"] for point in found["points"])


def test_values_are_per_image_and_pairs_are_those_of_the_pages() -> None:
    cell = factory.cell(samples=24)
    told = factory.answers(24, 3)
    one, other = (
        factory.record(
            factory.but(cell, optimization=name), key=key, answers=told,
            latencies=tuple(scale * (1 + 0.01 * (i % 3)) for i in range(12)),
        )
        for name, key, scale in (("fp32", "a" * 16, 0.5), ("sdpa", "b" * 16, 0.8))
    )  # fmt: skip
    found = explorer.data([one, other])
    assert found["points"][0]["values"]["s_image"][0] == pytest.approx(one.latency_s / 2)
    assert found["points"][0]["values"]["images_s"][0] == pytest.approx(2 / one.latency_s)
    expected = series.latency_difference(one, other, found["kinds"][0]["floor"])
    assert found["paired"]["0 1"] == pytest.approx([expected.ratio, expected.low, expected.high, 0], rel=1e-8)


def test_points_that_took_turns_are_compared_by_them() -> None:
    cell, told = factory.cell(samples=24), factory.answers(24, 3)
    records, timings = [], {}
    for key, size in (("a" * 16, 2), ("b" * 16, 4)):
        made = factory.record(
            factory.but(cell, batch_size=size), key=key, answers=told, latencies=(0.2 * size,) * (24 // size)
        )
        times = tuple(0.1 * size**0.5 * (1 + 0.01 * (i % 3)) for i in range(24 // size))
        timings[key] = factory.but(
            made.timing, latencies_s=times, turns="t", batch_samples=(size,) * len(times)
        )
        records.append(made)
    known = Turns(name="t", started_at="2026-01-01T00:00:00+00:00", timings=timings)
    assert not explorer.data(records)["paired"], "batches of other sizes"
    ratio, low, high, times, *seconds = explorer.data(records, [known])["paired"]["0 1"]
    assert times == 1
    assert seconds == pytest.approx([0.05 * 2**0.5 * 1.01, 0.05 * 1.01], rel=1e-6)
    assert low <= ratio <= high < 0.8
    assert ratio == pytest.approx(2**-0.5, rel=0.02)


def test_a_record_without_a_number_has_its_size_and_a_single_batch_no_interval() -> None:
    failed = factory.absent(factory.cell(image_size=96), "out_of_memory", "no room")
    single = factory.record(latencies=(0.5,), key="c" * 16)
    by_key = {point["key"]: point for point in explorer.data([failed, single])["points"]}
    assert by_key[failed.key]["size"] == [2, 96, 200]
    assert by_key[failed.key]["reason"] == "out of memory: no room"
    values = by_key[single.key]["values"]
    assert (values["s_image"], values["images_s"]) == ([0.25], [4.0])
    assert by_key[single.key]["batches"] == 1
    without = explorer.data([factory.record(energy=())])["points"][0]
    assert without["no_joules"]
    assert "no_joules" not in by_key[single.key]


def turned(turns: tuple[float, float] = (0.4, 0.552)) -> Content:
    """Two records 4 % apart in their windows and 38 % in turns, one without joules, two single batches."""
    cell, told = factory.cell(samples=24), factory.answers(24, 3)
    records, timings = [], {}
    for name, key, window, turn in (("fp32", "a" * 16, 0.200, turns[0]), ("sdpa", "b" * 16, 0.208, turns[1])):
        steady = tuple(1 + 0.002 * (i % 3) for i in range(12))
        made = factory.record(
            factory.but(cell, optimization=name), key=key, answers=told,
            latencies=tuple(window * each for each in steady),
        )  # fmt: skip
        timings[key] = factory.but(made.timing, latencies_s=tuple(turn * s for s in steady), turns="t")
        records.append(made)
    more = factory.but(records[0], key="c" * 16, cell=factory.but(cell, optimization="bf16"), energy=())
    single = [
        factory.record(
            factory.but(cell, optimization=name, weights="random", samples=2), key=key, latencies=(0.5,),
            answers=factory.answers(2, 0),
        )
        for name, key in (("fp32", "d" * 16), ("sdpa", "e" * 16))
    ]  # fmt: skip
    known = Turns(name="t", started_at="2026-01-01T00:00:00+00:00", timings=timings)
    shown = tuple(factory.but(one, timing=timings[one.key]) for one in records)
    page = Page("llava-tiny", "optimization", "", {}, shown)
    return Content((*records, more, *single), (page,), turns=(known,))


@contextmanager
def filled_with(site: Path, content: Content) -> Iterator[Any]:
    """The page with some records of its own."""
    body = explore.script(content) + explore.links(content)
    with browser.started() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        kind = "text/javascript"
        page.route("**/downloads/explore.js", lambda route: route.fulfill(body=body, content_type=kind))
        page.goto((site / "book/generated/explore.html").as_uri())
        page.wait_for_timeout(500)
        yield page


class TestInABrowser:
    pytestmark = browser.needed

    @pytest.fixture
    def opened(self, site: Path) -> Iterator[Any]:
        with browser.opened(site / "book/generated/explore.html") as (page, noise):
            yield page
            assert noise == browser.Noise([], [], [])

    @pytest.fixture
    def filled(self, site: Path) -> Iterator[Any]:
        """The page with records of a test's own."""
        with filled_with(site, turned()) as page:
            yield page

    def test_the_browser_compares_as_the_package_does(self, site: Path, opened: Any) -> None:
        files = sorted((site / "downloads" / "records").rglob("*.json"))
        records = {record.key: record for record in map(record_file.read, files)}
        points = opened.evaluate("vlmnbExplore.points.map(p => [p.key, p.kind, p.dataset])")
        floors = opened.evaluate("vlmnbExplore.kinds.map(k => k.floor)")
        pairs = [
            (i, j) for i, j in combinations(range(len(points)), 2)
            if points[i][1:] == points[j][1:] and floors[points[i][1]] is not None
        ][:4000]  # fmt: skip
        told = opened.evaluate(DIFFERENCES, pairs)
        answers = []
        for (i, j), theirs in zip(pairs, told, strict=True):
            one, other = records[points[i][0]], records[points[j][0]]
            ours = _difference(one, other, floors[points[i][1]])
            assert (ours is None) == (theirs is None), (one.cell, other.cell)
            if ours and theirs:
                assert theirs[0] == ours.differ
                assert theirs[1:] == pytest.approx([ours.ratio, ours.low, ours.high], rel=1e-6)
                answers.append((ours.paired, ours.differ))
        assert {paired for paired, _ in answers} == {True, False}
        assert {"yes", "within"} <= {answer for _, answer in answers}

    def test_the_browser_rounds_as_the_package_does(self, opened: Any) -> None:
        values = [0.01635, 16.25, 0.45, 2.675, 1.125, 812.5, 1250.0, 0.0]
        half = opened.evaluate("vlmnbExplore.text(0.01625, 's')")
        assert half == f"{formatting.digits(1000 * 0.01625)}\u00a0ms", "as pages print ms per image"
        written = opened.evaluate("all => all.map((one) => vlmnbExplore.text(one, 's'))", values)
        assert [one.replace("\u00a0", " ") for one in written] == [
            formatting.format_si(one, "s", digits=3) for one in values
        ]

    def test_no_bound_of_a_ratio_reads_as_no_difference(self, opened: Any) -> None:
        written = opened.evaluate("[1.001, 1.15, 0.9996, 1].map(vlmnbExplore.ofRatio)")
        assert written == ["1.001", "1.15", "0.9996", "1.00"]

    def test_cost_follows_the_comparison_of_times_and_joules_weigh_by_their_share(self, filled: Any) -> None:
        found = filled.evaluate("""() => {
          const { points, difference, value } = vlmnbExplore;
          const of = (key) => points.find((p) => p.key === key.repeat(16));
          const ends = (name) => difference(of('a'), of('b'), name);
          const form = document.querySelector('#vlmnb-explore form');
          const set = (name, to) => {
            form.elements[name].value = to;
            form.dispatchEvent(new Event('input', { bubbles: true }));
          };
          set('tariff', 0.3); set('hire', 0.4);
          const both = [ends('s_image'), ends('usd_1000'), ends('j_image')];
          const cost = value(of('a'), 'usd_1000')[0];
          const left = value(of('c'), 'usd_1000') ?? null;
          form.elements.tariff.value = 0;
          const rent = ends('usd_1000');
          vlmnbExplore.kinds.forEach((kind) => { kind.floor = 0.02; });
          return { both, cost, left, rent, quiet: ends('j_image').ends, alone: value(of('c'), 'usd_1000')[0],
            single: difference(of('d'), of('e'), 'j_image').why };
        }""")
        seconds, cost, joules = found["both"]
        rent = 1000 * 0.1002 * 0.4 / 3600
        assert found["left"] is None
        assert found["alone"] == pytest.approx(rent)
        assert found["rent"]["ends"] == seconds["ends"], "the same comparison"
        assert seconds["ends"][0] == pytest.approx(1.38)
        assert seconds["seconds"] == pytest.approx([0.2004, 0.27655], rel=1e-3)
        share = rent / found["cost"]
        assert 0 < share < 1
        assert cost["ends"] == pytest.approx(
            [share * s + (1 - share) * j for s, j in zip(seconds["ends"], joules["ends"], strict=True)]
        )
        assert joules["ends"][1:] == pytest.approx([1 / 1.2, 1.2]), "the noise floor either way"
        assert found["quiet"][1:] == pytest.approx([1 / (1 + series.APART), 1 + series.APART])
        assert (cost["answer"], cost["rule"].split(";")[0]) == ("yes", "timed in turns")
        assert "one reading" in found["single"]

    def test_which_times_are_shown_is_said_and_records_without_joules_are_counted(self, filled: Any) -> None:
        status, folds = filled.locator("[data-status]"), filled.locator("[data-table] > details")
        assert "1 record has no joules" in status.inner_text()
        assert "1 record without a cost" in folds.all_inner_texts()
        folds.nth(0).locator("summary").click()
        heads = folds.nth(0).locator("th[scope=col]").all_inner_texts()
        assert heads[1].endswith("own window")
        chart = filled.locator("[data-chart]")
        chart.focus()
        for _ in range(4):
            chart.press("ArrowRight")
            detail = filled.locator("[data-detail]").inner_text().replace("\u00a0", " ")
            if "sdpa" in detail:
                break
        assert "104 ms" in detail
        assert "in turns 277 ms (Optimization)" in detail
        page = filled.locator("[data-detail] a", has_text="Optimization").get_attribute("href")
        assert page == "../runs/llava-tiny/optimization.html"
        cheapest, fastest = filled.locator("[data-best] tbody tr td:last-child").all_inner_texts()[:2]
        assert ("timed in turns" in cheapest, "windows apart" in fastest) == (True, True)
        filled.locator("summary", has_text="Your prices").click()
        filled.get_by_label("Electricity, $ per kWh").fill("0")
        assert "no joules" not in status.inner_text()

    @pytest.mark.parametrize(("turns", "first"), [((0.4, 0.552), "a"), ((0.552, 0.4), "b")])
    def test_what_is_really_faster_leads_though_its_window_is_slower(
        self, site: Path, turns: tuple[float, float], first: str
    ) -> None:
        with filled_with(site, turned(turns)) as page:
            keys = page.evaluate(LEADERS)
            fastest = page.locator("[data-best] tbody tr").nth(1).inner_text()
        assert keys == [first, "c"], "the nearest by the comparison that decides"
        assert "other way round" not in fastest

    def test_the_front_is_that_of_the_package(self, opened: Any) -> None:
        values, keys = opened.evaluate(FRONT)
        ours = intervals.pareto_front([(x, y) for x, y, _ in values])
        ends = {(values[i][0], values[i][1]) for i in ours}
        assert {(x, y) for x, y, key in values if key in keys} == ends

    def test_axes_limits_and_prices_are_chosen_and_kept_in_the_address(self, opened: Any) -> None:
        rows = opened.locator("[data-table] > details:first-child tbody tr")
        status = opened.locator("[data-status]")
        assert status.inner_text().startswith(f"{rows.count()} of ")
        best = opened.locator("[data-best] tbody tr")
        aims = [aim.split(", by ") for aim in best.locator("th").all_inner_texts()]
        assert [aim for aim, _ in aims] == ["Cheapest", "Fastest", "Thriftiest"]
        assert aims[0][1] == "cost of 1,000 images", "a number without what it is of says nothing"
        fastest = best.nth(1).locator("td").first.inner_text()
        opened.get_by_label("Vertical axis").select_option("usd_right")
        opened.locator("summary", has_text="Your prices").click()
        before = opened.evaluate(
            "vlmnbExplore.value(vlmnbExplore.points.find(p => p.values.j_image), 'usd_1000')[0]"
        )
        opened.get_by_label("GPU or machine, $ per hour").fill("0")
        seconds, joules, cost = opened.evaluate(COST)
        assert cost == pytest.approx(1000 * joules / 3.6e6 * 0.0895)
        assert before - cost == pytest.approx(1000 * seconds * 2.5 / 3600)
        slider = opened.get_by_role("slider", name="Latency per image at most")
        slider.focus()
        slider.press("Home")
        limited = best.nth(1).locator("td").first.inner_text()
        assert limited == fastest, "the fastest alone meets the shortest limit"
        assert slider.get_attribute("aria-valuetext") != "no limit"
        assert "y=usd_right" in opened.url
        assert "hire=0" in opened.url
        assert "seconds=" in opened.url
        kept = status.inner_text()
        opened.reload()
        opened.wait_for_timeout(500)
        assert status.inner_text() == kept
        assert opened.get_by_label("Vertical axis").input_value() == "usd_right"
        opened.get_by_role("button", name="Reset").click()
        assert opened.url.endswith("#")

    def test_a_record_without_a_right_answer_never_wins(self, opened: Any) -> None:
        best = opened.locator("[data-best] tbody tr").nth(1).locator("td").first
        slider = opened.get_by_role("slider", name="Accuracy at least")
        top = opened.evaluate(
            "() => Math.max(...vlmnbExplore.points.map(p => vlmnbExplore.value(p, 'accuracy')?.[0] ?? 0))"
        )
        assert 0 < float(slider.get_attribute("aria-valuetext")) <= top / 2 + 0.005
        opened.evaluate("""() => {
          const { href } = document.querySelector('[data-best] tbody tr:nth-child(2) a');
          const won = vlmnbExplore.points.find((p) => href.endsWith(p.href.split('/').at(-1)));
          won.values.accuracy = [0, 0, 0.1];
        }""")
        fastest = best.inner_text()
        slider.focus()
        slider.press("Home")
        assert slider.get_attribute("aria-valuetext") == "no limit"
        assert "quality=0" in opened.url
        assert best.inner_text() != fastest

    def test_a_click_opens_the_record_and_keys_move_from_point_to_point(self, opened: Any) -> None:
        chart = opened.locator("[data-chart]")
        chart.focus()
        chart.press("ArrowRight")
        link = opened.locator("[data-detail] a").first
        first = link.get_attribute("href")
        chart.press("ArrowRight")
        assert first != link.get_attribute("href")
        chart.press("ArrowLeft")
        assert link.get_attribute("href") == first
        ring = chart.locator("svg").nth(1).locator("g[aria-label=dot]").last.locator("path, circle")
        opened.wait_for_timeout(600)  # the page glides to what has the focus
        box = ring.first.bounding_box()
        opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        opened.wait_for_timeout(300)
        assert "Record " in chart.locator("g[aria-label=tip]").text_content()
        opened.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        opened.wait_for_url("**/downloads/records/**")

    def test_a_tap_shows_the_record_below_the_plot(self, site: Path) -> None:
        with browser.started() as chromium:
            page = chromium.new_context(has_touch=True, is_mobile=True).new_page()
            page.goto((site / "book/generated/explore.html").as_uri())
            dot = page.locator("[data-chart] svg").nth(1).locator("g[aria-label=dot] path").first
            dot.scroll_into_view_if_needed()
            box = dot.bounding_box()
            page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            assert "/downloads/records/" in page.locator("[data-detail] a").first.get_attribute("href")
            assert page.url.split("#")[0].endswith("explore.html")

    def test_kinds_and_data_sets_have_panels_of_their_own(self, opened: Any) -> None:
        opened.evaluate(ALL_KINDS)
        opened.wait_for_timeout(500)
        assert "kinds, each with a panel of its own" in opened.locator("[data-status]").inner_text()
        panels = opened.locator("[data-chart] svg").nth(1).locator("g[aria-label=frame] rect").count()
        groups = opened.evaluate(
            "new Set([...document.querySelectorAll('[data-best] caption')].map(c => c.textContent)).size"
        )
        assert 1 < panels <= groups


def _difference(one: Record, other: Record, floor: float) -> Any:
    if one.batches_under_load or other.batches_under_load:
        return None
    return series.latency_difference(one, other, floor, per_sample=True)
