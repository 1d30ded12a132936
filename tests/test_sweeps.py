"""Sweeps whose kernels die, hang or fill the disk. The cells are fakes; the processes are real."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import pytest
from fakes import Checkout, processes_of, wait_for

from vlmnb import record, sweep_command

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    yield Checkout(tmp_path)
    for pid in processes_of(tmp_path):  # of a test that failed before its sweep ended
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


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
    done = checkout.sweep("--cell-limit", "5")
    assert done.returncode == 1, done.stderr
    assert "longer than 5 s" in checkout.statuses()["llava-tiny", 2][1]
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


def test_a_notebook_that_leaves_a_cell_out_has_not_ended_well(checkout: Checkout) -> None:
    checkout.behave({2: "leave out"})
    done = checkout.sweep()
    assert done.returncode == 1
    assert "records are missing of 1 of its cells" in done.stdout
    assert "batch 2" in done.stdout
    assert (checkout.runs / "failures" / "llava-tiny" / "batch_size.json").exists()
    checkout.behave({})
    assert checkout.sweep().returncode == 0
    assert checkout.measured() == [1, 2, 3, 2]


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


def test_a_disk_that_fills_up_publishes_nothing_and_the_sweep_goes_on_once_there_is_room(
    checkout: Checkout,
) -> None:
    checkout.behave({2: "huge"})
    with small_disk(checkout.results, "1m") as resize:
        done = checkout.sweep()
        assert done.returncode == 3, done.stdout + done.stderr
        assert "No space left" in done.stderr + done.stdout
        assert "continue with: vlmnb sweep sweeps/fake.yaml" in done.stderr
        assert set(checkout.statuses()) == {("llava-tiny", 1)}
        assert not (checkout.runs / "llava-tiny" / "batch_size.ipynb").exists()
        resize("40m")
        assert checkout.sweep().returncode == 0
        assert checkout.measured() == [1, 2, 2, 3]
        assert checkout.statuses()["llava-tiny", 2][1].endswith("xxx")
        told = checkout.vlmnb("status")
        assert told.returncode == 0
        assert "script" not in told.stdout
        assert len(told.stdout) < 10_000


def test_stale_cells_are_kept_and_measured_again_only_when_asked(checkout: Checkout) -> None:
    assert checkout.sweep().returncode == 0
    for path in record_files(checkout.results):
        old = record.read(path)
        key = "0" * 15 + str(old.cell.batch_size)
        by_other_code = old.provenance.model_copy(update={"code": "other"})
        record.write(old.model_copy(update={"key": key, "provenance": by_other_code}), checkout.results)
        path.unlink()
    done = checkout.sweep()
    assert done.returncode == 0
    assert "3 stale cells were not measured again" in done.stdout
    assert checkout.measured() == [1, 2, 3]
    assert checkout.sweep("--stale").returncode == 0
    assert checkout.measured() == [1, 2, 3, 1, 2, 3]
    assert len(record_files(checkout.results)) == 6, "the stale ones are kept"


def test_a_damaged_record_and_a_damaged_page_are_made_again_and_the_sweep_says_so(
    checkout: Checkout,
) -> None:
    assert checkout.sweep().returncode == 0
    (path,) = (p for p in checkout.results.glob("*/*/[!.]*.json") if '"batch_size": 2' in p.read_text())
    path.write_text(path.read_text()[:100])
    (checkout.runs / "llava-tiny" / "batch_size.ipynb").write_text("garbage")
    said = checkout.vlmnb("status", "sweeps/fake.yaml").stdout
    assert "1 to measure (1 damaged)" in said
    assert f"damaged record: {path} is no record" in said
    assert "failed cell" not in said
    assert "page changed: damaged, or saved by hand" in said
    done = checkout.sweep()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"the file is kept as {path.stem}.damaged" in done.stdout
    assert path.with_suffix(".damaged").stat().st_size == 100
    assert checkout.measured() == [1, 2, 3, 2]
    assert record.read(path).status == "ok"
    nbformat.read(checkout.runs / "llava-tiny" / "batch_size.ipynb", 4)
    assert "page current" in checkout.vlmnb("status", "sweeps/fake.yaml").stdout


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
    wait_for(lambda: processes_of(checkout.root) == [])
    told = checkout.vlmnb("status").stdout
    assert "was killed" in told
    assert "Continue with: vlmnb sweep sweeps/fake.yaml" in told
    checkout.behave({})
    assert checkout.sweep().returncode == 0
    assert checkout.measured() == [1, 2, 2, 3]


def test_a_killed_papermill_is_tried_again_and_leaves_no_sockets(checkout: Checkout) -> None:
    checkout.behave({2: "wait"})
    sweep = checkout.start()
    wait_for(lambda: checkout.measured() == [1, 2])
    (killed,) = [
        process
        for process in map(psutil.Process, processes_of(checkout.root))
        if "vlmnb.notebook_run" in process.cmdline()
    ]
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


def test_the_next_run_starts_up_while_a_page_is_drawn_and_measures_only_then(checkout: Checkout) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2])
    (checkout.root / "draw-llava-tiny").touch()
    sweep = checkout.start()
    wait_for(lambda: (checkout.root / "started-fuyu-tiny").exists())
    assert checkout.measured() == [1, 2], "of the first model alone"
    (checkout.root / "draw-llava-tiny").unlink()
    _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, said
    assert checkout.measured() == [1, 2, 1, 2]
    drawn = (checkout.runs / "llava-tiny" / "batch_size.ipynb").stat().st_mtime
    times = [float(line.split()[2]) for line in (checkout.root / "measured.log").read_text().splitlines()]
    assert times[1] < drawn < times[2]


def test_a_run_that_waits_for_its_turn_is_stopped_with_the_sweep(checkout: Checkout) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1])
    (checkout.root / "draw-llava-tiny").touch()
    sweep = checkout.start()
    wait_for(lambda: (checkout.root / "started-fuyu-tiny").exists())
    sweep.send_signal(signal.SIGINT)
    sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert processes_of(checkout.root) == []
    assert checkout.measured() == [1]
    assert list(checkout.root.glob("vlmnb-*")) == []


def test_sweeps_that_begin_at_the_same_moment_do_not_disturb_each_other(tmp_path: Path) -> None:
    def begin(_: int) -> None:
        sweep_command.require_writable(tmp_path / "results", tmp_path / "runs")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(begin, range(400))) == [None] * 400
    assert list((tmp_path / "results").iterdir()) == [], "nothing is left of the try"


def test_two_sweeps_of_one_folder_measure_no_cell_twice(checkout: Checkout) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2, 3])
    checkout.behave({2: "wait"})
    sweeps = [checkout.start(), checkout.start()]
    waiting = threading.Event()

    def output(sweep: subprocess.Popen[str]) -> str:
        said = ""
        for line in sweep.stdout or ():
            said += line
            if "waiting: process" in line:
                waiting.set()
        return said

    with ThreadPoolExecutor() as pool:
        outputs = [pool.submit(output, sweep) for sweep in sweeps]
        try:
            wait_for(lambda: waiting.is_set() or any(sweep.poll() is not None for sweep in sweeps))
        finally:
            (checkout.root / "go").touch()  # a sweep that waited for ever would never let go of the pool
        said = [each.result() for each in outputs]
    errors = [sweep.stderr.read() for sweep in sweeps if sweep.stderr]
    assert [sweep.wait() for sweep in sweeps] == [0, 0], (said, errors)
    assert waiting.is_set(), "one waits for the other"
    told = [re.search(r"6 cells, (\d) measured now, (\d) notebooks executed", each) for each in said]
    numbers = [[int(number) for number in found.groups()] for found in told if found]
    assert [sum(column) for column in zip(*numbers, strict=True)] == [6, 2], (
        "each is counted where it was done"
    )
    assert sorted(checkout.measured()) == [1, 1, 2, 2, 3, 3]
    assert len(checkout.statuses()) == 6


def test_killing_anything_at_random_moments_loses_and_repeats_nothing(
    checkout: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As many kills as ``VLMNB_TEST_KILLS`` says; ``VLMNB_TEST_SEED`` chooses other moments."""
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
        victim = ["sweep", "supervise", "notebook_run", "ipykernel"][killed.total() % 4]
        killed[victim] += kill_one(checkout, victim, sweep)
        sweep.communicate(timeout=300)
        wait_for(lambda: processes_of(checkout.root) == [])
        begun = len(checkout.measured()) - begun_before
        now = {path.name: path.stat().st_mtime_ns for path in record_files(checkout.results)}
        assert {name: now.get(name) for name in finished} == finished, "a finished cell was measured again"
        finished = now
        print(dict(killed), f"exit code {sweep.returncode}, {len(finished)} cells, {begun} begun", flush=True)
        assert begun <= len(finished) + killed.total() - kills_before, "a kill costs one cell at most"
        if len(finished) == len(models) * len(sizes):
            begun_before, kills_before = len(checkout.measured()), killed.total()
            for path in record_files(checkout.results):
                path.unlink()
            finished = {}
    assert checkout.sweep().returncode == 0
    assert records_of(checkout) == records_of(undisturbed)
    for model in models:
        pages = [printed(each, model) for each in (checkout, undisturbed)]
        assert pages == [str([(size, "ok") for size in sizes])] * 2
    assert processes_of(checkout.root) == []


def kill_one(checkout: Checkout, victim: str, sweep: subprocess.Popen[str]) -> bool:
    """Kill a process of a sweep, once there is one of that kind; False where the sweep ends before."""
    while sweep.poll() is None:
        if victim == "sweep":
            sweep.kill()
            return True
        for pid in processes_of(checkout.root):
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if any(victim in word for word in psutil.Process(pid).cmdline()[:4]):
                    os.kill(pid, signal.SIGKILL)
                    return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own at a folder; yields what changes its size."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield (
            lambda other: (
                subprocess.run(["mount", "-o", f"remount,size={other}", str(folder)], check=True) and None
            )
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def record_files(results: Path) -> list[Path]:
    return list(results.glob("*/*/[!.]*.json"))


def records_of(checkout: Checkout) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in record_files(checkout.results)}


def printed(checkout: Checkout, model: str) -> str:
    """What the last cell of the published page printed last."""
    page = nbformat.read(checkout.runs / model / "batch_size.ipynb", as_version=4)
    return str(page.cells[-1].outputs[-1].text).strip()
