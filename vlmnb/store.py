"""An index beside the records, so that questions about all of them need not parse all of them.

``.index.sqlite`` in the results folder holds, per record file, what planning, status and export ask for. It
holds nothing of its own: every use compares it with the files (size, time, inode), reads what is new or
changed, and forgets what is gone; it is made anew when it is missing, damaged, or was written by other
code. Where it cannot be written (a read-only folder) it is made in memory, for this one use.

Whoever measures enters each record as it is written, so that no question has to wait for a sweep's worth
of reading. Files that were copied together with the index are known again by their content.

The row of an export costs more to make than all else: of records that nobody entered (a clone has no index),
rows are made when an export first asks for them.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from vlmnb import record, rows
from vlmnb.errors import Damaged, UserError
from vlmnb.spec import Cell

INDEX = ".index.sqlite"

PARALLEL_FROM = 2_000
"""New files from which on reading them is shared among the cores."""

PARALLEL_FROM_ROWS = 200
"""The same where rows are asked for: scoring the captions of one record can take 50 ms."""

TOGETHER = 5_000
"""Files that are entered in the index in one go."""

_READERS = (
    "record.py", "sealing.py", "timing.py", "flopcount.py", "rows.py", "readings.py",
    "scores.py", "captions.py", "stats.py", "spec.py", "quality.py", "optimizations.py",
    "guessing.py", "disturbance.py", "fit/usable.py",
)  # fmt: skip
"""Modules that decide what a row holds."""


class Entry(NamedTuple):
    """A record file, without its raw samples.

    Attributes:
        path: Relative to the results folder.
        machine: Fingerprint of the machine, empty where the record has none.
        cell: Digest of the cell.
        digest: Digest of the file's content.
        repeat: Number of an A/A repeat, 0 for any other record.
        gpu: Driver's name of the GPU, for a record that a prediction can be fitted on, else empty.
        quantization: How the weights of such a record were stored.
        problem: Why the file is no record; then everything behind ``path`` is empty.
    """

    path: str
    key: str = ""
    machine: str = ""
    cell: str = ""
    status: str = ""
    reason: str = ""
    started_at: str = ""
    seconds: float = 0.0
    digest: str = ""
    repeat: int = 0
    gpu: str = ""
    quantization: str = ""
    problem: str = ""


_COLUMNS = Entry._fields
_MARKS = ", ".join("?" * (len(_COLUMNS) + 4))
_ENTER = f"INSERT OR REPLACE INTO entries VALUES ({_MARKS})"
Signature = tuple[int, int, int]
Read = tuple[Entry, str | None]
"""Entry and row of a file; in the row's place None where it was not asked for, or why there is none."""


def cell_digest(cell: Cell) -> str:
    """Identifies a cell, whatever machine or code measured it."""
    return hashlib.sha256(cell.model_dump_json().encode()).hexdigest()[:16]


def keep(made: record.Record, results: Path) -> Path:
    """Store a record in its place and enter it in the index."""
    path = record.write(made, results)
    enter(path, results)
    return path


def enter(path: Path, results: Path) -> None:
    """Enter a record just written. Where that cannot be done now, the next question does it."""
    with contextlib.suppress(Exception):  # nothing about an index is a reason to end a measurement
        # Noted before reading: a file replaced meanwhile is then found to have changed.
        signature = _signature(path)
        found = _read(results, True, (path.relative_to(results).as_posix(), ""))
        with contextlib.closing(sqlite3.connect(results / INDEX, timeout=1)) as database:
            # One of other code is left alone: its owner may be at work.
            if found and signature and _writer(database) in (None, _made_by()):
                _prepare(database)
                with database:
                    database.execute(_ENTER, (*found[0], *signature, found[1]))


class Index:
    """The index of a results folder, or of one folder below it, as the files are now."""

    def __init__(self, results: Path, under: str = "", *, rows: bool = False) -> None:
        """Open the index and bring it up to date.

        Args:
            results: Folder of the records.
            under: ``hardware/model`` to look at that folder alone.
            rows: Whether :meth:`rows` will be asked for.
        """
        self.results = results
        self._under, self._with_rows = under, rows
        files = {name: signature for name, signature in _scan(results, under)}
        file = results / INDEX
        for place in (file, file, ":memory:") if results.is_dir() else (":memory:",):
            database: sqlite3.Connection | None = None
            try:
                database = self._database = sqlite3.connect(place, timeout=60, check_same_thread=False)
                _prepare(database)
                self._refresh(files)
                return
            except sqlite3.DatabaseError as error:
                if database:
                    database.close()
                # Read-only, full, or locked for too long: the file is sound, and done without.
                if not isinstance(error, sqlite3.OperationalError):
                    _damaged(file)

    def __enter__(self) -> Index:
        """The index itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._database.close()

    def entries(self) -> dict[str, Entry]:
        """All files by their path relative to the results folder, in path order."""
        found = self._query(f"SELECT {', '.join(_COLUMNS)} FROM entries")
        return {row[0]: Entry._make(row) for row in found}

    def rows(self) -> Iterator[list[Any]]:
        """Export rows, values in the order of ``EXPORT_COLUMNS``, in path order."""
        assert self._with_rows
        for (text,) in self._query("SELECT line FROM entries", "line LIKE '[%'"):
            yield from_json(text)

    def problems(self) -> list[str]:
        """A message for each file that is no record, and for each of which no row can be made."""
        problem = "CASE WHEN problem = '' THEN line ELSE problem END"
        return [text for (text,) in self._query(f"SELECT {problem} FROM entries", f"{problem} NOT LIKE '[%'")]

    def _query(self, select: str, where: str = "1") -> Iterable[Any]:
        under = f"{self._under}/" if self._under else ""
        text = f"{select} WHERE {where} AND substr(path, 1, ?) = ? ORDER BY path"
        return self._database.execute(text, (len(under), under))

    def _refresh(self, files: dict[str, Signature]) -> None:
        complete = "line IS NOT NULL" if self._with_rows else "1"
        unchanged: set[str] = set()
        gone: list[tuple[str]] = []
        for path, whole, mtime_ns, size, inode in self._query(
            f"SELECT path, {complete}, mtime_ns, size, inode FROM entries"
        ):
            signature = files.get(path)
            if whole and signature == (mtime_ns, size, inode):
                unchanged.add(path)
            # Who looks at the same time may know of files that came after ours were listed.
            elif signature is None and not os.path.lexists(self.results / path):
                gone.append((path,))
        if not gone and len(unchanged) == len(files):
            return
        new = [path for path in files if path not in unchanged]
        digests = dict(self._query("SELECT path, digest FROM entries", complete))
        looked_at = [(path, digests.get(path, "")) for path in new]
        read = zip(new, _read_all(self.results, looked_at, self._with_rows), strict=True)
        with self._database:
            self._database.executemany("DELETE FROM entries WHERE path = ?", gone)
        # Some at a time: what is read already is entered while other cores read on, the next use begins where
        # this one was killed, and others who look at the index never wait for all of it.
        while some := list(itertools.islice(read, TOGETHER)):
            made = [(*found[0], *files[path], found[1]) for path, found in some if found]
            touched = [(*files[path], path) for path, found in some if not found]
            with self._database:
                self._database.executemany(_ENTER, made)
                self._database.executemany(
                    "UPDATE entries SET mtime_ns = ?, size = ?, inode = ? WHERE path = ?", touched
                )


def _prepare(database: sqlite3.Connection) -> None:
    """Make the tables where they are missing or were written by other code."""
    # The index can be made anew at any time, so it need not survive a power cut.
    database.execute("PRAGMA synchronous = OFF")
    if _writer(database) == _made_by():
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        if _writer(database) == _made_by():  # another process was quicker
            return
        database.execute("DROP TABLE IF EXISTS entries")
        database.execute("DROP TABLE IF EXISTS made_by")
        columns = ", ".join([*_COLUMNS, "mtime_ns", "size", "inode", "line"])
        database.execute(f"CREATE TABLE entries ({columns}, PRIMARY KEY (path))")
        database.execute("CREATE TABLE made_by (hash)")
        database.execute("INSERT INTO made_by VALUES (?)", (_made_by(),))


def _writer(database: sqlite3.Connection) -> str | None:
    """Which code an index was written by; None where there is nothing in it."""
    if not database.execute("SELECT name FROM sqlite_master WHERE name = 'made_by'").fetchone():
        return None
    return str(database.execute("SELECT hash FROM made_by").fetchone()[0])


def _damaged(file: Path) -> None:
    for suffix in ("", "-journal"):
        with contextlib.suppress(OSError):
            file.with_name(file.name + suffix).unlink(missing_ok=True)


@functools.cache
def _made_by() -> str:
    here = Path(__file__).parent
    seen = hashlib.sha256(repr((_COLUMNS, rows.EXPORT_COLUMNS)).encode())
    for name in _READERS:
        seen.update((here / name).read_bytes())
    return seen.hexdigest()


def _scan(results: Path, under: str) -> Iterator[tuple[str, Signature]]:
    """Record files with what tells a changed file from an unchanged one."""
    folders = [under] if under else [
        f"{hardware}/{model}" for hardware in _folders(results) for model in _folders(results / hardware)
    ]  # fmt: skip
    for folder in folders:
        try:
            with os.scandir(results / folder) as found:
                for file in found:
                    named = file.name.endswith(".json") and not file.name.startswith(".")
                    if named and (signature := _signature(file)):
                        yield f"{folder}/{file.name}", signature
        except (FileNotFoundError, NotADirectoryError):
            continue


def _signature(file: os.DirEntry[str] | Path) -> Signature | None:
    """What tells a file from what it was; of a link to nothing the link's own, None of what is gone."""
    try:
        told = file.stat()
    except OSError:
        try:
            told = file.stat(follow_symlinks=False)
        except OSError:
            return None
    return told.st_mtime_ns, told.st_size, told.st_ino


def _folders(parent: Path) -> list[str]:
    try:
        with os.scandir(parent) as found:
            return sorted(entry.name for entry in found if entry.is_dir() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_all(results: Path, files: Sequence[tuple[str, str]], with_rows: bool) -> Iterator[Read | None]:
    read: Callable[[tuple[str, str]], Read | None] = functools.partial(_read, results, with_rows)
    cores = os.cpu_count() or 1
    if len(files) < (PARALLEL_FROM_ROWS if with_rows else PARALLEL_FROM) or cores == 1:
        yield from map(read, files)
        return
    # Frozen, what was inherited is not walked through, and so not copied, each time garbage is collected.
    with ProcessPoolExecutor(cores, initializer=gc.freeze) as pool:
        yield from pool.map(read, files, chunksize=max(1, min(200, len(files) // (4 * cores))))


def _read(results: Path, with_row: bool, file: tuple[str, str]) -> Read | None:
    """What a file holds; None where its content has the digest that it is given with."""
    from vlmnb.fit import usable

    name, known = file
    path = f"{results}/{name}"
    try:
        content = _content(path)
        digest = hashlib.sha256(content).hexdigest()[:16]
        if digest == known:
            return None
        found = record.parse(path, content)
    except OSError as error:
        return Entry(name, problem=str(Damaged.unreadable(path, error))), ""
    except ValueError as error:
        return Entry(name, problem=str(error) or type(error).__name__), ""
    gpu = quantization = ""
    with contextlib.suppress(UserError, LookupError):  # an optimization, or a machine, of other code
        gpu, quantization = usable.of(found) or ("", "")
    entry = Entry(
        path=name,
        key=found.key,
        machine=str(found.provenance.machine.get("fingerprint", "")),
        cell=cell_digest(found.cell),
        status=found.status,
        reason=found.reason,
        started_at=found.provenance.started_at,
        seconds=found.provenance.seconds or 0.0,
        digest=digest,
        repeat=found.cell.repeat,
        gpu=gpu,
        quantization=quantization,
    )
    return entry, _row(path, found) if with_row else None


def _content(path: str) -> bytes:
    """What is in a file, in half the time that opening a file object takes: records are small and many."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(functools.partial(os.read, descriptor, 1 << 20), b""))
    finally:
        os.close(descriptor)


def _row(path: str, found: record.Record) -> str:
    try:
        row = rows.row(found)
    except (ValueError, ArithmeticError, TypeError) as error:
        return f"{path}: {error or type(error).__name__}"
    return to_json([row[column] for column in rows.EXPORT_COLUMNS]).decode()
