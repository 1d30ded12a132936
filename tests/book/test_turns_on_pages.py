"""A page shows the times of turns, names their file and links it, or says that others show such times."""

from __future__ import annotations

from pathlib import Path

import bookmaking
import pytest
from factory import but

from vlmnb.analysis import base_configuration
from vlmnb.book import collect, content
from vlmnb.book.content import Content, Page
from vlmnb.book.pages import axis, comparison, model, run
from vlmnb.records import record_file, turns
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.spec import planning
from vlmnb.views import detail_table, fields, pareto_figure, repeat_table
from vlmnb.views.fields import Show

MODEL = "llava-tiny"


def test_pages_show_turns_and_link_their_raw_times(tmp_path: Path) -> None:
    made = bookmaking.small(tmp_path)
    records, _ = record_file.read_all(made.results)
    timed = [r for r in records if r.timing and r.cell.device == "cpu" and r.cell.length == "natural"][:2]
    name = turns.name(one.key for one in timed)
    timings = {
        one.key: but(one.timing, turns=name, latencies_s=tuple(2 * s for s in one.timing.latencies_s))
        for one in timed
        if one.timing
    }
    known = Turns(name=name, started_at="2026-01-01T00:00:00+00:00", timings=timings)
    turns.write(known, made.results, timed[0].hardware, "llava-tiny")
    keys = ", ".join(f'<td data-key="{one.key}"></td>' for one in timed)
    page = collect.pages(
        {("llava-tiny", "image_size"): {"cells": [keys], "metadata": {}}},
        records,
        (),
        {},
        turns.read(made.results),
    )[0]
    assert [one.latency_s for one in page.records] == [
        pytest.approx(2 * (one.latency_s or 0)) for one in timed
    ]
    assert f"downloads/turns/{name}.json" in run.closing(page)
    files = collect.downloads(Content(tuple(records), (page,), turns=(known,)), made.results)
    (raw,) = [content for file, content in files.items() if file.endswith(f"turns/{name}.json")]
    assert Turns.model_validate_json(raw) == known


def by_batch_size() -> tuple[list[Record], Turns, Page]:
    """Records by batch size with times of their own windows, turns that took twice as long, and the page."""
    given = bookmaking.parameters(MODEL, "batch_size")
    own = [bookmaking.measured(cell) for cell in planning.plan("batch_size", given).of_length("natural")]
    name = turns.name(one.key for one in own)
    timings = {
        one.key: but(one.timing, turns=name, latencies_s=tuple(2 * s for s in one.timing.latencies_s))
        for one in own
        if one.timing
    }
    known = Turns(name=name, started_at="2026-01-01T00:00:00+00:00", timings=timings)
    return own, known, Page(MODEL, "batch_size", "", given, tuple(turns.shown(own, [known])))


@pytest.mark.parametrize(
    "show",
    [
        fields.latency,
        fields.ms_per_image,
        fields.images_per_s,
        fields.time(lambda record: record.samples_per_s),
        detail_table.verdict,
    ],
)
def test_the_tooltip_of_a_time_names_the_file_of_turns_that_it_is_from(show: Show) -> None:
    own, known, page = by_batch_size()
    assert f"turns/{known.name}.json" in show(page.records[0]).title
    assert "turns" not in show(own[0]).title


def test_the_tooltip_of_a_ratio_names_all_files_of_turns_that_it_is_from() -> None:
    own, known, _ = by_batch_size()
    again = Turns(
        name="again", started_at="2026-02-01T00:00:00+00:00",
        timings={key: but(timing, turns="again") for key, timing in known.timings.items()},
    )  # fmt: skip
    first, second = turns.shown(own, [known, again])[:2]
    title = fields.percent(second, first, "latency_percent", 0.2).title
    assert [title.count(f"turns/{name}.json") for name in (known.name, "again")] == [1, 1]
    assert ".json" not in fields.percent(own[1], own[0], "latency_percent", 0.2).title


def test_a_page_across_models_links_the_files_of_turns_by_model() -> None:
    own, known, page = by_batch_size()
    text, _ = axis.page(Content(tuple(own), (page,), turns=(known,)), "batch_size")
    address = f'href="../../downloads/turns/{known.name}.json"'
    assert text.count(address) == 1
    assert text.count(f"see turns/{known.name}.json") == 3 * len(own) - 1, "time, speed and ratio of each row"
    assert content.model_title(MODEL) in next(line for line in text.splitlines() if address in line)
    assert repeat_table.windows(page.records, [known]) == "", "the rows took turns"
    windows, _ = axis.page(Content(tuple(own), (but_windows(page, own),)), "batch_size")
    assert "downloads/turns" not in windows


def test_pages_of_windows_say_that_other_pages_show_turns_of_the_same_cells() -> None:
    own, known, page = by_batch_size()
    said = repeat_table.windows(own, [known])
    assert said
    assert repeat_table.windows(own, [Turns(name="t", started_at="", timings={})]) == ""
    windows = but_windows(page, own)
    for book, shown in (
        (Content(tuple(own), (windows,), turns=(known,)), True),
        (Content(tuple(own)), False),
    ):
        ((setup, results),) = base_configuration.base_results(own).items()
        assert (said in pareto_figure.notice(own, setup, results, book.turns)) == shown
        pages = [comparison.page(book), model.page(book, MODEL), run.closing(windows, book.turns)]
        assert [said in text for text in (*pages, axis.page(book, "batch_size")[0])] == [shown] * 4


def but_windows(page: Page, own: list[Record]) -> Page:
    return Page(page.model, page.axis, "", page.parameters, tuple(own))
