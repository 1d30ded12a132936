"""Which cells of a notebook are measured: none that is recorded, none that another process is measuring.

A sweep speaks to its notebooks through files named in the environment: which recorded cells to measure again
(``VLMNB_AGAIN``), and where to write which cell is being measured (``VLMNB_PROGRESS``), so that the sweep
knows whom to blame when the kernel dies.
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
from vlmnb.files import locks
from vlmnb.files.changes import signature
from vlmnb.records import content_key, record, store
from vlmnb.records.index_entries import cell_digest
from vlmnb.records.record import Record
from vlmnb.spec.cell import Cell, words

AGAIN = "VLMNB_AGAIN"
"""File with the keys, one a line, of recorded or stale cells that are to be measured again."""

PROGRESS = "VLMNB_PROGRESS"
"""File that says which cell is being measured."""

TURN = "VLMNB_TURN"
"""File that a sweep makes when this run may begin to measure; until then it starts up and waits."""

STALE = "VLMNB_STALE"
"""Set to ``1`` by hand: stale records do not answer, their cells are measured."""

TURN_POLL_S = 0.05

SIZES = ("batch_size", "image_size", "seq_len")


class Desk:
    """Hands out the cells of one notebook; holds what it has promised until it is closed."""

    def __init__(self, wanted: Sequence[Cell], results: Path) -> None:
        """Look up what is to be measured again.

        Args:
            wanted: The notebook's cells.
            results: Folder of the records.
        """
        self._wanted, self._results = wanted, results
        named = os.environ.get(AGAIN)
        self._again = set(Path(named).read_text(encoding="utf-8").split()) if named else set()
        self._paths = content_key.record_paths(wanted, results)
        self._before = {path: signature(path) for path in self._paths.values() if path.stem in self._again}
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Desk:
        """The desk itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the device and the locks go."""
        self._held.close()

    def recorded(self, cell: Cell) -> Record | None:
        """The record that answers for a cell: its exact one, else a stale one of this machine."""
        path = self._paths[cell]
        again = path.stem in self._again
        if again and signature(path) == self._before[path]:
            return None
        with contextlib.suppress(ValueError):
            if path.exists():
                return record.read(path)
        if again or os.environ.get(STALE) == "1":
            return None
        stale = self._stale.get(cell_digest(cell))
        with contextlib.suppress(ValueError):
            return record.read(self._results / stale) if stale else None
        return None

    @contextlib.contextmanager
    def claimed(self, cell: Cell) -> Iterator[None]:
        """A block in which no other process measures this cell, nor anything else on its device.

        Raises:
            OSError: The results folder cannot be written.
        """
        self._results.mkdir(parents=True, exist_ok=True)
        self._take_device()
        name = self._paths[cell].stem
        self._locks.wait(name)
        _say_progress({"key": name, "cell": words(cell), "began": datetime.now(UTC).isoformat()})
        try:
            yield
        finally:
            _say_progress(None)
            self._locks.release(name)

    def write(self, made: Record) -> None:
        """Store a record. A damaged file in its place is kept beside it; a sweep has said so before.

        Raises:
            OSError: The results folder cannot be written.
        """
        path = paths.record(self._results, made.hardware, made.cell.model, made.key)
        before = signature(paths.damaged(path))
        store.keep(made, self._results)
        if AGAIN not in os.environ and signature(paths.damaged(path)) != before:
            kept = f"the file that was there is kept as {paths.damaged(path).name}"
            print(f"damaged record: {path} was measured again; {kept}", file=sys.stderr, flush=True)

    def ran_out(self, cell: Cell, before: Sequence[Record]) -> Record | None:
        """A record for a size above one that ran out of memory, which need not be tried."""
        if self._paths[cell].stem in self._again:
            return None
        fixed = set(Cell.model_fields) - set(SIZES)
        for other in (found.cell for found in before if found.status == "out_of_memory"):
            same = all(getattr(cell, name) == getattr(other, name) for name in fixed)
            larger = [name for name in SIZES if getattr(cell, name) > getattr(other, name)]
            if same and larger and all(getattr(cell, name) >= getattr(other, name) for name in SIZES):
                size = ", ".join(f"{name} {getattr(other, name)}".replace("_", " ") for name in larger)
                reason = f"not tried: {size} already ran out of memory"
                started = datetime.now(UTC).isoformat(timespec="seconds")
                return content_key.blank(cell, started, "out_of_memory", reason)
        return None

    @functools.cached_property
    def _stale(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in dict.fromkeys(path.parent for path in self._paths.values()):
            with store.Index(self._results, path.relative_to(self._results).as_posix()) as index:
                found |= content_key.stale_paths(index)
        return found

    @functools.cached_property
    def _locks(self) -> locks.Locks:
        return locks.Locks(self._results / ".cells.lock")

    def _take_device(self) -> None:
        if not hasattr(self, "_device"):
            devices = [cell.device for cell in self._wanted]
            said: set[str] = set()

            def tell(line: str) -> None:
                if line not in said:
                    print(line, file=sys.stderr, flush=True)
                    _tell_terminal(line)
                said.add(line)

            _wait_for_turn()
            self._device = self._held.enter_context(slots.by_hand(devices, tell))


def _tell_terminal(line: str) -> None:
    """Say a line also where the kernel was started from: papermill shows a cell's output only at its end."""
    # In a kernel, sys.stderr goes into the notebook; its number is that of the stream the kernel was given.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stderr.fileno() != 2:
            os.write(sys.stderr.fileno(), f"{line}\n".encode())


def _wait_for_turn() -> None:
    file = os.environ.get(TURN)
    while file and not os.path.exists(file):
        time.sleep(TURN_POLL_S)


def _say_progress(what: dict[str, str] | None) -> None:
    file = os.environ.get(PROGRESS)
    if file:
        paths.write_atomic(Path(file), json.dumps(what))
