"""The index of a folder of records follows the files, and does without its own file on a full disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import answers, cell, record
from stored import exported, indexed, job_of, measured, recorded, states

from vlmnb import paths
from vlmnb.cli import sweep_command
from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.records import export_columns, indexed_record, record_file, store
from vlmnb.records.cells_to_measure import CellsToMeasure
from vlmnb.records.record import Record
from vlmnb.sweep import inventory, options, status


@pytest.fixture(autouse=True)
def _no_device_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slots.HELD, "cpu")


def test_a_link_to_nothing_hides_no_record_beside_it(tmp_path: Path) -> None:
    for batch_size in (1, 2):
        path = record_file.write(measured(cell(batch_size=batch_size)), tmp_path)
    links = [path.with_name(f"{number:016x}.json") for number in range(20)]
    for link in links:
        link.symlink_to(tmp_path / "gone.json")
    jobs, left_out, _ = inventory.look([job_of(tmp_path, tmp_path).run], tmp_path, tmp_path / "runs")
    assert [state.state for state in jobs[0].cells] == ["recorded", "recorded"]
    assert left_out == [f"{link} is a link to {tmp_path}/gone.json, which is not there" for link in links]
    said = status.lines(jobs, left_out=left_out)
    assert [line for line in said if line.startswith("left out: ")] == [
        f"left out: {line}" for line in left_out[:5]
    ]
    assert [line for line in said if line.startswith("and 15 more")]
    rows, problems = exported(tmp_path)
    assert (len(rows), problems) == (2, left_out)
    links[0].unlink()
    links[1].unlink()
    links[1].write_bytes(path.read_bytes())
    assert [line for line in exported(tmp_path)[1] if "is a link" in line] == left_out[2:]


def test_a_record_of_an_optimization_that_this_code_does_not_know_stops_nothing(tmp_path: Path) -> None:
    record_file.write(record(cell(optimization="of-the-future")), tmp_path)
    assert [entry.problem for entry in indexed(tmp_path).values()] == [""]
    assert states(tmp_path, tmp_path) == {1: "missing", 2: "missing"}


def test_an_edit_that_hides_behind_size_and_time_is_seen(tmp_path: Path) -> None:
    path = store.keep(record(), tmp_path)
    assert exported(tmp_path)[1] == []
    was = path.stat()
    with path.open("r+b") as file:
        file.write(path.read_bytes().replace(b"0.4", b"0.1"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    rows, problems = exported(tmp_path)
    assert rows == []
    assert "edited by hand" in problems[0]


def test_the_index_follows_the_files_and_is_never_trusted(tmp_path: Path) -> None:
    first = record_file.write(measured(cell()), tmp_path)
    for _ in range(2):
        assert [entry.status for entry in indexed(tmp_path).values()] == ["ok"]
    record_file.write(measured(cell(), status="failed", reason="r"), tmp_path)
    second = record_file.write(measured(cell(batch_size=1)), tmp_path)
    assert sorted(entry.status for entry in indexed(tmp_path).values()) == ["failed", "ok"]
    first.unlink()
    assert list(indexed(tmp_path)) == [second.relative_to(tmp_path).as_posix()]
    (tmp_path / ".index.sqlite").write_bytes(b"no database at all" * 100)
    assert len(indexed(tmp_path)) == 1
    with sqlite3.connect(tmp_path / ".index.sqlite") as database:
        database.execute("PRAGMA user_version = 1")
        database.execute("UPDATE records SET status = 'wrong'")
    assert {entry.status for entry in indexed(tmp_path).values()} == {"ok"}


def test_readers_on_all_cores_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(1, 9):
        path = record_file.write(record(cell(batch_size=size)), tmp_path)
    path.write_text(path.read_text()[:100])
    found = []
    for least in (1, 1_000):
        monkeypatch.setattr(indexed_record, "PARALLEL_FROM_EXPORT", least)
        found.append((exported(tmp_path), indexed(tmp_path)))
        (tmp_path / ".index.sqlite").unlink()
    assert found[0] == found[1]
    assert found[0][0][0] == [export_columns.row(each) for each in record_file.read_all(tmp_path)[0]]
    assert len(found[0][0][0]) == 7


def test_reading_many_records_is_told_on_a_terminal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in (1, 2):
        record_file.write(record(cell(batch_size=size)), tmp_path)
    monkeypatch.setattr(store, "PROGRESS_FROM", 1)
    assert len(indexed(tmp_path)) == 2
    assert capsys.readouterr().err == ""


def test_an_index_of_one_folder_tells_nothing_of_its_neighbours(tmp_path: Path) -> None:
    for model in ("fuyu-tiny", "llava-tiny"):
        store.keep(measured(cell(model=model)), tmp_path)
    with store.Index(tmp_path, next(tmp_path.glob("*/fuyu-tiny")).relative_to(tmp_path).as_posix()) as index:
        assert [Path(name).parent.name for name in index.records()] == ["fuyu-tiny"]
    with store.Index(tmp_path) as index:
        assert len(index.records()) == 2
        assert index.at(["nowhere/1.json", *index.records()]) == index.records()


def test_what_was_kept_of_an_earlier_damage_stays(tmp_path: Path) -> None:
    for number in range(3):
        path = record_file.write(measured(cell()), tmp_path)
        path.write_text(f"damage {number}")
    record_file.write(measured(cell()), tmp_path)
    kept = {one.name.removeprefix(path.stem): one.read_text() for one in path.parent.glob("*.damaged*")}
    assert kept == {".damaged": "damage 2", ".damaged.1": "damage 0", ".damaged.2": "damage 1"}
    assert exported(tmp_path)[1] == []


def test_rows_are_made_when_an_export_first_asks_and_follow_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record_file.write(record(), tmp_path)
    made: list[Record] = []
    row = export_columns.row
    monkeypatch.setattr(export_columns, "row", lambda found: made.append(found) or row(found))
    assert len(indexed(tmp_path)) == 1
    assert made == []
    for _ in range(2):
        assert len(exported(tmp_path)[0]) == 1
    assert len(made) == 1
    record_file.write(record_file.read(path).model_copy(update={"reason": "changed"}), tmp_path)
    assert len(indexed(tmp_path)) == 1
    assert [row["reason"] for row in exported(tmp_path)[0]] == ["changed"]


def refuse(*_: object) -> None:
    raise AssertionError("read though it is known")


def test_what_was_just_measured_need_not_be_read_to_be_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 2):
        with CellsToMeasure([cell(batch_size=size)], tmp_path) as at:
            at.write(record(cell(batch_size=size), key=f"{size:016}"))
    with monkeypatch.context() as patched:
        patched.setattr(indexed_record, "read", refuse)
        assert [entry.status for entry in indexed(tmp_path).values()] == ["ok", "ok"]
        found = exported(tmp_path)[0]
    assert found == [export_columns.row(each) for each in record_file.read_all(tmp_path)[0]]
    written = store.keep(record(cell(batch_size=2), key=f"{2:016}", reason="measured again"), tmp_path)
    assert indexed(tmp_path)[written.relative_to(tmp_path).as_posix()].reason == "measured again"


def test_a_record_that_cannot_be_entered_is_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(found: Record) -> dict[str, object]:
        raise RuntimeError("a metric's package is broken")

    with monkeypatch.context() as patched:
        patched.setattr(export_columns, "row", fail)
        store.keep(record(), tmp_path)
    (tmp_path / store.INDEX).mkdir()
    path = store.keep(record(), tmp_path)
    assert record_file.read(path) == record()


def test_an_index_of_other_code_is_left_to_that_code_by_who_measures(tmp_path: Path) -> None:
    store.keep(record(cell(batch_size=1), key=f"{1:016}"), tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / store.INDEX)) as database, database:
        database.execute("PRAGMA user_version = 1")
    before = (tmp_path / store.INDEX).read_bytes()
    store.keep(record(cell(batch_size=2), key=f"{2:016}"), tmp_path)
    assert (tmp_path / store.INDEX).read_bytes() == before
    assert len(exported(tmp_path)[0]) == 2


def test_records_copied_with_their_index_are_read_again(tmp_path: Path) -> None:
    for size in (1, 2):
        store.keep(record(cell(batch_size=size), key=f"{size:016}"), tmp_path / "here")
    there = shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    edited = next(there.glob("*/*/*.json"))
    edited.write_text(edited.read_text().replace('"seed": 0', '"seed": 1'))
    rows, problems = exported(there)
    assert len(rows) == 1
    assert "edited by hand" in problems[0]


def test_an_index_with_a_broken_page_is_made_again(tmp_path: Path) -> None:
    for size in range(1, 9):
        store.keep(record(cell(batch_size=size), key=f"{size:016}"), tmp_path)
    file = tmp_path / store.INDEX
    content = file.read_bytes()
    assert len(content) >= 4 * 4096
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert len(exported(tmp_path)[0]) == 8


def test_a_record_of_which_no_numbers_can_be_computed_is_exported_with_its_cell_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record_file.write(record(), tmp_path)

    def fail(found: Record) -> dict[str, object]:
        raise ZeroDivisionError("no words")

    monkeypatch.setattr(export_columns, "row", fail)
    (row,), problems = exported(tmp_path)
    assert problems == [f"{path}: {row['notes']}"]
    assert (row["key"], row["model"], row["latency_s"]) == (record().key, "llava-tiny", None)
    assert "no words" in row["notes"]
    assert [entry.problem for entry in indexed(tmp_path).values()] == [""]


def test_huge_answers_with_markup_are_stored_as_they_are_and_not_in_the_index(tmp_path: Path) -> None:
    text = "<script>alert(1)</script>" + "x" * 300_000
    spoken = tuple(answer.model_copy(update={"answer": text}) for answer in answers(4, 1))
    path = record_file.write(record(answers=spoken), tmp_path)
    assert record_file.read(path).answers[0].answer == text
    assert "script" not in json.dumps(exported(tmp_path))
    assert (tmp_path / ".index.sqlite").stat().st_size < 200_000


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
    kept = record_file.write(measured(cell()), tiny_disk)
    good = kept.read_bytes()
    long = tuple(answer.model_copy(update={"answer": "x" * 300_000}) for answer in answers(4, 1))
    with pytest.raises(OSError) as error:  # noqa: PT011
        record_file.write(measured(cell(batch_size=1), answers=long), tiny_disk)
    assert error.value.errno == errno.ENOSPC
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == [kept]
    with pytest.raises(OSError, match="No space"):
        paths.write_atomic(kept, "x" * 2_000_000)
    assert kept.read_bytes() == good
    with contextlib.suppress(OSError), (tiny_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    assert len(indexed(tiny_disk)) == 1, "it does without its file"


def test_a_read_only_folder_can_be_read_and_a_sweep_into_it_is_refused(
    tiny_disk: Path, tmp_path: Path
) -> None:
    record_file.write(measured(cell()), tiny_disk / "results")
    results = tiny_disk / "results"
    (results / store.INDEX).write_bytes(b"no database" * 100)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    assert states(results, tmp_path)[2] == "recorded"
    assert recorded(cell(), results) == measured(cell())
    asked = options.Asked(spec=tmp_path / "s.yaml", results=results, runs=tmp_path / "runs")
    with pytest.raises(UserError, match="cannot write to"):
        sweep_command.run(asked)
    with (
        CellsToMeasure([cell()], results) as work,
        pytest.raises(UserError, match="cannot write to"),
        work.claimed(work.cells[0]),
    ):
        pass
    with pytest.raises(UserError, match="cannot write to"):
        sweep_command.require_writable(tmp_path / "new" / "results", tiny_disk / "runs")
    assert not (tmp_path / "new").exists(), "what is refused leaves nothing behind"


def test_a_record_that_comes_while_another_looks_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_file.write(measured(cell()), tmp_path)
    scan, opened = store._scan, []

    def overtaken(results: Path, under: str) -> list[tuple[str, store.Signature]]:
        """What was there before a run beside this one recorded a cell and looked at the index."""
        found = list(scan(results, under))
        monkeypatch.setattr(store, "_scan", scan)
        record_file.write(measured(cell(batch_size=1)), tmp_path)
        opened.append(store.Index(tmp_path))
        return found

    monkeypatch.setattr(store, "_scan", overtaken)
    with store.Index(tmp_path):
        pass
    with opened[0] as index:
        assert len(index.records()) == 2


def test_a_folder_that_vanishes_while_it_is_read_is_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    record_file.write(measured(cell()), results)
    scan = store._scan

    def vanished(results: Path, under: str) -> list[tuple[str, store.Signature]]:
        found = list(scan(results, under))
        shutil.rmtree(results)
        return found

    monkeypatch.setattr(store, "_scan", vanished)
    rows, problems = exported(results)
    assert (rows, len(problems)) == ([], 1)
    assert record_file.read_all(results) == ([], [])
