"""Times that cells of one notebook took in turns, and the records that show them.

The speed of a machine that others use as well changes within seconds. Cells that are compared are therefore
timed once more in turns, batch by batch (``measure.turns``): a change meets all of them alike. A record keeps
the times of its own window, with its energy and memory; the times of the turns are a file of their own,
because a cell can be part of several notebooks. Two records are compared by all turns that they took with one
another, or by their own windows if they took none: see ``analysis.series``.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from vlmnb import paths
from vlmnb.records.parts import Shown, Timing, of_window
from vlmnb.records.record import Record
from vlmnb.types import Frozen


class Turns(Frozen):
    """The times of cells that took turns.

    Attributes:
        name: Digest of the cells' keys, which each of the times bears as well.
        started_at: UTC time.
        seconds: Time from then until they had ended, models loaded and warm-up included; None if not noted.
        timings: Times of each cell by the key of its record; none if they did not end.
        tries: How often they were begun without an end before.
    """

    name: str
    started_at: str
    seconds: float | None = None
    timings: dict[str, Timing]
    tries: int = 0


def name(keys: Iterable[str]) -> str:
    """Return the name of the turns of some cells."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:16]


def place(name: str, results: Path, hardware: str, model: str) -> Path:
    """Return the file of turns."""
    return paths.turns(results, hardware, model) / f"{name}.json"


def begun(name: str, results: Path, hardware: str, model: str) -> Turns | None:
    """Return the turns of a name, without timings if they were begun and did not end; None if never begun."""
    with contextlib.suppress(OSError, ValidationError):
        return Turns.model_validate_json(place(name, results, hardware, model).read_bytes())
    return None


def write(made: Turns, results: Path, hardware: str, model: str) -> Path:
    """Write turns to their place in one step, and return that place."""
    path = place(made.name, results, hardware, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_atomic(path, made.model_dump_json(indent=1))
    return path


def shown(records: Sequence[Record], known: Sequence[Turns], *, repeats: bool = False) -> list[Record]:
    """Return records that are shown together, with the times of the turns that they took with one another.

    Of several turns that a record took, it shows those that it shares with most of the others, and of these
    the latest. A record that shares none keeps the times of its own window, and so do A/A repeats unless
    ``repeats`` says otherwise: they show how windows differ.
    """
    own = {record.key for record in records if repeats or not record.cell.repeat}
    found: dict[str, list[tuple[int, str, Timing]]] = {}
    for turns in sorted(known, key=lambda one: one.started_at):
        together = turns.timings.keys() & own
        for key in together if len(together) > 1 else ():
            found.setdefault(key, []).append((len(together), turns.started_at, turns.timings[key]))
    models = {record.cell.model for record in records if record.key in found}
    made = []
    for record in records:
        taken, window = found.get(record.key, []), of_window(record.timing)
        if window and (taken or (record.cell.model in models and record.key in own)):
            best = max(taken, key=lambda one: one[:2])[2] if taken else window
            each = tuple(timing for _, _, timing in taken)
            beside = Shown.model_construct(**dict(best), window=window, each=each)
            record = record.model_copy(update={"timing": beside})
        made.append(record)
    return made


def read(results: Path, model: str = "*") -> list[Turns]:
    """Return the turns that cells of a model took, or those of all models.

    A damaged file counts as none; it is replaced when its cells are measured again.
    """
    found = []
    for path in sorted(results.glob(f"*/{paths.model_folder(model)}/turns/*.json")):
        with contextlib.suppress(OSError, ValidationError):
            found.append(Turns.model_validate_json(path.read_bytes()))
    return found
