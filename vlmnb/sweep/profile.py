"""Where the time of a sweep went, by stage: from the times in executed notebooks and in records."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from vlmnb.analysis import time_spent
from vlmnb.errors import UserError
from vlmnb.records import record_file, turns
from vlmnb.stats.formatting import counted
from vlmnb.types import Frozen

KERNEL, AROUND = "Jupyter kernels started", "imports, waiting for the device, records written"
TURNS, PREPARED = "turns: timed", "turns: models loaded, batches prepared, warm-up"
DRAWN, PAPERMILL = "tables and plots drawn", "papermill"


class Profile(Frozen):
    """Seconds of the notebooks in a folder, by stage.

    Attributes:
        wall_s: Time in which at least one of them was executed: the next starts while one draws its page.
        cells: Cells that they measured when they were last executed.
        on_record: Cells that they show and that were on record before, as on a page drawn again.
    """

    wall_s: float
    notebooks: int
    cells: int
    on_record: int
    stages: dict[str, float]

    @property
    def window_share(self) -> float:
        """Share of the wall time in which something was timed: in windows and in turns."""
        return sum(self.stages.get(name, 0.0) for name in (time_spent.WINDOW, TURNS)) / self.wall_s


def of(results: Path, runs: Path) -> Profile:
    """Return where the time went of the notebooks in a folder, as they were last executed.

    Raises:
        UserError: There is none.
    """
    spent: defaultdict[str, float] = defaultdict(float)
    intervals: list[tuple[float, float]] = []
    cells: set[str] = set()
    shown: set[str] = set()
    for page in sorted(runs.glob("*/[!.]*.ipynb")):
        notebook = json.loads(page.read_text(encoding="utf-8"))
        whole = notebook["metadata"].get("papermill") or {}
        timed = [(cell, cell["metadata"].get("papermill") or {}) for cell in notebook["cells"]]
        timed = [(cell, times) for cell, times in timed if times.get("start_time")]
        if page.parent.name == "failures" or not whole.get("end_time") or not timed:
            continue
        began, ended = _time(whole["start_time"]), _time(whole["end_time"])
        intervals.append((began, ended))
        model = (whole.get("parameters") or {}).get("model", page.parent.name)
        keys = json.dumps(notebook["cells"])
        own = [record for record in record_file.read_all(results, model)[0] if record.key in keys]
        shown.update(record.key for record in own)
        measured = [
            record
            for record in own
            if record.provenance.stages and int(began) <= _time(record.provenance.started_at) <= ended
        ]  # fmt: skip
        cells.update(record.key for record in measured)
        taken = [
            one
            for one in turns.read(results, model)
            if one.timings.keys() & shown and int(began) <= _time(one.started_at) <= ended
        ]
        timed_s = sum(timing.loop_s for one in taken for timing in one.timings.values())
        turns_s = sum(one.seconds or 0.0 for one in taken)
        for stage, seconds in time_spent.of_cells(measured).items():
            spent[stage] += seconds
        measuring = sum(_seconds(times) for cell, times in timed if _measures(cell))
        drawing = sum(_seconds(times) for cell, times in timed if not _measures(cell))
        start = _time(timed[0][1]["start_time"]) - began
        on_cells = sum(record.provenance.seconds or 0.0 for record in measured)
        spent[KERNEL] += start
        spent[TURNS] += timed_s
        spent[PREPARED] += max(0.0, turns_s - timed_s)
        spent[AROUND] += max(0.0, measuring - on_cells - max(turns_s, timed_s))
        spent[DRAWN] += drawing
        spent[PAPERMILL] += max(0.0, ended - began - start - measuring - drawing)
    if not intervals:
        raise UserError(f"there is no executed notebook in {runs}; make some with: vlmnb sweep SPEC")
    order = (KERNEL, AROUND, *time_spent.STAGES.values(), TURNS, PREPARED, DRAWN, PAPERMILL)
    stages = {name: spent[name] for name in order if spent.get(name)}
    return Profile(
        wall_s=_covered(intervals), notebooks=len(intervals), cells=len(cells),
        on_record=len(shown - cells), stages=stages,
    )  # fmt: skip


def lines(found: Profile) -> list[str]:
    """Return a profile as a table for people."""
    total = sum(found.stages.values())
    width = max(map(len, found.stages))
    rows = [f"{'':{width}} {'seconds':>9} {'share':>7} {'a notebook':>11}"]
    for name, seconds in found.stages.items():
        each = seconds / found.notebooks
        rows.append(f"{name:{width}} {seconds:9.1f} {seconds / total:7.1%} {each:11.2f}")
    what = f"{counted(found.notebooks, 'notebook')}, {counted(found.cells, 'cell')} measured"
    what += f" and {found.on_record} shown that were on record before" if found.on_record else ""
    share = f"{found.window_share:.0%} of it inside timed windows and turns"
    rows.append(f"\n{what}: {found.wall_s:.1f} s, {share}.")
    rows.append("A notebook starts up while the one before it draws its page, so the stages add up to more.")
    return rows


def _measures(cell: dict[str, Any]) -> bool:
    return "experiment.records" in "".join(cell["source"])


def _seconds(times: dict[str, Any]) -> float:
    return float(times.get("duration") or 0.0)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _covered(intervals: list[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    covered, until = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        covered += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return covered
