"""An index beside the records, so that a question about all records need not read all of them.

``.index.sqlite`` in the results folder holds what planning, status and export ask of each record file, and
nothing that the files do not hold. Each use compares it with the files, reads the new and changed ones, and
forgets those that are gone. It is made again if it is missing, damaged or written by other code, and made in
memory if it cannot be written.

Whoever measures enters each record when it is written. The export values of any other record are made when
an export first asks for them, because they take longer than everything else.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from vlmnb.device import machine
from vlmnb.files import code_fingerprint
from vlmnb.files.changes import signature
from vlmnb.records import record_file
from vlmnb.records.indexed_record import IndexedRecord, read, read_all
from vlmnb.records.record import REPORTS, Record

INDEX = ".index.sqlite"

AT_ONCE = 5_000
"""Files that are entered in one transaction: other processes wait no longer than that takes."""

PROGRESS_FROM = 10_000
"""Number of new files from which on a terminal shows how far reading them is."""

READING = ("records", "quality", "stats", "flops", "meters", "spec", "types")
"""Parts of the package that decide what the index holds of a record."""

_COLUMNS = (*IndexedRecord._fields, "ctime_ns", "size", "inode")
_SUMMARY = IndexedRecord._fields[: IndexedRecord._fields.index("export")]
_TABLE = f"CREATE TABLE records ({', '.join(_COLUMNS)}, PRIMARY KEY (path)) WITHOUT ROWID"


def keep(made: Record, results: Path) -> Path:
    """Write a record to its place, enter it in the index, and return its path."""
    path = record_file.write(made, results)
    enter(path, results)
    return path


def enter(path: Path, results: Path) -> None:
    """Enter a record just written. If that fails, the next question about the records does it."""
    with contextlib.suppress(Exception):  # nothing about an index is a reason to end a measurement
        found, was = read(results, True, path.relative_to(results).as_posix())
        with contextlib.closing(sqlite3.connect(results / INDEX, timeout=1)) as database:
            # The index of other code is left alone: its owner may be at work.
            if _version(database) in (0, _code_version()):
                _prepare(database)
                _put(database, [(*found, *was)])


class Index:
    """The index of a results folder, or of one folder below it, as the files are now."""

    def __init__(self, results: Path, under: str = "", *, export: bool = False) -> None:
        """Bring the index up to date, or that of the folder ``under``; ``export``: make those values too."""
        self.results, self._under = results, under
        files = set(_scan(results, under))
        try:
            self._open(results / INDEX, files, export)
        except sqlite3.OperationalError:  # the file is sound, but cannot be written, or is locked too long
            self._open(":memory:", files, export)
        except sqlite3.DatabaseError:
            try:
                (results / INDEX).unlink(missing_ok=True)
                self._open(results / INDEX, files, export)
            except (OSError, sqlite3.DatabaseError):
                self._open(":memory:", files, export)

    def _open(self, place: Path | str, files: set[str], export: bool) -> None:
        self._database = sqlite3.connect(place, timeout=60, check_same_thread=False)
        try:
            _prepare(self._database)
            self._refresh(files, export)
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Index:
        """Return the index."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._database.close()

    def records(self, *, having: str = "") -> dict[str, IndexedRecord]:
        """Return files by their path below the results, in order; ``having``: a field that is not empty."""
        found = self._query(", ".join(_SUMMARY), f"{having} NOT IN ('', 0)" if having else "1")
        return {each[0]: IndexedRecord(*each) for each in found}

    def windows(self) -> dict[str, IndexedRecord]:
        """Return the A/A repeats and the records of the cells that they repeat, by their path, in order."""
        of_repeated = "asked IN (SELECT original FROM records WHERE original != '')"
        found = self._query(", ".join(_SUMMARY), f"repeat NOT IN ('', 0) OR {of_repeated}")
        return {each[0]: IndexedRecord(*each) for each in found}

    def at(self, names: Iterable[str]) -> dict[str, IndexedRecord]:
        """Return those files that exist among these paths."""
        fields = ", ".join(f"records.{field}" for field in _SUMMARY)
        asked = "json_each(?) AS asked CROSS JOIN records ON records.path = asked.value"
        found = self._database.execute(f"SELECT {fields} FROM {asked}", (to_json(list(names)).decode(),))
        return {each[0]: IndexedRecord(*each) for each in found}

    def newest(self) -> dict[str, str]:
        """Return the path of this machine's newest record of each cell, by the digest of the cell.

        If a cell has no record under its present key, this one is *stale*. A record of other hardware is
        neither exact nor stale: it answers another question. Nor is one of an unsupported cell: what it
        lacked may be here now.
        """
        here = machine.describe()
        found = self._database.execute(
            "SELECT cell, path FROM records WHERE machine = ? AND path > ? AND path < ? "
            "AND problem = '' AND status != 'unsupported' ORDER BY started_at, path",
            (here.fingerprint, *_below(here.slug)),
        )
        return dict(found.fetchall())

    def asked(self) -> dict[str, str]:
        """Return the path of this machine's newest record of each cell, by its digest without inputs."""
        here, found = machine.describe(), "machine = ? AND path > ? AND path < ? AND problem = ''"
        rows = self._database.execute(
            f"SELECT asked, path FROM records WHERE {found} ORDER BY started_at, path",
            (here.fingerprint, *_below(here.slug)),
        )
        return dict(rows.fetchall())

    def others(self, asked: Iterable[str]) -> dict[str, int]:
        """Count the measured records of no cell with one of these digests; by the path of a model's first."""
        found = self._database.execute(
            "SELECT min(path) AS first, count(*) AS n FROM "
            "(SELECT path, substr(path, instr(path, '/') + 1) AS below FROM records WHERE problem = '' "
            "AND path NOT GLOB ? AND asked NOT IN (SELECT value FROM json_each(?))) "
            "GROUP BY substr(below, 1, instr(below, '/')) ORDER BY n DESC, first",
            (f"{REPORTS}/*", to_json(list(asked)).decode()),
        )
        return dict(found.fetchall())

    def export(self) -> Iterator[str]:
        """Yield the export values of each record as a JSON list, in path order."""
        return (text for (text,) in self._query("export", "export IS NOT NULL"))

    def problems(self) -> list[str]:
        """Return a message for each file that is no record, or of which no numbers can be computed."""
        return [text for (text,) in self._query("problem || export_problem AS why", "why != ''")]

    def _query(self, columns: str, where: str = "1") -> sqlite3.Cursor:
        text = f"SELECT {columns} FROM records WHERE ({where}) AND path > ? AND path < ? ORDER BY path"
        return self._database.execute(text, _below(self._under))

    def _refresh(self, files: set[str], export: bool) -> None:
        complete = "export IS NOT NULL OR problem != ''" if export else "1"
        unchanged: set[str] = set()
        gone: list[tuple[str]] = []
        for path, whole, *known in self._query(f"path, {complete}, ctime_ns, size, inode"):
            if path in files:
                if whole and signature(os.path.join(self.results, path)) == tuple(known):
                    unchanged.add(path)
            # Another process may have entered a file that came after ours were listed.
            elif not os.path.lexists(self.results / path):
                gone.append((path,))
        if gone:
            with self._database:
                self._database.executemany("DELETE FROM records WHERE path = ?", gone)
        new = sorted(files - unchanged)
        found = read_all(self.results, new, export)
        if len(new) >= PROGRESS_FROM:
            from tqdm import tqdm

            found = iter(tqdm(found, "reading records", len(new), leave=False, disable=None, delay=1))
        while some := list(itertools.islice(found, AT_ONCE)):
            _put(self._database, some)


def _prepare(database: sqlite3.Connection) -> None:
    """Make the table if it is missing or was written by other code."""
    database.execute("PRAGMA synchronous = OFF")  # an index that a power cut damages is made again
    if _version(database) == _code_version():
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        if _version(database) != _code_version():  # else another process was quicker
            database.execute("DROP TABLE IF EXISTS records")
            database.execute(_TABLE)
            database.execute(f"PRAGMA user_version = {_code_version()}")


def _version(database: sqlite3.Connection) -> int:
    """Return what identifies the code that wrote an index; 0 for an empty one."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


@functools.cache
def _code_version() -> int:
    """Return a hash of the code that decides what the index holds of a record, 1 to 2^28."""
    code = f"{_TABLE} {code_fingerprint.of(READING)}"
    return 1 + int(hashlib.sha256(code.encode()).hexdigest()[:7], 16)


def _put(database: sqlite3.Connection, found: Sequence[tuple[Any, ...]]) -> None:
    """Enter files as they were read."""
    with database:
        database.executemany(
            f"INSERT OR REPLACE INTO records VALUES ({', '.join('?' * len(_COLUMNS))})", found
        )


def _below(folder: str) -> tuple[str, str]:
    """Return two texts between which the paths of a folder lie, or all paths if it is the results folder."""
    return (f"{folder}/", f"{folder}0") if folder else ("", chr(0x10FFFF))  # 0 comes after the slash


def _scan(results: Path, under: str) -> Iterator[str]:
    """Yield the record files."""
    for folder in glob.glob(f"{glob.escape(under) or '*/*'}/", root_dir=results):
        with contextlib.suppress(OSError):  # it is gone
            for name in os.listdir(os.path.join(results, folder)):
                if name.endswith(".json") and not name.startswith("."):
                    yield folder + name
