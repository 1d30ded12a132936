"""What background load disturbed is measured once more at the end of a sweep, if the machine is quiet."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factory import STEADY, cell, changed, record
from rich.console import Console

from vlmnb.cli import sweep_command
from vlmnb.device import load
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.records import record_file
from vlmnb.spec.planning import Run
from vlmnb.sweep import inventory, local, options
from vlmnb.sweep.inventory import CellState, Job
from vlmnb.sweep.progress import Progress

BUSY = Conditions(start=DeviceState(), end=DeviceState(), other_load=0.5, contaminated=True)


def jobs(results: Path) -> list[Job]:
    """A run with a cell that others disturbed, and one without."""
    states = []
    for size, busy in ((1, True), (4, False)):
        made = record(cell(batch_size=size), latencies=STEADY, key=f"{size}" * 16)
        made = changed(made, "provenance", conditions=BUSY) if busy else made
        path = record_file.write(made, results)
        states.append(
            CellState(cell=made.cell, path=path, state="recorded", status="ok", shown=f"digest {size}")
        )
    run = Run(model="llava-tiny", axis="batch_size", parameters={})
    return [Job(run=run, cells=tuple(states), page="current")]


@pytest.mark.parametrize(("share", "again"), [(0.01, ["digest 1"]), (0.6, [])])
def test_disturbed_cells_are_measured_again_on_a_quiet_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, again: list[str]
) -> None:
    found, tried = jobs(tmp_path), []
    monkeypatch.setattr(load.BackgroundLoad, "share", lambda _: share)
    monkeypatch.setattr(sweep_command, "QUIET_S", 0.0)

    def execute(sweep: Any, todo: list[Job]) -> list[Any]:
        tried.extend(state.shown for job in todo for state in job.wanted(sweep.remeasure))
        return []

    monkeypatch.setattr(local, "local", execute)
    asked = options.Asked(spec=Path("sweeps/quickstart.yaml"), results=tmp_path, runs=tmp_path)
    progress = Progress(found, [], Console(quiet=True), results=tmp_path)
    every = {state.path for state in found[0].cells}
    assert inventory.disturbed(found, set()) == frozenset(), "only what this sweep measured"
    sweep_command._without_load(found, every, [], asked, progress, Console(quiet=True), asked)
    assert tried == again


def test_pages_older_than_the_repeats_of_a_later_run_are_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(name: str, page: str, *, wanted: bool = False) -> Any:
        return SimpleNamespace(run=SimpleNamespace(name=name), page=page, wanted=lambda *_: [name] * wanted)

    def result(name: str, kind: str = "ok") -> Any:
        return SimpleNamespace(run=SimpleNamespace(name=name), kind=kind)

    drawn: list[str] = []

    def launch(_: Any, late: list[Any]) -> list[Any]:
        drawn.extend(one.run.name for one in late)
        return [result(one.run.name) for one in late]

    monkeypatch.setattr("vlmnb.sweep.local.local", launch)
    monkeypatch.setattr("vlmnb.sweep.progress.Progress", lambda *_, **__: contextlib.nullcontext())
    late = [job("early", "outdated"), job("now", "current"), job("broken", "outdated")]
    late.append(job("open", "outdated", wanted=True))
    results = [result("early"), result("now"), result("broken", "failed"), result("open")]
    asked: Any = SimpleNamespace(spec=Path("sweeps/repeat.yaml"), command="c")
    execution: Any = SimpleNamespace(results=tmp_path, runs=tmp_path)
    made = sweep_command._drawn_again(late, results, execution, Console(), asked)
    assert drawn == ["early"]
    assert sorted(one.run.name for one in made) == ["broken", "early", "now", "open"]
