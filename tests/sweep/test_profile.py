"""Where a sweep's time went: stages of notebooks and of the cells that they measured."""

from __future__ import annotations

import json
from pathlib import Path

import factory
import pytest

from vlmnb.analysis import time_spent
from vlmnb.errors import UserError
from vlmnb.records import record_file, turns
from vlmnb.sweep import profile


def at(second: float) -> str:
    return f"2026-03-01T10:00:{second:09.6f}+00:00"


def page(runs: Path, axis: str, began: float, keys: list[str]) -> None:
    """An executed notebook of 15 s: 2 s until its first cell, 9 s of measuring, 3 s of drawing."""

    def cell(source: str, start: float, seconds: float, **more: object) -> dict[str, object]:
        return {
            "cell_type": "code", "source": source, **more,
            "metadata": {"papermill": {"start_time": at(start), "duration": seconds}},
        }  # fmt: skip

    cells = [
        cell("records = experiment.records(plan)", began + 2, 9.0),
        cell("experiment.show_table(plan, records)", began + 11, 3.0, outputs=keys),
    ]
    whole = {"start_time": at(began), "end_time": at(began + 15), "parameters": {"model": "llava-tiny"}}
    (runs / "llava-tiny").mkdir(parents=True, exist_ok=True)
    content = {"cells": cells, "metadata": {"papermill": whole}}
    (runs / "llava-tiny" / f"{axis}.ipynb").write_text(json.dumps(content))


def test_the_stages_of_notebooks_and_of_their_cells_add_up(tmp_path: Path) -> None:
    results, runs = tmp_path / "results", tmp_path / "runs"
    spent = {"load": 1.0, "warm-up": 1.5, "window": 4.0}
    records = [
        factory.changed(
            factory.record(key=f"{number:016x}"), "provenance", seconds=7.0, stages=spent, started_at=started
        )
        for number, started in enumerate((at(5), "2026-02-01T10:00:00+00:00"))
    ]
    for made in records:
        record_file.write(made, results)
    timings = {made.key: factory.but(made.timing, loop_s=0.5) for made in records if made.timing}
    for number, started in enumerate((at(9), "2026-02-01T10:00:00+00:00")):
        taken = turns.Turns(name=f"{number}" * 16, started_at=started, seconds=1.5, timings=timings)
        turns.write(taken, results, records[0].hardware, "llava-tiny")
    page(runs, "device", 0.0, [made.key for made in records])
    page(runs, "batch_size", 10.0, [])
    found = profile.of(results, runs)
    assert (found.notebooks, found.cells, found.wall_s) == (2, 1, 25.0), "one record is older than the page"
    assert found.on_record == 1
    assert "1 cell measured and 1 shown that were on record before" in profile.lines(found)[-2]
    assert found.stages[profile.KERNEL] == pytest.approx(4.0)
    assert found.stages[profile.AROUND] == pytest.approx(18.0 - 7.0 - 1.5)
    assert found.stages[profile.TURNS] == pytest.approx(1.0), "the older turns are not of this notebook"
    assert found.stages[profile.PREPARED] == pytest.approx(0.5)
    assert found.stages[time_spent.STAGES[""]] == pytest.approx(0.5)
    assert found.stages[profile.DRAWN] == pytest.approx(6.0)
    assert sum(found.stages.values()) == pytest.approx(30.0)
    assert found.window_share == pytest.approx((4 + 1) / 25)
    assert len([line for line in profile.lines(found) if "timed windows" in line]) == 2


def test_without_notebooks_there_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vlmnb sweep"):
        profile.of(tmp_path, tmp_path)
