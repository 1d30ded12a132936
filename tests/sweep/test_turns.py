"""Processes take turns on the devices of a machine: who waits for whom, and in which order."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from fakes import Checkout, processes_of, wait_for
from rich.console import Console
from stored import job_of, measured

from vlmnb.device import slots
from vlmnb.files import locks, temporary
from vlmnb.records import record_file
from vlmnb.sweep import execute, inventory, local, progress, scheduler, status
from vlmnb.sweep.execute import ExecutionOptions, RunResult
from vlmnb.sweep.inventory import Job
from vlmnb.sweep.ray import cluster

Fork = Callable[[Callable[[], object]], int]


@pytest.fixture
def children() -> Iterator[Fork]:
    """Forks a process that calls a function and ends; those that are left at the end are killed."""
    pids: list[int] = []

    def fork(do: Callable[[], object]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                do()
            finally:
                os._exit(0)
        pids.append(pid)
        return pid

    yield fork
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Locks of this test alone."""
    monkeypatch.setenv(locks.LOCKS, str(tmp_path))
    slots._locks.cache_clear()
    yield
    slots._locks.cache_clear()


def stand_in_line(folder: Path, name: str) -> None:
    """Take a lock once from another process; note when it is in line, and when it had the lock."""
    line = locks.Line(locks.Locks(folder / "lock"), "cpu")
    line.take()
    (folder / f"waits-{name}").touch()
    while not line.take():
        time.sleep(0.01)
    with (folder / "order").open("a") as file:
        file.write(name)
    line.leave()


def test_a_line_is_first_come_first_served(tmp_path: Path, children: Fork) -> None:
    mine = locks.Line(locks.Locks(tmp_path / "lock"), "cpu")
    assert mine.take()
    for name in "BCDE":
        pid = children(lambda name=name: stand_in_line(tmp_path, name))
        wait_for((tmp_path / f"waits-{name}").exists)
        if name == "C":  # a process killed while it waits delays nobody
            os.kill(pid, signal.SIGKILL)
    assert mine.awaited()
    mine.leave()
    assert not mine.take(), "others came first"
    wait_for(mine.take)
    assert (tmp_path / "order").read_text() == "BDE"


def test_many_processes_get_a_lock_one_at_a_time(tmp_path: Path, children: Fork) -> None:
    def often() -> None:
        mine = locks.Locks(tmp_path / "lock")
        for _ in range(30):
            line = locks.Line(mine, "cpu")
            while not line.take():
                pass
            with (tmp_path / "log").open("a") as log:
                log.write("(")
                log.flush()
                log.write(")")
            line.leave()

    for pid in [children(often) for _ in range(4)]:
        os.waitpid(pid, 0)
    assert (tmp_path / "log").read_text() == "()" * 120


def test_the_lock_does_not_depend_on_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(locks.LOCKS, raising=False)
    opened = []
    monkeypatch.setattr(locks, "Locks", lambda path, everybody=False: opened.append((path, everybody)))
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
        slots._locks.__wrapped__()
    assert opened[0] == opened[1]
    path, everybody = opened[0]
    assert everybody
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o1777


def test_a_user_with_a_narrow_umask_waits_too(children: Fork, request: pytest.FixtureRequest) -> None:
    if os.getuid() != 0:
        pytest.skip("needs the right to become another user")
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    request.addfinalizer(lambda: shutil.rmtree(folder))
    folder.chmod(0o1777)
    told, tells = os.pipe()

    def other() -> None:
        os.umask(0o077)
        os.setuid(65534)
        assert locks.Locks(folder / "vlmnb.lock", everybody=True).take("cpu")
        os.write(tells, b"!")
        signal.pause()

    children(other)
    assert select.select([told], [], [], 60)[0]
    mine = locks.Locks(folder / "vlmnb.lock", everybody=True)
    assert not mine.take("cpu")
    assert mine.holder("cpu")


def test_without_a_common_folder_a_warning_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(locks.LOCKS, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(slots, "_of_everybody", lambda folder: False)
    assert slots._locks.__wrapped__().take("cpu")
    assert "other users of this machine are not waited for" in capsys.readouterr().err


def a_sweep(tmp_path: Path) -> tuple[Job, scheduler.Sweep, io.StringIO]:
    """A job, its sweep and what the sweep prints."""
    todo, said = job_of(tmp_path / "results", tmp_path), io.StringIO()
    shown = progress.Progress([todo], list(todo.cells), Console(file=said), results=tmp_path / "results")
    options = ExecutionOptions(results=tmp_path / "results", runs=tmp_path / "runs", threads=1)
    return todo, scheduler.Sweep(options, inventory.NOTHING_AGAIN, shown), said


def test_a_sweep_waiting_for_a_run_holds_no_device(tmp_path: Path, own_locks: None, children: Fork) -> None:
    """Another sweep holds the run and waits for this device: without the rule both would wait for ever."""
    todo, sweep, said = a_sweep(tmp_path)
    (tmp_path / "runs").mkdir(exist_ok=True)

    def other() -> None:
        theirs = locks.Locks(tmp_path / "runs" / ".runs.lock")
        theirs.take(todo.run.name)
        (tmp_path / "theirs").touch()
        wait_for((tmp_path / "waits").exists)
        device = locks.Line(slots._locks(), "cpu")
        wait_for(device.take)
        for state in todo.cells:
            record_file.write(measured(state.cell), tmp_path / "results")

    children(other)
    wait_for((tmp_path / "theirs").exists)
    began: list[str] = []

    def once(job: Job, again: object, on_poll: object) -> RunResult:
        began.extend(state.state for state in job.cells)
        return RunResult(run=job.run)

    sweep.before_waiting = (tmp_path / "waits").touch
    assert sweep.work(todo, once, "cpu", ["cpu"]) == RunResult(run=todo.run)
    assert began == ["recorded", "recorded"]
    assert "llava-tiny/batch_size: waiting: process " in said.getvalue()


def test_an_unexpected_error_of_a_run_ends_that_run_alone(tmp_path: Path, own_locks: None) -> None:
    todo, sweep, _ = a_sweep(tmp_path)
    result = sweep.work(todo, {}.__getitem__, "cpu", ["cpu"])
    assert (result.kind, result.error[:9], sweep.stop.is_set()) == ("infrastructure", "TypeError", False)
    begun = SimpleNamespace(
        run=todo.run,
        options=sweep.options,
        scratch=tmp_path,
        process=SimpleNamespace(returncode=errno.ENOSPC),
    )
    result = execute._result(begun)
    assert scheduler.disk_full(result)
    assert str(tmp_path) in result.error, "it had no room to say how it ended"


def test_waiting_is_not_part_of_the_remaining_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    todo, sweep, _ = a_sweep(tmp_path)
    shown = sweep.progress

    now[0] = 1000.0  # waited for the device
    shown.doing("cpu", "a run", slots.WAITING + "as a node of a cluster says it")
    now[0] = 2000.0
    shown.doing("cpu", "a run", "a cell")
    now[0] = 2010.0
    record_file.write(measured(todo.cells[0].cell), tmp_path / "results")
    shown.doing("cpu", "a run", "another cell")
    assert shown.now().remaining_s == pytest.approx(10.0)
    assert shown.now().elapsed_s == pytest.approx(2010.0)
    shown.leave("cpu")
    now[0] = 9000.0
    assert shown.now().remaining_s == pytest.approx(10.0)


def test_a_silent_head_counts_as_lost_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])

    def look_at(seconds: float) -> bool:
        now[0] = seconds
        head.look()
        return head.answers

    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        head = cluster.Head(f"127.0.0.1:{port}")
        assert look_at(10.0)
    assert not look_at(20.0)
    with socket.create_server(("127.0.0.1", port)):
        assert look_at(35.0)
    assert not look_at(50.0)
    with pytest.raises(ConnectionError, match=f"head of the Ray cluster, 127.0.0.1:{port}, has not answered"):
        look_at(100.0)


def test_only_folders_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Fork
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(temporary, "short", lambda: tmp_path)

    def make(name: str) -> None:
        held = [temporary.Scratch(kind) for kind in (temporary.RUN, temporary.NODE, temporary.SOCKETS)]
        (tmp_path / name).write_text("\n".join(str(each.path) for each in held))
        signal.pause()

    at_work, killed = (children(lambda name=name: make(name)) for name in ("at work", "killed"))
    for name in ("at work", "killed"):
        wait_for(lambda name=name: (tmp_path / name).exists() and bool((tmp_path / name).read_text()))
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    (tmp_path / "vk-of-somebody-else").mkdir()
    with temporary.Scratch(temporary.RUN) as mine:
        assert temporary.remove_left() == 3
        assert mine.exists()
        assert temporary.remove_left() == 0
        pid = os.fork()
        if pid == 0:
            os._exit(temporary.remove_left())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "its lock has not been let go"
    assert not mine.exists()
    for name, there in (("at work", True), ("killed", False)):
        assert [Path(p).exists() for p in (tmp_path / name).read_text().split()] == [there] * 3
    assert (tmp_path / "vk-of-somebody-else").exists()
    assert psutil.pid_exists(at_work)


@pytest.mark.slow
def test_two_sweeps_take_turns_run_by_run(tmp_path: Path) -> None:
    pair = [Checkout(tmp_path / name) for name in ("first", "second")]
    for each in pair:
        each.locks = tmp_path
        each.spec(["llava-tiny", "fuyu-tiny"], [1])
    pair[0].behave({1: "wait"})
    sweeps = [pair[0].start()]
    wait_for(lambda: pair[0].measured() == [1])
    sweeps.append(pair[1].start())
    assert "waiting: process" in sweeps[1].stdout.readline()
    (pair[0].root / "go").touch()
    for sweep in sweeps:
        out, said = sweep.communicate(timeout=300)
        assert sweep.returncode == 0, out + said
    times = sorted((at, each.root.name) for each in pair for _, _, at in each.log())
    assert [name for _, name in times] == ["first", "second"] * 2


@pytest.mark.slow
def test_the_next_sweep_removes_what_killed_processes_left(checkout: Checkout, tmp_path: Path) -> None:
    sweep = checkout.at_work()
    (papermill,) = checkout.processes("vlmnb.sweep.notebook_process")
    sockets = Path(json.loads(papermill.cmdline()[-1])["sockets"])
    killed = [*checkout.processes("vlmnb.sweep.supervisor"), psutil.Process(sweep.pid)]
    for process in killed:
        process.suspend()
    for process in killed:
        process.kill()
    sweep.communicate()
    assert list(tmp_path.glob("vlmnb-run-*"))
    assert sockets.exists()
    (tmp_path / "go").touch()
    wait_for(lambda: processes_of(tmp_path) == [])  # a folder is left to a process that still runs
    checkout.sweep()
    assert list(tmp_path.glob("vlmnb-run-*")) == []
    assert not sockets.exists()
    assert list(tmp_path.glob("tmp*")) == [], "no connection file of a kernel"


@pytest.mark.slow
def test_a_notebook_run_by_hand_shows_whom_it_waits_for(checkout: Checkout, tmp_path: Path) -> None:
    mine = locks.Locks(tmp_path / "vlmnb.lock", everybody=True)
    assert mine.take("cpu")
    command = [sys.executable, "-m", "papermill", "notebooks/batch_size.ipynb", "out.ipynb", "-k", "python3",
               "--no-progress-bar", "-p", "results", str(checkout.results)]  # fmt: skip
    environment = os.environ | checkout.environment
    del environment["PYTEST_CURRENT_TEST"]  # within it, a kernel leaves its streams as they are
    terminal = tmp_path / "terminal"
    with terminal.open("w") as file, subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=file, stdout=subprocess.DEVNULL
    ) as by_hand:  # fmt: skip
        try:
            wait_for(lambda: "waiting" in terminal.read_text(), 60)
        finally:
            mine.release("cpu")
    (said,) = [line for line in terminal.read_text().splitlines() if line.startswith("waiting")]
    assert f"process {os.getpid()} " in said
    assert by_hand.returncode == 0
    assert checkout.measured() == [1]


def test_nothing_is_started_early_while_waiting_for_a_device(
    tmp_path: Path, own_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo, sweep, _ = a_sweep(tmp_path)
    relay = local._Relay(sweep, slots.CPU)
    begun: list[str] = []

    class Started:
        def __init__(self, *_: object) -> None:
            begun.append("started")

        def close(self) -> None:
            begun.append("closed")

    monkeypatch.setattr(local, "StartedRun", Started)
    done = todo.model_copy(update={"cells": ()})
    monkeypatch.setattr(sweep, "now", lambda job: job)
    relay.following = todo
    relay._begin_following(done)
    assert begun == ["started"]
    sweep.waiting("cpu", todo.run.name, "waiting: process 1 is measuring")
    assert begun == ["started", "closed"]
    (told,) = (line for line in status.lines([], [(sweep.progress.now(), True)]) if "now on" in line)
    assert "now on cpu: llava-tiny/batch_size: waiting: process 1 is measuring (for" in told
    monkeypatch.setattr(slots, "awaited", lambda names: True)
    relay._begin_following(done)
    assert begun == ["started", "closed"], "somebody else's turn comes first"
