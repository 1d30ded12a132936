"""A page shows the times of turns, and a reader can have them raw."""

from __future__ import annotations

from pathlib import Path

import bookmaking
import pytest
from factory import but

from vlmnb.book import collect
from vlmnb.book.content import Content
from vlmnb.book.pages import run
from vlmnb.records import record_file, turns
from vlmnb.records.turns import Turns


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
