"""Decide which cells of a notebook still need measuring, and lock each so that no other process measures it.

A sweep passes to its notebooks, through files named in the environment, which recorded cells to measure again
(``VLMNB_AGAIN``), and reads there which cell is being measured (``VLMNB_PROGRESS``), also after the Jupyter
kernel died.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.files import locks
from vlmnb.files.changes import signature
from vlmnb.records import record_file, store
from vlmnb.records.indexed_record import cell_digest
from vlmnb.records.record import Record
from vlmnb.records.resolved import Resolved, blank_record, resolve
from vlmnb.spec.cell import Cell, line

AGAIN = "VLMNB_AGAIN"
"""File with the keys, one per line, of recorded or stale cells to measure again."""

PROGRESS = "VLMNB_PROGRESS"
"""File that names the cell being measured."""

MAY_BEGIN = "VLMNB_TURN"
"""File that a sweep creates when this run may begin to measure; until then the run waits, already started."""

RATES = "VLMNB_RATES"
"""Folder in which the runs of a sweep in one environment keep the peak rates of their device."""

STALE = "VLMNB_STALE"
"""Set to ``1`` by hand to measure cells that have only a stale record."""

POLL_S = 0.05

SIZES = ("batch_size", "image_size", "seq_len")


class CellsToMeasure:
    """The cells of one notebook; holds the device and the locks until it is closed.

    Attributes:
        cells: The notebook's cells in their order, resolved at the start.
    """

    def __init__(self, wanted: Sequence[Cell], results: Path) -> None:
        """Resolve the cells and read which of them to measure again."""
        self._results = results
        named = os.environ.get(AGAIN)
        again = set(Path(named).read_text(encoding="utf-8").split()) if named else set()
        found = resolve(wanted, results)
        self.cells = [found[cell] for cell in wanted]
        self._again = {one.key: signature(one.path) for one in self.cells if one.key in again}
        self._held = contextlib.ExitStack()

    def __enter__(self) -> CellsToMeasure:
        """Return the cells."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the device and the locks."""
        self._held.close()

    def recorded(self, resolved: Resolved) -> Record | None:
        """Return the record that answers for a cell: its exact one, or else a stale one of this machine."""
        path, again = resolved.path, resolved.key in self._again
        if again and signature(path) == self._again[resolved.key]:
            return None
        with contextlib.suppress(ValueError):
            if path.exists():
                return record_file.read(path)
        if not again and os.environ.get(STALE) != "1":
            inputs = resolved.revisions.weights, resolved.revisions.data
            with contextlib.suppress(ValueError, KeyError):
                return record_file.read(self._results / self._stale[cell_digest(resolved.cell, *inputs)])
        return None

    @contextlib.contextmanager
    def claimed(self, resolved: Resolved) -> Iterator[None]:
        """Keep other processes from measuring this cell, and from using its device, within the block.

        Raises:
            UserError: The results folder cannot be written; within a sweep an OSError.
        """
        of_cells, _ = self._locks, self._device
        of_cells.wait(resolved.key)
        began = datetime.now(UTC).isoformat()
        _say_progress({"key": resolved.key, "cell": line(resolved.cell), "began": began})
        try:
            yield
        finally:
            _say_progress(None)
            of_cells.release(resolved.key)

    @contextlib.contextmanager
    def taking_turns(self) -> Iterator[None]:
        """Keep other processes from using the device, and say that cells take turns.

        An earlier process may have measured all of them and been stopped before this.
        """
        _ = self._device
        _say_progress({"key": "", "cell": "its cells take turns", "began": datetime.now(UTC).isoformat()})
        try:
            yield
        finally:
            _say_progress(None)

    def write(self, made: Record) -> Record:
        """Store a record and return what was stored. A damaged file in its place is kept under another name.

        A sweep has reported the damaged file already; without a sweep it is reported here.

        Raises:
            OSError: The results folder cannot be written.
        """
        path = paths.record(self._results, made.hardware, made.cell.model, made.key)
        kept, made = record_file.keep_damaged(path), record_file.finite(made)
        store.keep(made, self._results)
        if kept and AGAIN not in os.environ:
            why = f"was measured again; the file that was there is kept as {kept.name}"
            print(f"damaged record: {path} {why}", file=sys.stderr, flush=True)
        return made

    def ran_out(self, resolved: Resolved, before: Sequence[Record]) -> Record | None:
        """Return a record for a cell larger than one that ran out of memory, so that it is not tried."""
        if resolved.key in self._again:
            return None
        cell = resolved.cell
        for other in (found.cell for found in before if found.status == "out_of_memory"):
            smaller = {n: getattr(other, n) for n in SIZES if getattr(other, n) < getattr(cell, n)}
            if smaller and cell.model_copy(update=smaller) == other:
                size = ", ".join(f"{name} {value}".replace("_", " ") for name, value in smaller.items())
                reason = f"not tried: {size} already ran out of memory"
                started = datetime.now(UTC).isoformat(timespec="seconds")
                return blank_record(resolved, started, "out_of_memory", reason)
        return None

    @functools.cached_property
    def _stale(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder in {one.path.parent for one in self.cells}:
            with store.Index(self._results, folder.relative_to(self._results).as_posix()) as index:
                found |= index.newest()
        return found

    @functools.cached_property
    def _locks(self) -> locks.Locks:
        try:
            return locks.Locks(self._results / ".cells.lock")
        except OSError as error:
            if AGAIN in os.environ:
                raise
            raise UserError(
                f"cannot write to {self._results}: {error.strerror}; name another folder"
            ) from None

    @functools.cached_property
    def _device(self) -> None:
        """Wait until the sweep lets this run begin, then for the device."""
        may_begin = os.environ.get(MAY_BEGIN)
        while may_begin and not os.path.exists(may_begin):
            time.sleep(POLL_S)
        show_once = functools.cache(_show)
        self._held.enter_context(slots.by_hand([one.cell.device for one in self.cells], show_once))


def _show(line: str) -> None:
    """Print a line, also on the terminal of the Jupyter kernel: papermill shows it only at a cell's end."""
    print(line, file=sys.stderr, flush=True)
    # In a Jupyter kernel sys.stderr goes into the notebook; its fileno is the stream the kernel was given.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stderr.fileno() != 2:
            os.write(sys.stderr.fileno(), f"{line}\n".encode())


def _say_progress(what: dict[str, str] | None) -> None:
    file = os.environ.get(PROGRESS)
    if file:
        paths.write_atomic(Path(file), json.dumps(what))
