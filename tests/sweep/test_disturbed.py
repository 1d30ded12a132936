"""What background load disturbed is measured once more at the end of a sweep, if the machine is quiet."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from background import disturbed
from factory import STEADY, but, cell, changed, record
from reusing import reused
from rich.console import Console
from stored import measured

from vlmnb import paths
from vlmnb.cli import sweep_command
from vlmnb.device import load
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.records import record_file, turns
from vlmnb.records.turns import Turns
from vlmnb.spec import axes
from vlmnb.spec.planning import Run
from vlmnb.sweep import inventory, local, options
from vlmnb.sweep.execute import RunResult
from vlmnb.sweep.inventory import CellState, Job
from vlmnb.sweep.progress import Progress

SILENT: Any = None
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
@pytest.mark.parametrize("last", [False, True])
def test_disturbed_cells_are_measured_again_on_a_quiet_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, again: list[str], last: bool
) -> None:
    found, tried, said = jobs(tmp_path), list[str](), io.StringIO()
    monkeypatch.setattr(load.BackgroundLoad, "share", lambda _: share)
    monkeypatch.setattr(sweep_command, "QUIET_S", 0.0)

    def execute(sweep: Any, todo: list[Job]) -> list[Any]:
        tried.extend(state.shown for job in todo for state in job.wanted(sweep.remeasure))
        return []

    monkeypatch.setattr(local, "local", execute)
    asked = options.Asked(spec=Path("sweeps/quickstart.yaml"), results=tmp_path, runs=tmp_path)
    progress = Progress(found, [], Console(file=said), results=tmp_path)
    every = {state.path for state in found[0].cells}
    assert inventory.disturbed(found, set()) == frozenset(), "only what this sweep measured"
    on = sweep_command.Again(asked, progress, Console(quiet=True), asked)
    results, left = on.without_load(found, every, [], last=last)
    assert (results, tried) == ([], again)
    assert left == (set() if again else every)
    assert ("which they still do" in said.getvalue()) == (last and not again)


@pytest.mark.parametrize(("busy", "again"), [((True, True), {1, 4}), ((True, False), set())])
def test_cells_of_a_quiet_window_whose_turns_others_disturbed_are_measured_again(
    tmp_path: Path, busy: tuple[bool, bool], again: set[int]
) -> None:
    found = [job.model_copy(update={"cells": job.cells[::-1]}) for job in jobs(tmp_path)]
    for state in found[0].cells:
        record_file.write(changed(record_file.read(state.path), "provenance", conditions=None), tmp_path)
    every = {state.path for state in found[0].cells}
    assert inventory.disturbed(found, every) == frozenset()
    timings = {}
    for state in found[0].cells:
        timing = record_file.read(state.path).timing
        assert timing
        timings[state.key] = but(
            timing, latencies_s=timing.latencies_s + tuple(2 * s for s in timing.latencies_s),
            batch_samples=timing.batch_samples * 2, passes=2,
            pass_loads=(0.2, 0.1), contaminated=busy, turns="t",
        )  # fmt: skip
    made = Turns(name="t", started_at="2026-01-01T00:00:00+00:00", timings=timings)
    turns.write(made, tmp_path, found[0].cells[0].path.parts[-3], "llava-tiny")
    assert inventory.disturbed(found, every) == {f"digest {size}" for size in again}
    assert inventory.disturbed(found, set()) == frozenset()


@pytest.mark.parametrize("load", [0.0, 0.5])
def test_reuse_and_preparation_that_others_disturbed_are_measured_again(tmp_path: Path, load: float) -> None:
    made = disturbed(reused(), load) if load else reused()
    path = record_file.write(made, tmp_path)
    state = CellState(cell=made.cell, path=path, state="recorded", status="ok", shown="digest")
    run = Run(model="llava-tiny", axis="reuse", parameters={})
    found = inventory.disturbed([Job(run=run, cells=(state,), page="current")], {path})
    assert found == ({"digest"} if load else set())


def test_repeats_are_spread_and_complete_before_a_page_that_shows_the_noise_floor_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, executed, busy = tmp_path / "s.yaml", list[tuple[str, int]](), [BUSY]
    parameters = {"samples": 16, "device": "cpu", "length": "natural"}
    measured_axes = {
        "visual_tokens": {"optimizations": ["fp32"]}, "batch_size": {"batch_sizes": [16]},
        "repeat": {"datasets": ["textvqa-mini"], "repeats": [1, 2, 3]},
    }  # fmt: skip
    models = ["llava-tiny", "fuyu-tiny"]
    content = {"title": "T", "models": models, "parameters": parameters, "axes": measured_axes}
    spec.write_text(json.dumps(content))
    monkeypatch.setattr(load.BackgroundLoad, "share", lambda _: 0.0)
    monkeypatch.setattr(sweep_command, "QUIET_S", 0.0)

    def execute(sweep: Any, todo: list[Job]) -> list[RunResult]:
        todo = [job for job in map(sweep.now, todo) if job.needs_work(sweep.remeasure)]
        for job in todo:
            wanted = job.wanted(sweep.remeasure)
            executed.append((job.run.axis, len(wanted)))
            for state in wanted:
                made = changed(measured(state.cell), "provenance", conditions=busy.pop() if busy else None)
                record_file.write(but(made, timing=record(latencies=STEADY).timing), tmp_path / "results")
            page = paths.executed(tmp_path / "runs", job.run.model, job.run.axis)
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(axes.NOISE_FLOOR * job.run.plan.axis.noise_floor)
            inventory.mark_page(sweep.now(job), tmp_path / "runs")
        return [RunResult(run=job.run) for job in todo]

    monkeypatch.setattr(local, "local", execute)
    asked = options.Asked(spec=spec, results=tmp_path / "results", runs=tmp_path / "runs", threads=1)
    assert sweep_command.run(asked) == sweep_command.OK
    early = [("repeat", 1)] * 2 + [("batch_size", 1)] * 2
    again = [("repeat", 1)]
    assert executed == early + [("repeat", 2)] * 2 + again + [("visual_tokens", 1)] * 2
    pages = inventory.jobs(options.planned(asked)[0], tmp_path / "results", tmp_path / "runs")
    assert {job.page for job in pages} == {"current"}
    assert sweep_command.run(asked) == sweep_command.OK
    assert len(executed) == 9, "nothing is made twice"


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
    asked: Any = SimpleNamespace(spec=Path("sweeps/repeat.yaml"), others=(), command="c")
    execution: Any = SimpleNamespace(results=tmp_path, runs=tmp_path)
    made = sweep_command.Again(execution, SILENT, Console(), asked).drawn(late, results)
    assert drawn == ["early"]
    assert sorted(one.run.name for one in made) == ["broken", "early", "now", "open"]


@pytest.mark.parametrize(
    ("again", "wanted", "early"), [([], [], True), (["k"], [], False), ([], ["f"], False)]
)
def test_a_page_that_measures_nothing_is_begun_while_another_is_drawn(
    monkeypatch: pytest.MonkeyPatch, again: list[str], wanted: list[str], early: bool
) -> None:
    begun: list[str] = []

    def job(name: str, cells: list[str]) -> Any:
        def of(remeasure: inventory.Remeasure = inventory.NOTHING_AGAIN) -> list[str]:
            return [] if remeasure == inventory.NOTHING_AGAIN else cells

        return SimpleNamespace(run=name, wanted=of, needs_work=lambda *_: True)

    def start(run: str, *_: Any) -> Any:
        begun.append(run)
        return SimpleNamespace(run=run, close=lambda: None)

    def execute(begun: Any, poll: Any, stop: Any) -> str:
        poll("")
        return str(begun.run)

    monkeypatch.setattr(local, "StartedRun", start)
    monkeypatch.setattr(local.execute, "execute", execute)
    monkeypatch.setattr(local.slots, "awaited", lambda _: False)
    second = inventory.Remeasure(disturbed=frozenset({"d"}))
    sweep: Any = SimpleNamespace(
        stop=SimpleNamespace(is_set=lambda: False), now=lambda job: job, remeasure=second, options=None,
        parents=None,
    )  # fmt: skip
    relay = local._Relay(sweep, local.slots.CPU)
    relay.following = job("following", wanted)
    assert relay(job("now", again), again, lambda _: None) == "now"
    assert begun == ["now", *["following"] * early]
