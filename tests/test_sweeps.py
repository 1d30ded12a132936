"""Sweeps whose kernels die, hang or fill the disk. The cells are fakes; the processes are real."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fakes import Checkout, processes_of, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_cell_that_kills_its_kernel_is_failed_after_one_retry_and_the_rest_goes_on(
    checkout: Checkout,
) -> None:
    checkout.behave({2: "segfault"})
    done = checkout.sweep()
    assert done.returncode == 1, done.stderr
    statuses = checkout.statuses()
    assert {size: status for (_, size), (status, _) in statuses.items()} == {1: "ok", 2: "failed", 3: "ok"}
    assert "SIGSEGV" in statuses["llava-tiny", 2][1]
    assert checkout.measured() == [1, 2, 2, 3], "one retry, and nothing else twice"
    assert (checkout.runs / "llava-tiny" / "batch_size.ipynb").exists()
    assert list(checkout.runs.glob("failures/*/*")) == []

    checkout.behave({})
    assert checkout.sweep().returncode == 1, "a failed cell is not tried again"
    assert checkout.measured() == [1, 2, 2, 3]
    assert checkout.sweep("--retry-failed").returncode == 0
    assert checkout.measured() == [1, 2, 2, 3, 2]
    assert checkout.statuses()["llava-tiny", 2] == ("ok", "")


def test_a_kernel_that_died_once_is_no_failure(checkout: Checkout) -> None:
    checkout.behave({2: "die once"})
    done = checkout.sweep()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILL" in done.stdout
    assert {status for status, _ in checkout.statuses().values()} == {"ok"}


def test_a_hanging_cell_is_failed_at_its_limit_and_nothing_of_it_is_left(checkout: Checkout) -> None:
    checkout.behave({2: "hang"})
    done = checkout.sweep("--cell-limit", "3")
    assert done.returncode == 1, done.stderr
    assert "longer than 3 s" in checkout.statuses()["llava-tiny", 2][1]
    assert checkout.statuses()["llava-tiny", 3][0] == "ok"
    assert list(checkout.root.glob("stubborn*")), "it had children that ignore SIGTERM"
    assert processes_of(checkout.root) == []


def test_a_run_that_takes_too_long_is_filed_with_what_was_measured_kept(checkout: Checkout) -> None:
    checkout.behave({3: "hang"})
    done = checkout.sweep("--run-limit", "40")
    assert done.returncode == 1
    report = json.loads((checkout.runs / "failures" / "llava-tiny" / "batch_size.json").read_text())
    assert "--run-limit" in report["error"]
    assert report["command"].startswith("papermill notebooks/batch_size.ipynb")
    assert set(checkout.statuses()) == {("llava-tiny", 1), ("llava-tiny", 2)}
    assert processes_of(checkout.root) == []


def test_a_notebooks_own_error_is_filed_and_not_tried_again_and_the_good_page_stays(
    checkout: Checkout,
) -> None:
    assert checkout.sweep().returncode == 0
    page = checkout.runs / "llava-tiny" / "batch_size.ipynb"
    good = page.read_text()
    checkout.spec(["llava-tiny"], [1, 2, 3, 4])
    checkout.behave({4: "error"})
    done = checkout.sweep()
    assert done.returncode == 1
    assert "no such thing" in done.stdout
    assert checkout.measured().count(4) == 1
    assert page.read_text() == good
    report = json.loads((checkout.runs / "failures" / "llava-tiny" / "batch_size.json").read_text())
    assert "ValueError: no such thing" in report["error"]
    assert "no such thing" in report["stderr_tail"]


def test_sizes_above_one_that_ran_out_of_memory_are_not_tried_unless_asked(checkout: Checkout) -> None:
    checkout.behave({2: "out of memory"})
    assert checkout.sweep().returncode == 0
    assert checkout.measured() == [1, 2]
    status, reason = checkout.statuses()["llava-tiny", 3]
    assert status == "out_of_memory"
    assert "batch size 2 already ran out" in reason
    checkout.behave({})
    assert checkout.sweep("--retry-failed").returncode == 0
    assert checkout.measured() == [1, 2, 2, 3]


def test_a_full_disk_stops_the_sweep_with_its_own_exit_code_and_how_to_go_on(checkout: Checkout) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2])
    checkout.behave({2: "full"})
    done = checkout.sweep()
    assert done.returncode == 3
    assert "No space left" in done.stdout + done.stderr
    assert "continue with: vlmnb sweep sweeps/fake.yaml" in done.stderr
    assert set(checkout.statuses()) == {("llava-tiny", 1)}, "no other run was begun"
    checkout.behave({})
    assert checkout.sweep().returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_stopped_says_how_to_go_on_and_leaves_nothing(
    checkout: Checkout, number: int
) -> None:
    checkout.behave({2: "hang"})
    sweep = checkout.start()
    wait_for(lambda: bool(list(checkout.root.glob("stubborn*"))))
    # What other terminals read is written once a second at most.
    wait_for(lambda: "batch 2" in checkout.vlmnb("status").stdout)
    assert "At work on sweeps/fake.yaml" in checkout.vlmnb("status").stdout
    sweep.send_signal(number)
    _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "continue with: vlmnb sweep sweeps/fake.yaml" in said
    assert "Traceback" not in said
    assert processes_of(checkout.root) == []
    assert "was stopped" in checkout.vlmnb("status").stdout


def test_a_killed_sweep_leaves_no_process_and_status_tells(checkout: Checkout) -> None:
    checkout.behave({2: "hang"})
    sweep = checkout.start()
    wait_for(lambda: bool(list(checkout.root.glob("stubborn*"))))
    sweep.kill()
    sweep.communicate()
    wait_for(lambda: processes_of(checkout.root) == [], 30)
    told = checkout.vlmnb("status").stdout
    assert "was killed" in told
    assert "Continue with: vlmnb sweep sweeps/fake.yaml" in told
    checkout.behave({})
    assert checkout.sweep().returncode == 0
    assert checkout.measured() == [1, 2, 2, 3]


def test_two_sweeps_of_one_folder_measure_no_cell_twice(checkout: Checkout) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2, 3])
    checkout.behave({size: "sleep 0.3" for size in (1, 2, 3)})
    sweeps = [checkout.start(), checkout.start()]
    outputs = [sweep.communicate(timeout=240) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], outputs
    assert sorted(checkout.measured()) == [1, 1, 2, 2, 3, 3]
    assert any("waiting: process" in out for out, _ in outputs)
    assert len(checkout.statuses()) == 6


def test_killing_anything_at_random_moments_loses_and_repeats_nothing(checkout: Checkout) -> None:
    kills = int(os.environ.get("VLMNB_TEST_KILLS", "4"))
    sizes = list(range(1, 9))
    checkout.spec(["llava-tiny"], sizes)
    checkout.behave({size: "sleep 0.4" for size in sizes})
    chance = random.Random(kills)
    finished: dict[Path, int] = {}
    for i in range(kills):
        sweep = checkout.start()
        time.sleep(chance.uniform(0.2, 7))
        victim = ["sweep", "supervise", "notebook_run", "ipykernel"][i % 4]
        kill_one(checkout, victim, sweep)
        if victim == "sweep":
            sweep.communicate()
            wait_for(lambda: processes_of(checkout.root) == [], 30)
        else:
            sweep.communicate(timeout=120)
        for path, written in finished.items():
            assert path.stat().st_mtime_ns == written, "a finished cell was measured again"
        finished = {path: path.stat().st_mtime_ns for path in checkout.results.glob("*/*/[!.]*.json")}
        if len(finished) == len(sizes):
            for path in list(finished):
                path.unlink()
            finished = {}
    assert checkout.sweep().returncode == 0
    assert checkout.statuses() == {("llava-tiny", size): ("ok", "") for size in sizes}
    page = (checkout.runs / "llava-tiny" / "batch_size.ipynb").read_text()
    assert str([(size, "ok") for size in sizes]) in page
    assert processes_of(checkout.root) == []
    assert list(checkout.results.glob("*/*/.*.tmp")) == [] or kills, "half-written files are never records"


def kill_one(checkout: Checkout, victim: str, sweep: subprocess.Popen[str]) -> None:
    import psutil

    if victim == "sweep":
        sweep.kill()
        return
    for pid in processes_of(checkout.root):
        try:
            if any(victim in word for word in psutil.Process(pid).cmdline()[:4]):
                os.kill(pid, signal.SIGKILL)
                return
        except (psutil.Error, ProcessLookupError):
            continue
