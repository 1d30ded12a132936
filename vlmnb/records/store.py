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
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from vlmnb.records import record
from vlmnb.records.index_entries import Entry, Read, fingerprint, read, read_all

INDEX = ".index.sqlite"

TOGETHER = 5_000
"""Files that are entered in the index in one go."""

TOLD_FROM = 10_000
"""Files from which on a terminal is told how far reading them is."""

_COLUMNS = Entry._fields
_ALL = ", ".join([*_COLUMNS, "has_line", "sum", "ctime_ns", "size", "inode"])
_TABLES = (
    f"CREATE TABLE entries ({_ALL}, PRIMARY KEY (path)) WITHOUT ROWID",
    # Apart, so that a question about entries need not read past a hundred columns of each.
    "CREATE TABLE lines (path PRIMARY KEY, line, sum) WITHOUT ROWID",
    "CREATE TABLE made_by (hash)",
)
_ENTER = f"INSERT OR REPLACE INTO entries VALUES ({', '.join('?' * (len(_COLUMNS) + 5))})"
_SUMMED = " || char(31) || ".join([*_COLUMNS, "has_line"])
"""What the sum of an entry is of: the same text as in ``_put``."""

_UPDATE = "UPDATE entries SET ctime_ns = ?, size = ?, inode = ? WHERE path = ?"

Signature = tuple[int, int, int]
"""What tells a changed file from an unchanged one: time of the last change, size and inode."""


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
        found = read(results, True, (path.relative_to(results).as_posix(), ""))
        with contextlib.closing(sqlite3.connect(results / INDEX, timeout=1)) as database:
            # One of other code is left alone: its owner may be at work.
            if found and signature and _writer(database) in (None, _made_by()):
                _prepare(database)
                _put(database, [(found, signature)])


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
        with uncollected():
            self._open(dict(_scan(results, under)), results / INDEX)

    def _open(self, files: dict[str, Signature], file: Path) -> None:
        results = self.results
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
                if not isinstance(error, sqlite3.OperationalError) or "decode" in str(error):
                    _damaged(file)

    def __enter__(self) -> Index:
        """The index itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._database.close()

    def entries(self, *, having: str = "") -> dict[str, Entry]:
        """Files by their path relative to the results folder, in path order.

        Args:
            having: A column that is to hold something; by default all files are told.
        """
        assert not having or having in _COLUMNS
        where = f"{having} NOT IN ('', 0)" if having else "1"
        found = self._query(f"SELECT {', '.join(_COLUMNS)} FROM entries", where)
        return {row[0]: Entry._make(row) for row in found}

    def at(self, names: Iterable[str]) -> dict[str, Entry]:
        """Those of these paths that there are."""
        columns = ", ".join(f"entries.{column}" for column in _COLUMNS)
        asked = "json_each(?) AS asked CROSS JOIN entries ON entries.path = asked.value"
        found = self._database.execute(f"SELECT {columns} FROM {asked}", (to_json(list(names)).decode(),))
        return {row[0]: Entry._make(row) for row in found}

    def newest(self, hardware: str, machine: str) -> dict[str, str]:
        """Path of the record measured last of each cell, by the cell's digest.

        Args:
            hardware: Slug of the machine.
            machine: Its fingerprint.
        """
        found = self._database.execute(
            "SELECT cell, path FROM entries WHERE machine = ? AND path > ? AND path < ? "
            "AND problem = '' ORDER BY started_at, path",
            (machine, *_below(hardware)),
        )
        return dict(found.fetchall())

    def rows(self) -> Iterator[list[Any]]:
        """Export rows, values in the order of ``EXPORT_COLUMNS``, in path order."""
        assert self._with_rows
        for (text,) in self._query("SELECT line FROM lines JOIN entries USING (path)", "line LIKE '[%'"):
            yield from_json(text)

    def problems(self) -> list[str]:
        """A message for each file that is no record, and for each of which no row can be made."""
        of_files = self._query("SELECT path, problem FROM entries", "problem != ''")
        of_rows = self._query("SELECT path, line FROM lines JOIN entries USING (path)", "line NOT LIKE '[%'")
        return [text for _, text in sorted([*of_files, *of_rows])]

    def _query(self, select: str, where: str = "1") -> Iterable[Any]:
        text = f"{select} WHERE {where} AND path > ? AND path < ? ORDER BY path"
        return self._database.execute(text, _below(self._under))

    def _refresh(self, files: dict[str, Signature]) -> None:
        complete = "has_line" if self._with_rows else "1"
        sound = self._sound_lines() if self._with_rows else set()
        unchanged: set[str] = set()
        gone: list[tuple[str]] = []
        digests: dict[str, str] = {}
        for path, whole, has_row, digest, summed, total, *known in self._query(
            f"SELECT path, {complete}, problem = '', digest, {_SUMMED}, sum, ctime_ns, size, inode "
            "FROM entries"
        ):
            signature = files.get(path)
            if signature is None:
                # Who looks at the same time may know of files that came after ours were listed.
                if not os.path.lexists(self.results / path):
                    gone.append((path,))
            elif self._with_rows and has_row and path not in sound:
                continue
            elif whole and _sum(str(summed)) == total:
                if signature == tuple(known):
                    unchanged.add(path)
                digests[path] = digest
        if not gone and len(unchanged) == len(files):
            return
        new = sorted(files.keys() - unchanged)
        looked_at = [(path, digests.get(path, "")) for path in new]
        found = zip(new, _told(len(new), read_all(self.results, looked_at, self._with_rows)), strict=True)
        with self._database:
            for table in ("entries", "lines"):
                self._database.executemany(f"DELETE FROM {table} WHERE path = ?", gone)
        # Some at a time: what is read already is entered while other cores read on, the next use begins where
        # this one was killed, and others who look at the index never wait for all of it.
        while some := list(itertools.islice(found, TOGETHER)):
            _put(self._database, [(told, files[path]) for path, told in some if told])
            with self._database:
                self._database.executemany(_UPDATE, ((*files[path], path) for path, told in some if not told))

    def _sound_lines(self) -> set[str]:
        """Files whose row is as it was entered: a disk can lose a bit, and no number is to be wrong."""
        found = self._query("SELECT path, line, sum FROM lines")
        return {path for path, line, total in found if _sum(f"{path}\x1f{line}") == total}


def _prepare(database: sqlite3.Connection) -> None:
    """Make the tables where they are missing or were written by other code."""
    # The index can be made anew at any time, so it need not survive a power cut.
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA page_size = 16384")  # several rows of an export to a page
    if _writer(database) == _made_by():
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        if _writer(database) == _made_by():  # another process was quicker
            return
        for table in ("entries", "lines", "made_by"):
            database.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _TABLES:
            database.execute(statement)
        database.execute("INSERT INTO made_by VALUES (?)", (_made_by(),))


@functools.cache
def _made_by() -> str:
    return hashlib.sha256(repr((_TABLES, fingerprint())).encode()).hexdigest()


def _told(files: int, found: Iterator[Read | None]) -> Iterator[Read | None]:
    """Say on a terminal how far reading is, where it takes longer than one waits without being told."""
    if files < TOLD_FROM:
        return found
    from tqdm import tqdm

    return iter(tqdm(found, "reading records", files, leave=False, disable=None, delay=1))


def _put(database: sqlite3.Connection, read: Sequence[tuple[Read, Signature]]) -> None:
    """Enter files as they were read."""
    lines = [(entry.path, line, _sum(f"{entry.path}\x1f{line}")) for (entry, line), _ in read if line]
    without = [(entry.path,) for (entry, line), _ in read if not line]
    entered = [((*entry, int(line is not None)), signature) for (entry, line), signature in read]
    with database:
        database.executemany(
            _ENTER, ((*told, _sum("\x1f".join(map(str, told))), *signature) for told, signature in entered)
        )
        database.executemany("INSERT OR REPLACE INTO lines VALUES (?, ?, ?)", lines)
        database.executemany("DELETE FROM lines WHERE path = ?", without)


def _sum(text: str) -> int:
    return zlib.crc32(text.encode())


def _writer(database: sqlite3.Connection) -> str | None:
    """Which code an index was written by; None where there is nothing in it."""
    if not database.execute("SELECT name FROM sqlite_master WHERE name = 'made_by'").fetchone():
        return None
    return str(database.execute("SELECT hash FROM made_by").fetchone()[0])


def _below(folder: str) -> tuple[str, str]:
    """Ends between which the paths of a folder lie; of the results folder itself, those of all."""
    return (f"{folder}/", f"{folder}0") if folder else ("", chr(0x10FFFF))  # 0 comes after the slash


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """A block without garbage collection: 100,000 rows hold no cycle, and each pass goes through them all."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _damaged(file: Path) -> None:
    for suffix in ("", "-journal"):
        with contextlib.suppress(OSError):
            file.with_name(file.name + suffix).unlink(missing_ok=True)


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
    # Not when the content was changed: that time can be set, and an edit hidden by it.
    return told.st_ctime_ns, told.st_size, told.st_ino


def _folders(parent: Path) -> list[str]:
    try:
        with os.scandir(parent) as found:
            return sorted(entry.name for entry in found if entry.is_dir() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
