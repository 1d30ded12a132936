"""Which device a run gets, and that no device measures two things at a time."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from stored import measured

from vlmnb.device import machine, slots
from vlmnb.device.machine import Machine
from vlmnb.device.state import Gpu
from vlmnb.files import locks
from vlmnb.records import record_file
from vlmnb.sweep import execute, heartbeat, inventory, local, options, progress, scheduler, slurm, status
from vlmnb.sweep.execute import ExecutionOptions, RunResult
from vlmnb.sweep.inventory import Job


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """This machine, with two GPUs that are none."""
    one = Gpu(name="NVIDIA X", uuid="GPU-a", memory_bytes=2**30, driver="1", power_limit_w=None)
    made = machine.describe().model_copy(update={"gpus": (one, one.model_copy(update={"uuid": "GPU-b"}))})
    monkeypatch.setattr(machine, "describe", lambda: made)
    mine = locks.Locks(tmp_path / "slots")  # other sweeps may be at work on this machine
    monkeypatch.setattr(slots, "_locks", lambda: mine)
    return made


def jobs(tmp_path: Path, device: str, axis_count: int = 3) -> list[Job]:
    spec = tmp_path / "s.yaml"
    names = ["llava-tiny", "fuyu-tiny", "qwen2.5-vl-tiny"][:axis_count]
    content = {"title": "T", "models": names,
               "parameters": {"samples": 4, "device": device, "length": "natural"},
               "axes": {"batch_size": {"batch_sizes": [1, 2]}, "seq_len": {"seq_lens": [50]}}}  # fmt: skip
    spec.write_text(json.dumps(content))
    return inventory.jobs(inventory.load(spec), tmp_path / "results", tmp_path / "runs")


def run_all(
    tmp_path: Path, todo: list[Job], monkeypatch: pytest.MonkeyPatch, devices: int
) -> list[tuple[str, str, int]]:
    """Execute jobs with a stand-in for papermill: run, device, and runs at work on any device.

    The first run of each device waits until as many devices are at work as are expected.
    """
    seen: list[tuple[str, str, int]] = []
    busy: dict[str, int] = {}
    guard, all_at_work = threading.Lock(), threading.Event()

    def stand_in(begun, on_poll, stop) -> RunResult:  # type: ignore[no-untyped-def]
        run, slot = begun.run, begun.slot
        with guard:
            busy[slot.name] = busy.get(slot.name, 0) + 1
            seen.append((run.name, str(slot.visible), sum(busy.values())))
            if len(busy) == devices:
                all_at_work.set()
        assert all_at_work.wait(60)
        for state in next(job for job in todo if job.run == run).cells:
            record_file.write(measured(state.cell), setting.results)
        with guard:
            assert busy[slot.name] == 1
            busy[slot.name] = 0
        return RunResult(run=run)

    monkeypatch.setattr(execute, "execute", stand_in)
    monkeypatch.setattr(
        local, "StartedRun", lambda run, options, slot, again, _: SimpleNamespace(run=run, slot=slot)
    )
    setting = ExecutionOptions(results=tmp_path / "results", runs=tmp_path / "runs", threads=1)
    shown = progress.Progress(todo, [], Console(file=io.StringIO()), results=tmp_path / "results")
    outcomes = local.local(scheduler.Sweep(setting, inventory.Remeasure(), shown), todo)
    assert [outcome.kind for outcome in outcomes] == ["ok"] * len(todo)
    return seen


def test_gpu_runs_share_the_gpus_one_at_a_time_each(
    tmp_path: Path, two_gpus: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = run_all(tmp_path, jobs(tmp_path, "cuda"), monkeypatch, 2)
    assert {visible for _, visible, _ in seen} == {"GPU-a", "GPU-b"}
    assert len({name for name, _, _ in seen}) == len(seen) == 6


def test_what_measures_on_the_cpu_has_the_machine_to_itself(
    tmp_path: Path, two_gpus: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = run_all(tmp_path, jobs(tmp_path, "cpu"), monkeypatch, 1)
    assert [others for _, _, others in seen] == [1] * 6


def test_a_runs_environment_names_device_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = slots.environment(slots.Slot(name="GPU-a", visible="GPU-a"), 8)
    assert made["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    assert made["OMP_NUM_THREADS"] == made["VLMNB_THREADS"] == "8"
    assert "CUDA_VISIBLE_DEVICES" not in slots.environment(slots.CPU, 8)


def test_the_slurm_script_has_one_task_per_unfinished_run(
    tmp_path: Path, two_gpus: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = jobs(tmp_path, "cuda")
    asked = options.Asked(spec=tmp_path / "s.yaml", results=tmp_path / "results", runs=tmp_path / "runs")
    script = slurm.script(asked)
    assert "--array=0-5" in script
    assert "--gres=gpu:1" in script
    assert "--exclusive" not in script
    assert all(job.run.name in script for job in todo)
    (tmp_path / "runs").mkdir()
    for state in todo[0].cells:
        record_file.write(measured(state.cell), tmp_path / "results")
    assert f"{todo[0].run.name}  # its page" in slurm.script(asked)


@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r", "\u2028"])
def test_a_title_of_several_lines_is_one_comment_in_the_slurm_script(tmp_path: Path, break_: str) -> None:
    jobs(tmp_path, "cpu", 1)
    spec = tmp_path / "s.yaml"
    spec.write_text(json.dumps(json.loads(spec.read_text()) | {"title": f"Nightly{break_}touch x #\x1b[2J"}))
    script = slurm.script(options.Asked(spec=spec, results=tmp_path / "results", runs=tmp_path / "runs"))
    said = [line for line in script.splitlines() if "touch x" in line]
    assert len(said) == 1
    assert said[0].startswith("# Nightly touch x # [2J: 2 runs")


def test_status_says_what_is_there_in_words(tmp_path: Path) -> None:
    todo = jobs(tmp_path, "cpu", 1)
    first = todo[0].cells[0]
    record_file.write(
        measured(first.cell, status="failed", reason="a reason"),
        tmp_path / "results",
    )
    said = "\n".join(status.lines(jobs(tmp_path, "cpu", 1), cells=True))
    assert "1 of 2   cells recorded; page missing" in said
    assert "a reason" in said
    assert "--retry-failed" in said
    assert "page missing: not made yet" in said
    assert "to measure: textvqa-mini, cpu, fp32, batch 2" in said


def test_a_terminal_shows_a_bar_with_done_and_running_work(tmp_path: Path) -> None:
    todo = jobs(tmp_path, "cpu", 1)
    wanted = [state for job in todo for state in job.cells]
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with progress.Progress(todo, wanted, console, results=tmp_path / "results") as shown:
        record_file.write(measured(wanted[0].cell), tmp_path / "results")
        shown.doing("cpu", todo[0].run.name, "a cell")
        shown.announce("something once")
        shown.announce("something once")
    said = console.file.getvalue()
    assert f"1/{len(wanted)}" in said
    assert f"{todo[0].run.name}: a cell" in said
    assert said.count("something once") == 1


def test_time_left_and_ended_sweeps_are_told(tmp_path: Path) -> None:
    todo = jobs(tmp_path, "cpu", 1)
    wanted = [state for job in todo for state in job.cells]
    shown = progress.Progress(todo, wanted, Console(file=io.StringIO()), results=tmp_path / "results",
                              spec="s.yaml", command="vlmnb sweep s.yaml")  # fmt: skip
    with shown:
        record_file.write(measured(wanted[0].cell), tmp_path / "results")
        shown.doing("cpu", todo[0].run.name, "a cell")
        assert shown.now().remaining_s is None, "written before it began: by another sweep"
        record_file.write(measured(wanted[1].cell), tmp_path / "results")
        shown.doing("cpu", todo[0].run.name, "a cell")
        standing = shown.now()
        assert (standing.done, standing.measured, standing.ended) == (2, 1, "")
        assert standing.remaining_s is not None
        assert standing.current["cpu"].cell == "a cell"
    ((last, at_work),) = heartbeat.read_all(tmp_path / "results")
    assert (last.ended, at_work) == ("finished", False)
