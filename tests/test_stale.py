"""Exact, stale and foreign records; damaged ones; folders that cannot be written; clocks; long answers."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from factory import answers, cell, record

from vlmnb import (
    desk,
    identity,
    launch,
    locks,
    notes,
    paths,
    ray_cluster,
    rows,
    slots,
    spec,
    status,
    store,
    sweep_command,
)
from vlmnb import record as records
from vlmnb.errors import UserError
from vlmnb.execute import Outcome, Setting
from vlmnb.record import Record
from vlmnb.spec import Cell
from vlmnb.sweeping import Wish

STARTED = "2026-01-01T00:00:00+00:00"


@pytest.fixture(autouse=True)
def _no_device_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slots.HELD, "cpu")


def measured(of: Cell, **changes: object) -> Record:
    """A record of this machine, under its exact key unless changes say otherwise."""
    return identity.blank(of, STARTED).model_copy(update=changes)


def older(of: Cell, key: str = "0123456789abcdef") -> Record:
    """A record of this machine, of other code."""
    exact = identity.blank(of, STARTED)
    return exact.model_copy(
        update={"key": key, "provenance": exact.provenance.model_copy(update={"code": "old"})}
    )


def recorded(of: Cell, results: Path) -> Record | None:
    with desk.Desk([of], results) as at:
        return at.recorded(of)


def job_of(results: Path, tmp_path: Path) -> launch.Job:
    spec = tmp_path / "s.yaml"
    content = {"title": "T", "models": ["llava-tiny"],
               "parameters": {"samples": 4, "device": "cpu", "length": "natural"},
               "axes": {"batch_size": {"batch_sizes": [1, 2], "optimization": "fp32"}}}  # fmt: skip
    spec.write_text(json.dumps(content))
    (job,) = launch.jobs(launch.load(spec), results, tmp_path / "runs")
    return job


def states(results: Path, tmp_path: Path) -> dict[int, str]:
    return {state.cell.batch_size: state.state for state in job_of(results, tmp_path).cells}


def test_repeats_put_on_record_make_pages_again_which_say_by_them_what_differs(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for batch_size in (1, 2):
        records.write(measured(cell(batch_size=batch_size)), results)
    before = job_of(results, tmp_path)
    page = paths.executed(tmp_path / "runs", "llava-tiny", "batch_size")
    page.parent.mkdir(parents=True)
    page.write_text("{}")
    launch.mark_page(before, tmp_path / "runs")
    assert job_of(results, tmp_path).page == "current"
    records.write(measured(cell(repeat=1)), results)
    assert job_of(results, tmp_path).page == "outdated"


def test_a_record_of_other_code_answers_as_stale_and_is_kept(tmp_path: Path) -> None:
    path = records.write(older(cell()), tmp_path)
    found = recorded(cell(), tmp_path)
    assert found is not None
    assert found.key != identity.key(cell())
    assert states(tmp_path, tmp_path) == {1: "missing", 2: "stale"}
    assert "the measuring code" in notes.stale([found])
    assert "--stale" in notes.stale([found])
    assert path.exists()


def test_an_exact_record_goes_before_a_stale_one(tmp_path: Path) -> None:
    records.write(older(cell()), tmp_path)
    exact = measured(cell())
    records.write(exact, tmp_path)
    assert recorded(cell(), tmp_path) == exact
    assert states(tmp_path, tmp_path)[2] == "recorded"
    assert notes.stale([exact]) == ""


def test_a_record_of_other_hardware_is_neither(tmp_path: Path) -> None:
    foreign = older(cell())
    machine = foreign.provenance.machine | {"fingerprint": "other"}
    foreign = foreign.model_copy(
        update={"provenance": foreign.provenance.model_copy(update={"machine": machine})}
    )
    records.write(foreign, tmp_path)
    records.write(older(cell(), "fedcba9876543210").model_copy(update={"hardware": "h200"}), tmp_path)
    assert recorded(cell(), tmp_path) is None
    assert states(tmp_path, tmp_path)[2] == "missing"


def test_a_stale_cell_is_measured_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.write(older(cell()), tmp_path)
    keys = tmp_path / "again"
    keys.write_text(identity.key(cell()))
    monkeypatch.setenv(desk.AGAIN, str(keys))
    with desk.Desk([cell()], tmp_path) as at:
        assert at.recorded(cell()) is None
        with at.claimed(cell()):
            at.write(measured(cell()))
        assert at.recorded(cell()) == measured(cell()), "measured again once, not twice"
    monkeypatch.delenv(desk.AGAIN)
    monkeypatch.setenv(desk.STALE, "1")
    assert recorded(cell(batch_size=1), tmp_path) is None


def test_threads_are_part_of_the_key_and_named_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slots.THREADS, "1")
    before = identity.key(cell())
    monkeypatch.setenv(slots.THREADS, "7")
    assert identity.key(cell()) != before
    one = measured(cell())
    one = one.model_copy(update={"provenance": one.provenance.model_copy(update={"threads": 1})})
    assert "threads 1 to 7" in identity.differences(one)


def test_a_damaged_record_is_measured_again_and_kept_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = records.write(measured(cell()), tmp_path)
    path.write_text(path.read_text()[:100])
    assert states(tmp_path, tmp_path)[2] == "damaged"
    with desk.Desk([cell()], tmp_path) as at:
        assert at.recorded(cell()) is None
        at.write(measured(cell()))
    assert recorded(cell(), tmp_path) == measured(cell())
    assert path.with_suffix(".damaged").stat().st_size == 100
    assert f"is kept as {path.stem}.damaged" in capsys.readouterr().err
    assert records.read_all(tmp_path)[1] == []


def test_a_damaged_record_is_told_as_such_with_what_a_sweep_makes_of_it(tmp_path: Path) -> None:
    path = records.write(measured(cell()), tmp_path)
    path.write_text(path.read_text()[:100])
    found = launch.look([job_of(tmp_path, tmp_path).run], tmp_path, tmp_path / "runs")
    said = status.lines(found[0], left_out=found[1])
    assert "2 cells in all: 0 recorded, 2 to measure (1 missing, 1 damaged)." in said
    (line,) = [line for line in said if str(path) in line]
    assert line.startswith(f"damaged record: {path} is no record: ")
    assert line.endswith(f"its cell is measured again, and the file is kept as {path.stem}.damaged")
    assert not [line for line in said if line.startswith("failed cell")]
    told = status.report(found[0], [], left_out=found[1])
    assert (told["damaged"], told["missing"], told["failed_cells"], told["left_out"]) == (1, 2, [], [])
    assert str(path) in told["damaged_cells"][0]


def test_a_damaged_file_beside_a_stale_record_is_told_and_kept_once_it_is_measured_again(
    tmp_path: Path,
) -> None:
    path = records.write(measured(cell()), tmp_path)
    path.write_text("half")
    records.write(older(cell()), tmp_path)
    jobs, left_out = launch.look([job_of(tmp_path, tmp_path).run], tmp_path, tmp_path / "runs")
    assert states(tmp_path, tmp_path)[2] == "stale"
    told = {line.split(": ")[0] for line in status.lines(jobs, left_out=left_out) if str(path) in line}
    assert told == {"left out"}
    told = {
        line.split(": ")[0]
        for line in status.lines(jobs, wish=Wish(stale=True), left_out=left_out)
        if str(path) in line
    }
    assert told == {"damaged record"}


def test_whoever_writes_a_record_keeps_the_damaged_file_in_its_place(tmp_path: Path) -> None:
    path = records.write(measured(cell()), tmp_path)
    newer = path.read_text().replace('"schema_version": 1', '"schema_version": 99')
    path.write_text(newer)
    records.write(measured(cell(), status="failed", reason="killed twice"), tmp_path)
    assert records.read(path).status == "failed"
    assert paths.damaged(path).read_text() == newer


def test_a_record_from_a_node_keeps_the_damaged_file_in_its_place_too(tmp_path: Path) -> None:
    path = records.write(measured(cell()), tmp_path / "results")
    sent = path.read_bytes()
    path.write_bytes(sent[:100])
    run = job_of(tmp_path / "results", tmp_path).run
    cluster = object.__new__(ray_cluster.Cluster)
    cluster.setting = Setting(results=tmp_path / "results", runs=tmp_path / "runs", threads=1)
    cluster.ray = SimpleNamespace(wait=lambda refs, timeout: (refs, []), get=lambda report: report)
    name = path.relative_to(tmp_path / "results").as_posix()
    report = ray_cluster.Report("", {name: sent}, {}, Outcome(run=run).model_dump(mode="json"))
    cluster._received(iter([report]), run, [], lambda cell: None, threading.Event())
    assert records.read(path) == measured(cell())
    assert paths.damaged(path).read_bytes() == sent[:100]


def test_a_link_to_nothing_hides_no_record_beside_it(tmp_path: Path) -> None:
    for batch_size in (1, 2):
        path = records.write(measured(cell(batch_size=batch_size)), tmp_path)
    links = [path.with_name(f"{number:016x}.json") for number in range(20)]
    for link in links:
        link.symlink_to(tmp_path / "gone.json")
    jobs, left_out = launch.look([job_of(tmp_path, tmp_path).run], tmp_path, tmp_path / "runs")
    assert [state.state for state in jobs[0].cells] == ["recorded", "recorded"]
    assert left_out == [f"{link} is a link to {tmp_path}/gone.json, which is not there" for link in links]
    said = status.lines(jobs, left_out=left_out)
    assert [line for line in said if line.startswith("left out: ")] == [
        f"left out: {line}" for line in left_out[:5]
    ]
    assert [line for line in said if line.startswith("and 15 more")]
    with store.Index(tmp_path, rows=True) as index:
        assert (len(list(index.rows())), index.problems()) == (2, left_out)
    links[0].unlink()
    links[1].unlink()
    links[1].write_bytes(path.read_bytes())
    with store.Index(tmp_path) as index:
        assert [line for line in index.problems() if "is a link" in line] == left_out[2:]


def test_a_link_to_nothing_in_the_place_of_a_record_is_a_damaged_one(tmp_path: Path) -> None:
    path = identity.record_paths([cell()], tmp_path)[cell()]
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "gone.json")
    assert states(tmp_path, tmp_path)[2] == "damaged"
    assert recorded(cell(), tmp_path) is None
    records.write(measured(cell()), tmp_path)
    assert states(tmp_path, tmp_path)[2] == "recorded"
    assert paths.damaged(path).is_symlink()
    assert not (tmp_path / "gone.json").exists()


def test_a_dry_run_shows_what_its_options_add(tmp_path: Path) -> None:
    records.write(older(cell()), tmp_path)
    records.write(measured(cell(batch_size=1), status="failed", reason="r"), tmp_path)
    jobs = [job_of(tmp_path, tmp_path)]
    plain, said = status.lines(jobs, cells=True), []
    assert not [line for line in plain if "to measure:" in line]
    assert "2 cells in all: 2 recorded, 0 to measure." in plain
    said = status.lines(jobs, cells=True, wish=Wish(stale=True))
    assert [line for line in said if "to measure:" in line and "batch 2" in line and "(stale)" in line]
    assert "2 cells in all: 2 recorded, 1 to measure (1 stale)." in said
    said = status.lines(jobs, cells=True, wish=Wish(stale=True, retry_failed=True))
    assert "2 cells in all: 2 recorded, 2 to measure (1 failed, 1 stale)." in said
    assert not [line for line in said if "vlmnb sweep --" in line], "asked for already"
    told = status.report(jobs, [], wish=Wish(retry_failed=True))
    assert (told["to_measure"], told["missing"]) == (1, 0)
    assert [len(run["to_measure"]) for run in told["runs"]] == [1]


def test_cells_that_differ_in_what_is_seldom_named_are_told_apart(tmp_path: Path) -> None:
    said = spec.told_apart([cell(), cell(length="fixed"), cell(batch_size=1), cell(model="fuyu-tiny")])
    assert said[cell()].endswith(", length natural")
    assert said[cell(length="fixed")].endswith(", length fixed")
    assert "length" not in said[cell(batch_size=1)] + said[cell(model="fuyu-tiny")]
    content = {"title": "T", "models": ["llava-tiny"], "parameters": {"device": "cpu"},
               "axes": {"batch_size": {"batch_sizes": [2]}}}  # fmt: skip
    (tmp_path / "s.yaml").write_text(json.dumps(content))
    jobs = launch.jobs(launch.load(tmp_path / "s.yaml"), tmp_path, tmp_path)
    both = [state.cell for state in jobs[0].cells]
    assert len({spec.words(one) for one in both}) < len(both), "the axis asks for both lengths"
    lines = [line for line in status.lines(jobs, cells=True) if "to measure:" in line]
    assert len(set(lines)) == len(lines) == len(both)


def test_a_record_edited_by_hand_is_no_record(tmp_path: Path) -> None:
    path = records.write(record(), tmp_path)
    path.write_text(path.read_text().replace("0.4", "0.1"))
    with pytest.raises(ValueError, match="edited by hand"):
        records.read(path)
    with store.Index(tmp_path, rows=True) as index:
        assert "edited by hand" in index.problems()[0]
        assert list(index.rows()) == []


def test_a_record_of_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = records.write(older(cell()), tmp_path)
    text = path.read_text().replace('"schema_version": 1', '"schema_version": 99')
    path.write_text(text)
    assert recorded(cell(), tmp_path) is None
    assert "update the project" in records.read_all(tmp_path)[1][0]
    assert path.read_text() == text


def test_a_record_of_an_optimization_that_this_code_does_not_know_stops_nothing(tmp_path: Path) -> None:
    records.write(record(cell(optimization="of-the-future")), tmp_path)
    with store.Index(tmp_path) as index:
        assert [entry.problem for entry in index.entries().values()] == [""]
    assert states(tmp_path, tmp_path) == {1: "missing", 2: "missing"}


def test_the_index_follows_the_files_and_is_never_trusted(tmp_path: Path) -> None:
    first = records.write(measured(cell()), tmp_path)
    for _ in range(2):
        with store.Index(tmp_path) as index:
            assert [entry.status for entry in index.entries().values()] == ["ok"]
    records.write(measured(cell(), status="failed", reason="r"), tmp_path)
    second = records.write(measured(cell(batch_size=1)), tmp_path)
    with store.Index(tmp_path) as index:
        assert sorted(entry.status for entry in index.entries().values()) == ["failed", "ok"]
    first.unlink()
    with store.Index(tmp_path) as index:
        assert list(index.entries()) == [second.relative_to(tmp_path).as_posix()]
    (tmp_path / ".index.sqlite").write_bytes(b"no database at all" * 100)
    with store.Index(tmp_path) as index:
        assert len(index.entries()) == 1
    with sqlite3.connect(tmp_path / ".index.sqlite") as database:
        database.execute("UPDATE made_by SET hash = 'other code'")
        database.execute("UPDATE entries SET status = 'wrong'")
    with store.Index(tmp_path) as index:
        assert {entry.status for entry in index.entries().values()} == {"ok"}


def test_the_index_gives_the_rows_that_the_records_give(tmp_path: Path) -> None:
    for size in (1, 2):
        records.write(record(cell(batch_size=size)), tmp_path)
    with store.Index(tmp_path, rows=True) as index:
        found = [dict(zip(rows.EXPORT_COLUMNS, row, strict=True)) for row in index.rows()]
    assert found == [rows.row(each) for each in records.read_all(tmp_path)[0]]


def test_readers_on_all_cores_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(1, 9):
        path = records.write(record(cell(batch_size=size)), tmp_path)
    path.write_text(path.read_text()[:100])
    found = []
    for least in (1, 1_000):
        monkeypatch.setattr(store, "PARALLEL_FROM_ROWS", least)
        with store.Index(tmp_path, rows=True) as index:
            found.append((index.entries(), list(index.rows()), index.problems()))
        (tmp_path / ".index.sqlite").unlink()
    assert found[0] == found[1]
    assert len(found[0][1]) == 7


def test_rows_are_made_when_an_export_first_asks_and_follow_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = records.write(record(), tmp_path)
    made: list[Record] = []
    row = rows.row
    monkeypatch.setattr(rows, "row", lambda found: made.append(found) or row(found))
    with store.Index(tmp_path) as index:
        assert len(index.entries()) == 1
    assert made == []
    for _ in range(2):
        with store.Index(tmp_path, rows=True) as index:
            assert len(list(index.rows())) == 1
    assert len(made) == 1
    records.write(records.read(path).model_copy(update={"reason": "changed"}), tmp_path)
    with store.Index(tmp_path) as index:
        assert len(index.entries()) == 1
    with store.Index(tmp_path, rows=True) as index:
        ((*values,),) = index.rows()
    assert values[rows.EXPORT_COLUMNS.index("reason")] == "changed"


def test_a_record_of_which_no_row_can_be_made_is_told_by_the_export_and_answers_for_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = records.write(record(), tmp_path)

    def fail(found: Record) -> dict[str, object]:
        raise ZeroDivisionError("no words")

    monkeypatch.setattr(rows, "row", fail)
    with store.Index(tmp_path, rows=True) as index:
        assert list(index.rows()) == []
        assert index.problems() == [f"{path}: no words"]
    with store.Index(tmp_path) as index:
        assert [entry.problem for entry in index.entries().values()] == [""]


def test_huge_answers_with_markup_are_stored_as_they_are_and_not_in_the_index(tmp_path: Path) -> None:
    text = "<script>alert(1)</script>" + "x" * 3_000_000
    spoken = tuple(answer.model_copy(update={"answer": text}) for answer in answers(4, 1))
    path = records.write(record(answers=spoken), tmp_path)
    assert records.read(path).answers[0].answer == text
    with store.Index(tmp_path, rows=True) as index:
        assert "script" not in json.dumps(list(index.rows()))
    assert (tmp_path / ".index.sqlite").stat().st_size < 200_000


def test_a_clock_that_went_backwards_refuses_to_replace_what_it_would_file_as_older(tmp_path: Path) -> None:
    made = older(cell())
    future = made.provenance.model_copy(update={"started_at": "2999-01-01T00:00:00+00:00"})
    path = records.write(made.model_copy(update={"provenance": future}), tmp_path / "results")
    states(tmp_path / "results", tmp_path)
    asked = sweep_command.Asked(
        spec=tmp_path / "s.yaml", results=tmp_path / "results", runs=tmp_path / "runs", stale=True
    )
    with pytest.raises(UserError, match="clock") as error:
        sweep_command.run(asked)
    assert str(path) in str(error.value)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_full_disk_no_record_is_half_written_and_the_old_ones_stay(tiny_disk: Path) -> None:
    kept = records.write(measured(cell()), tiny_disk)
    good = kept.read_bytes()
    long = tuple(answer.model_copy(update={"answer": "x" * 300_000}) for answer in answers(4, 1))
    with pytest.raises(OSError) as error:  # noqa: PT011
        records.write(measured(cell(batch_size=1), answers=long), tiny_disk)
    assert error.value.errno == errno.ENOSPC
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == [kept]
    with pytest.raises(OSError, match="No space"):
        paths.write_atomic(kept, "x" * 2_000_000)
    assert kept.read_bytes() == good
    with contextlib.suppress(OSError), (tiny_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    with store.Index(tiny_disk) as index:
        assert len(index.entries()) == 1, "it does without its file"


def test_a_read_only_folder_can_be_read_and_a_sweep_into_it_is_refused(
    tiny_disk: Path, tmp_path: Path
) -> None:
    records.write(measured(cell()), tiny_disk / "results")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    results = tiny_disk / "results"
    assert states(results, tmp_path)[2] == "recorded"
    assert recorded(cell(), results) == measured(cell())
    asked = sweep_command.Asked(spec=tmp_path / "s.yaml", results=results, runs=tmp_path / "runs")
    with pytest.raises(UserError, match="cannot write to"):
        sweep_command.run(asked)


def test_locks_are_let_go_when_their_process_ends(tmp_path: Path) -> None:
    mine = locks.Locks(tmp_path / "locks")
    child = os.fork()
    if child == 0:
        theirs = locks.Locks(tmp_path / "locks")
        os._exit(0 if theirs.take("cell") and theirs.take("other") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert mine.take("cell")
    child = os.fork()
    if child == 0:
        theirs = locks.Locks(tmp_path / "locks")
        right = not theirs.take("cell") and theirs.take("other") and theirs.holder("cell") == os.getppid()
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    shutil.rmtree(tmp_path, ignore_errors=True)
