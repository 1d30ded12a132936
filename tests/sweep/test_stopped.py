"""Sweeps that are stopped or killed, and several at once. The cells are fakes; the processes are real."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import pytest
from fakes import Checkout, processes_of, wait_for
from pydantic_core import from_json

from vlmnb.cli import sweep_command
from vlmnb.records import export_columns, store
from vlmnb.records.record_file import read_all

pytestmark = pytest.mark.slow


def hanging(checkout: Checkout) -> subprocess.Popen[str]:
    """A sweep whose second cell hangs, with children that ignore signals."""
    checkout.behave({2: "hang"})
    sweep = checkout.start()
    wait_for(lambda: bool(list(checkout.root.glob("stubborn*"))))
    return sweep


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_shows_how_to_continue_and_leaves_no_process(checkout: Checkout, number: int) -> None:
    sweep = hanging(checkout)
    # What other terminals read is written once a second at most.
    wait_for(lambda: "batch 2" in checkout.vlmnb("status").stdout)
    assert "At work on sweeps/fake.yaml" in checkout.vlmnb("status").stdout
    sweep.send_signal(number)
    _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "continue with: vlmnb sweep sweeps/fake.yaml" in said
    assert "Traceback" not in said
    assert processes_of(checkout.root) == []
    assert re.search(r"was stopped after [\d a-z]+: ", checkout.vlmnb("status").stdout), "by no error"


def test_a_killed_sweep_leaves_no_process_and_status_shows_it(checkout: Checkout) -> None:
    sweep = hanging(checkout)
    sweep.kill()
    sweep.communicate()
    wait_for(lambda: processes_of(checkout.root) == [])
    told = checkout.vlmnb("status").stdout
    assert "was killed" in told
    assert "Continue with: vlmnb sweep sweeps/fake.yaml" in told
    checkout.behave({})
    checkout.sweep()
    assert checkout.measured() == [1, 2, 2, 3]


def test_a_killed_papermill_is_tried_again_and_leaves_no_sockets(checkout: Checkout) -> None:
    sweep = checkout.at_work()
    (killed,) = checkout.processes("vlmnb.sweep.notebook_process")
    sockets = Path(json.loads(killed.cmdline()[-1])["sockets"])
    assert list(sockets.iterdir())
    killed.kill()
    wait_for(lambda: checkout.measured() == [1, 2, 2])
    (checkout.root / "go").touch()
    out, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0
    assert re.search("signal 9.*; trying again", out), out  # the last words of its kernel may stand between
    assert checkout.measured() == [1, 2, 2, 3]
    wait_for(lambda: not sockets.exists())


@pytest.mark.parametrize("stop", [False, True])
def test_the_next_run_starts_early_but_waits_for_its_turn_to_measure(checkout: Checkout, stop: bool) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2])
    (checkout.root / "draw-llava-tiny").touch()
    sweep = checkout.start()
    wait_for((checkout.root / "started-fuyu-tiny").exists)
    assert checkout.measured() == [1, 2], "of the first model alone"
    if stop:
        sweep.send_signal(signal.SIGINT)
    else:
        (checkout.root / "draw-llava-tiny").unlink()
    _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == (130 if stop else 0), said
    assert processes_of(checkout.root) == []
    assert list(checkout.root.glob("vlmnb-*")) == []
    times = [at for _, _, at in checkout.log()]
    assert checkout.measured() == [1, 2] * (1 if stop else 2)
    assert stop or times[1] < checkout.page().stat().st_mtime < times[2]


def test_sweeps_can_check_the_same_folder_at_the_same_time(tmp_path: Path) -> None:
    def begin(_: int) -> None:
        sweep_command.require_writable(tmp_path / "results", tmp_path / "runs")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(begin, range(400))) == [None] * 400
    assert list((tmp_path / "results").iterdir()) == [], "nothing is left of the try"


def test_two_sweeps_of_one_folder_measure_no_cell_twice(checkout: Checkout) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2, 3])
    checkout.behave({2: "wait"})
    sweeps = [checkout.start(), checkout.start()]
    wait_for(lambda: "waiting: process" in checkout.vlmnb("status").stdout)
    (checkout.root / "go").touch()
    said = [sweep.communicate(timeout=300) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], said
    counts = [re.findall(r"6 cells, (\d) recorded now, (\d) notebooks? executed", out)[0] for out, _ in said]
    sums = [sum(map(int, column)) for column in zip(*counts, strict=True)]
    assert sums == [6, 2], "each is counted where it was done"
    assert sorted(checkout.measured()) == [1, 1, 2, 2, 3, 3]
    assert len(checkout.statuses()) == 6


@pytest.mark.long
def test_random_kills_lose_nothing_and_repeat_nothing(
    checkout: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``VLMNB_TEST_KILLS`` is the number of kills; ``VLMNB_TEST_SEED`` chooses other moments."""
    kills = int(os.environ.get("VLMNB_TEST_KILLS", "4"))
    chance = random.Random(f"{kills} {os.environ.get('VLMNB_TEST_SEED', '')}")
    undisturbed = Checkout(tmp_path_factory.mktemp("undisturbed"))
    models, sizes = ["llava-tiny", "fuyu-tiny"], [1, 2, 3, 4]
    for each in (undisturbed, checkout):
        each.spec(models, sizes)
    assert undisturbed.sweep().returncode == 0
    checkout.behave({size: "sleep 0.3" for size in sizes})
    finished: dict[str, int] = {}
    killed: Counter[str] = Counter()
    begun_before = kills_before = 0
    while killed.total() < kills:
        sweep = checkout.start()
        time.sleep(chance.uniform(0.2, 7))
        victim = ["sweeps/fake.yaml", "supervisor", "notebook_process", "ipykernel"][killed.total() % 4]
        killed[victim] += kill_one(checkout, victim, sweep)
        sweep.communicate(timeout=300)
        wait_for(lambda: processes_of(checkout.root) == [])
        begun = len(checkout.measured()) - begun_before
        now = {path.name: path.stat().st_mtime_ns for path in checkout.record_files()}
        assert {name: now.get(name) for name in finished} == finished, "a finished cell was measured again"
        finished = now
        print(dict(killed), f"exit code {sweep.returncode}, {len(finished)} cells, {begun} begun", flush=True)
        assert begun <= len(finished) + killed.total() - kills_before, "a kill costs one cell at most"
        if len(finished) == len(models) * len(sizes):
            begun_before, kills_before = len(checkout.measured()), killed.total()
            for path in checkout.record_files():
                path.unlink()
            finished = {}
    checkout.sweep()
    contents = [{p.name: p.read_bytes() for p in each.record_files()} for each in (checkout, undisturbed)]
    assert contents[0] == contents[1]
    with store.Index(checkout.results, export=True) as index:
        indexed = [
            dict(zip(export_columns.EXPORT_COLUMNS, row, strict=True))
            for row in map(from_json, index.export())
        ]
    assert indexed == [export_columns.row(each) for each in read_all(checkout.results)[0]]
    for page in (each.page(model) for model in models for each in (checkout, undisturbed)):
        printed = nbformat.read(page, as_version=4).cells[-1].outputs[-1].text
        assert printed.strip() == str([(size, "ok") for size in sizes])
    assert processes_of(checkout.root) == []


def kill_one(checkout: Checkout, victim: str, sweep: subprocess.Popen[str]) -> bool:
    """Kill a process of a sweep, once there is one of that kind; False where the sweep ends before."""
    while sweep.poll() is None:
        with contextlib.suppress(psutil.Error):
            for process in checkout.processes(victim):
                process.kill()
                return True
        time.sleep(0.05)
    return False
