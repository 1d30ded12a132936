"""Sweeps whose kernels die, hang or fill the disk. The cells are fakes; the processes are real."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from fakes import Checkout, processes_of

from vlmnb.records import record_file

pytestmark = pytest.mark.slow


def test_a_cell_that_kills_its_kernel_twice_fails_and_the_rest_goes_on(checkout: Checkout) -> None:
    checkout.behave({2: "segfault", 3: "die once"})
    assert "signal 9" in checkout.sweep(code=1).stdout
    statuses = checkout.statuses()
    assert {size: status for (_, size), (status, _) in statuses.items()} == {1: "ok", 2: "failed", 3: "ok"}
    assert "signal 11" in statuses["llava-tiny", 2][1]
    assert checkout.measured() == [1, 2, 2, 3, 3], "one retry, and nothing else twice"
    assert checkout.page().exists()
    assert list(checkout.runs.glob("failures/*/*")) == []

    checkout.behave({})
    checkout.sweep(code=1)  # a failed cell is not tried again
    assert checkout.measured() == [1, 2, 2, 3, 3]
    checkout.sweep("--retry-failed")
    assert checkout.measured() == [1, 2, 2, 3, 3, 2]
    assert checkout.statuses()["llava-tiny", 2] == ("ok", "")


def test_a_hanging_cell_fails_at_its_limit_and_leaves_no_process(checkout: Checkout) -> None:
    checkout.behave({2: "hang"})
    checkout.sweep("--cell-limit", "5", code=1)
    assert "longer than 5 s" in checkout.statuses()["llava-tiny", 2][1]
    assert checkout.statuses()["llava-tiny", 3][0] == "ok"
    assert list(checkout.root.glob("stubborn*")), "it had children that ignore SIGTERM"
    assert processes_of(checkout.root) == []


def test_a_run_over_its_limit_is_filed_and_keeps_its_records(checkout: Checkout) -> None:
    checkout.behave({3: "hang"})
    checkout.sweep("--run-limit", "40", code=1)
    assert "longer than 40 s (--run-limit)" in checkout.failure()["error"]
    assert set(checkout.statuses()) == {("llava-tiny", 1), ("llava-tiny", 2)}
    assert processes_of(checkout.root) == []


def test_a_notebooks_own_error_is_filed_and_not_tried_again(checkout: Checkout) -> None:
    checkout.sweep()
    good = checkout.page().read_text()
    checkout.spec(["llava-tiny"], [1, 2, 3, 4])
    checkout.behave({4: "error"})
    assert "no such thing" in checkout.sweep(code=1).stdout
    assert checkout.measured().count(4) == 1
    assert checkout.page().read_text() == good
    report = checkout.failure()
    assert "ValueError: no such thing" in report["error"]
    assert "no such thing" in report["stderr_tail"]


@pytest.mark.parametrize(("end", "code", "reason"), [("exit", 1, "sys.exit()"), ("kill", 3, "signal 9")])
def test_a_notebook_cut_short_after_its_cells_is_not_published(
    checkout: Checkout, end: str, code: int, reason: str
) -> None:
    (checkout.root / end).touch()
    checkout.sweep(code=code)
    assert reason in checkout.failure()["error"]
    assert checkout.measured() == [1, 2, 3], "its cells are recorded once"
    assert not checkout.page().exists()


def test_a_notebook_that_leaves_out_a_cell_has_failed(checkout: Checkout) -> None:
    checkout.behave({2: "leave out"})
    done = checkout.sweep(code=1)
    assert "1 of its cells have no record" in done.stdout
    assert "batch 2" in checkout.failure()["error"]
    checkout.behave({})
    checkout.sweep()
    assert checkout.measured() == [1, 2, 3, 2]
    assert not (checkout.runs / "failures").exists(), "nothing is left of a failure that is mended"


def test_sizes_above_an_out_of_memory_one_are_not_tried_unless_asked(checkout: Checkout) -> None:
    checkout.behave({2: "out of memory"})
    done = checkout.sweep()
    assert "3 cells, 3 recorded now (2 of them without a number), 1 notebook executed" in done.stdout
    assert checkout.measured() == [1, 2]
    status, reason = checkout.statuses()["llava-tiny", 3]
    assert status == "out_of_memory"
    assert "batch size 2 already ran out" in reason
    checkout.behave({})
    checkout.sweep("--retry-failed")
    assert checkout.measured() == [1, 2, 2, 3]


def test_a_full_disk_stops_the_sweep_with_its_own_exit_code(checkout: Checkout) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2])
    checkout.behave({2: "full"})
    done = checkout.sweep(code=3)
    assert "No space left" in done.stdout + done.stderr
    assert "continue with: vlmnb sweep sweeps/fake.yaml" in done.stderr
    assert set(checkout.statuses()) == {("llava-tiny", 1)}, "no other run was begun"
    checkout.behave({})
    checkout.sweep()


def test_after_a_disk_filled_up_the_sweep_continues_once_there_is_room(checkout: Checkout) -> None:
    checkout.behave({2: "huge"})
    with small_disk(checkout.results, "1m") as resize:
        done = checkout.sweep(code=3)
        assert "No space left" in done.stderr + done.stdout
        assert "continue with: vlmnb sweep sweeps/fake.yaml" in done.stderr
        assert f"'{checkout.results}/" in done.stdout, "and which disk is full"
        assert re.search(
            r"was stopped after \d+ s \(OSError: .*No space left", checkout.vlmnb("status").stdout
        )
        assert set(checkout.statuses()) == {("llava-tiny", 1)}
        assert not checkout.page().exists()
        resize("40m")
        checkout.sweep()
        assert checkout.measured() == [1, 2, 2, 3]
        assert checkout.statuses()["llava-tiny", 2][1].endswith("xxx")
        told = checkout.vlmnb("status")
        assert told.returncode == 0
        assert "script" not in told.stdout
        assert len(told.stdout) < 10_000


def test_stale_cells_are_measured_again_only_when_asked(checkout: Checkout) -> None:
    checkout.sweep()
    for path in checkout.record_files():
        old = record_file.read(path)
        key = "0" * 15 + str(old.cell.batch_size)
        by_other_code = old.provenance.model_copy(update={"code": "other"})
        record_file.write(old.model_copy(update={"key": key, "provenance": by_other_code}), checkout.results)
        path.unlink()
    done = checkout.sweep()
    assert "3 stale cells" in done.stdout
    assert checkout.measured() == [1, 2, 3]
    checkout.sweep("--stale")
    assert checkout.measured() == [1, 2, 3, 1, 2, 3]
    assert len(checkout.record_files()) == 6, "the stale ones are kept"


def test_a_damaged_record_and_a_damaged_page_are_made_again(checkout: Checkout) -> None:
    checkout.sweep()
    (path,) = (p for p in checkout.record_files() if '"batch_size": 2' in p.read_text())
    path.write_text(path.read_text()[:100])
    checkout.page().write_text("garbage")
    said = checkout.vlmnb("status", "sweeps/fake.yaml").stdout
    assert "1 to measure (1 damaged)" in said
    assert f"damaged record: {path} is no record" in said
    assert "failed cell" not in said
    assert "page changed: damaged, or saved by hand" in said
    done = checkout.sweep()
    assert f"the file is kept as {path.stem}.damaged" in done.stdout
    assert path.with_suffix(".damaged").stat().st_size == 100
    assert checkout.measured() == [1, 2, 3, 2]
    assert record_file.read(path).status == "ok"
    nbformat.read(checkout.page(), 4)
    assert "page current" in checkout.vlmnb("status", "sweeps/fake.yaml").stdout


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], object]]:
    """A file system of its own at a folder; yields what changes its size."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield lambda other: subprocess.run(["mount", "-o", f"remount,size={other}", folder], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
