"""What the index tells of each record file: the entry that planning asks for, and the row of an export."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pydantic_core import to_json

from vlmnb.errors import Damaged, UserError
from vlmnb.files import code_fingerprint
from vlmnb.records import export_columns, record
from vlmnb.spec.cell import Cell

READING = ("records", "quality", "stats", "flops", "meters", "spec", "types")
"""Folders whose code decides what the index holds of a record."""

PARALLEL_FROM = 2_000
"""New files from which on reading them is shared among the cores."""

PARALLEL_FROM_ROWS = 200
"""The same where rows are asked for: scoring the captions of one record can take 50 ms."""


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
    machine: str = ""
    cell: str = ""
    status: str = ""
    reason: str = ""
    started_at: str = ""
    digest: str = ""
    repeat: int = 0
    gpu: str = ""
    quantization: str = ""
    problem: str = ""


Read = tuple[Entry, str | None]
"""Entry and row of a file; in the row's place None where it was not asked for, or why there is none."""


def cell_digest(cell: Cell) -> str:
    """Identifies a cell, whatever machine or code measured it."""
    return hashlib.sha256(cell.model_dump_json().encode()).hexdigest()[:16]


@functools.cache
def fingerprint() -> str:
    """Return the hash of the code that decides what the index holds of a file."""
    fields = repr((Entry._fields, export_columns.EXPORT_COLUMNS))
    return hashlib.sha256(f"{fields} {code_fingerprint.of(READING)}".encode()).hexdigest()


def read_all(results: Path, files: Sequence[tuple[str, str]], with_rows: bool) -> Iterator[Read | None]:
    """What files hold, each with the digest that is known of it, in their order; many on all cores."""
    one: Callable[[tuple[str, str]], Read | None] = functools.partial(read, results, with_rows)
    cores = os.cpu_count() or 1
    if len(files) < (PARALLEL_FROM_ROWS if with_rows else PARALLEL_FROM) or cores == 1:
        yield from map(one, files)
        return
    with ProcessPoolExecutor(cores, initializer=_seldom_collect) as pool:
        yield from pool.map(one, files, chunksize=max(1, min(200, len(files) // (4 * cores))))


def _seldom_collect() -> None:
    # Frozen, what was inherited is not walked through, and so not copied, each time garbage is collected;
    # and what is read of a record holds no cycle: looking for some takes a sixth of the time.
    gc.freeze()
    gc.set_threshold(100_000)


def read(results: Path, with_row: bool, file: tuple[str, str]) -> Read | None:
    """What a file holds; None where its content has the digest that it is given with."""
    from vlmnb.records import usable

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
        machine=str(found.provenance.machine.get("fingerprint", "")),
        cell=cell_digest(found.cell),
        status=found.status,
        reason=found.reason,
        started_at=found.provenance.started_at,
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
        row = export_columns.row(found)
    except (ValueError, ArithmeticError, TypeError) as error:
        return f"{path}: {error or type(error).__name__}"
    return to_json([row[column] for column in export_columns.EXPORT_COLUMNS]).decode()
