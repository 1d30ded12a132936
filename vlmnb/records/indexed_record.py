"""What the index holds of each record file: a summary for planning, and the record's values in an export."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_json

from vlmnb.errors import Damaged, UserError
from vlmnb.files import changes, cores, hashing
from vlmnb.files.changes import Signature
from vlmnb.records import quick_record, record_file
from vlmnb.records.record import Record
from vlmnb.spec import cell as cells
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations.setting import OF_CALLS

PARALLEL_FROM = 2_000
"""Number of new files from which on all cores read them."""

PARALLEL_FROM_EXPORT = 200
"""The same where export values are made: scoring the captions of one record can take 50 ms."""

AT_ONCE = 400
"""Most files that a core reads before it hands over what it found."""


class IndexedRecord(NamedTuple):
    """A record file without its raw samples.

    Attributes:
        path: Relative to the results folder.
        machine: Fingerprint of the machine.
        cell: Digest of the cell and its inputs; ``asked``: of the cell alone; ``digest``: of the file.
        original: Of an A/A repeat, ``asked`` of the cell that it repeats; else empty.
        gpu: The driver's name of the GPU if a prediction can be fitted on the record, else empty.
        quantization: How the weights of such a record were stored.
        problem: Why the file is no record; then all fields but ``path`` are empty.
        export: JSON list of the export values; None if none were asked for.
        export_problem: Why the record has only the export values of its cell.
    """

    path: str
    machine: str = ""
    cell: str = ""
    asked: str = ""
    status: str = ""
    reason: str = ""
    started_at: str = ""
    digest: str = ""
    repeat: int = 0
    original: str = ""
    gpu: str = ""
    quantization: str = ""
    problem: str = ""
    export: str | None = None
    export_problem: str = ""


def cell_digest(cell: Cell, weights: str, data: str) -> str:
    """Return what identifies a cell and the inputs it was measured on, whatever machine or code did it."""
    return hashing.digest_of(f"{cell.model_dump_json()} {weights} {data}")


def original_digest(cell: Cell) -> str:
    """Return what identifies the cell that an A/A repeat repeats, whatever its inputs were."""
    return hashing.digest_of(f"{to_json(cells.fields(cell) | {'repeat': 0}).decode()}  ")


def read_all(results: Path, names: Sequence[str], export: bool) -> Iterator[tuple[Any, ...]]:
    """Yield what :func:`read` returns as a flat tuple for files in their order; many of them on all cores."""
    alone = len(names) < (PARALLEL_FROM_EXPORT if export else PARALLEL_FROM)
    size = max(1, min(AT_ONCE, len(names) // 8))
    for found in cores.mapped(functools.partial(_read_some, results, export), names, size, alone=alone):
        yield from found


def _read_some(results: Path, export: bool, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return [(*entry, *seen) for entry, seen in (read(results, export, name) for name in names)]


def read(results: Path, export: bool, name: str) -> tuple[IndexedRecord, Signature]:
    """Read the file ``name`` below the results, and return its signature from before.

    ``export``: make the export values, which takes longest.
    """
    path = f"{results}/{name}"
    try:
        seen, content = _opened(path)
    except OSError as error:
        problem = str(Damaged.unreadable(results / name, error))
        return IndexedRecord(name, problem=problem), changes.signature(path) or (0, 0, 0)
    whole, digest = record_file.as_written(content)
    found = quick_record.parse(whole)
    if found is None or not name.endswith(f"/{found.key}.json"):
        try:
            found = record_file.parse(results / name, content)
        except Damaged as error:
            return IndexedRecord(name, problem=str(error)), seen
    gpu = quantization = ""
    # The same as twice :func:`cell_digest`, and faster.
    asked = hashlib.sha256(to_json(cells.fields(found.cell)) + b" ")
    cell = asked.copy()
    asked.update(b" ")
    cell.update(f"{found.provenance.weights} {found.provenance.data}".encode())
    with contextlib.suppress(UserError, LookupError, TypeError):  # of other code
        gpu, quantization = fitted_on(found) or ("", "")
    values, why = None, ""
    if export:
        from vlmnb.records import export_columns  # planning does without it

        values, why = export_columns.values(found)
    entry = IndexedRecord(
        path=name,
        machine=str(found.provenance.machine.get("fingerprint", "")),
        cell=cell.hexdigest()[:16],
        asked=asked.hexdigest()[:16],
        status=found.status,
        reason=found.reason,
        started_at=found.provenance.started_at,
        digest=digest,
        repeat=found.cell.repeat,
        original=original_digest(found.cell) if found.cell.repeat else "",
        gpu=gpu,
        quantization=quantization,
        export=None if values is None else to_json(values).decode(),
        export_problem=why and f"{results / name}: {why}",
    )
    return entry, seen


def _opened(path: str) -> tuple[Signature, bytes]:
    """Return the signature of a file and what it holds, with as few calls of the system as can be."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        seen = changes.of(os.fstat(file))
        return seen, os.read(file, seen[1])
    finally:
        os.close(file)


def fitted_on(record: Record) -> tuple[str, str] | None:
    """Return GPU (the driver's name) and quantization if a prediction can be fitted on a record, else None.

    It can be fitted on generation timed on a GPU, token by token, without compilation. A checkpoint whose
    geometry differs from that of its model does other work than the prediction counts.
    """
    cell = record.cell
    if record.status != "ok" or record.source != "measured" or record.provenance.geometry:
        return None
    if cell.device != "cuda" or cell.measure != "generation":
        return None
    kind = quantization_of(cell)
    gpus = record.provenance.machine.get("gpus") or []
    if kind is None or not gpus or not record.full_batches_s or not record.answers:
        return None
    return str(gpus[0]["name"]), kind


def quantization_of(cell: Cell) -> str | None:
    """Return the quantization that a cell was measured under; None if no prediction is made for it."""
    optimization = optimizations.of(cell)
    if optimization.dtype == "fp32" or any(map(optimization.of, ("compilation", *OF_CALLS))):
        return None
    stored = [s.stored_as or None for s in optimization.settings if s.kind == "quantization"]
    return stored[0] if stored else "fp16"
