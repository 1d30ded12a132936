"""What the index holds of each record file: a summary for planning, and the record's values in an export."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pydantic_core import to_json

from vlmnb.errors import Damaged, UserError
from vlmnb.files import hashing
from vlmnb.records import record_file
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations.setting import OF_CALLS

PARALLEL_FROM = 2_000
"""Number of new files from which on all cores read them."""

PARALLEL_FROM_EXPORT = 200
"""The same where export values are made: scoring the captions of one record can take 50 ms."""


class IndexedRecord(NamedTuple):
    """A record file without its raw samples.

    Attributes:
        path: Relative to the results folder.
        machine: Fingerprint of the machine.
        cell: Digest of the cell and its inputs; ``asked``: of the cell alone; ``digest``: of the file.
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
    gpu: str = ""
    quantization: str = ""
    problem: str = ""
    export: str | None = None
    export_problem: str = ""


def cell_digest(cell: Cell, weights: str, data: str) -> str:
    """Return what identifies a cell and the inputs it was measured on, whatever machine or code did it."""
    return _digest(cell.model_dump_json(), weights, data)


def _digest(cell: str, weights: str, data: str) -> str:
    return hashing.digest_of(f"{cell} {weights} {data}")


def read_all(results: Path, names: Sequence[str], export: bool) -> Iterator[IndexedRecord]:
    """Read files in their order; many of them on all cores."""
    one = functools.partial(read, results, export)
    cores = os.cpu_count() or 1
    if len(names) < (PARALLEL_FROM_EXPORT if export else PARALLEL_FROM) or cores == 1:
        yield from map(one, names)
        return
    with ProcessPoolExecutor(cores) as pool:
        yield from pool.map(one, names, chunksize=max(1, min(200, len(names) // (4 * cores))))


def read(results: Path, export: bool, name: str) -> IndexedRecord:
    """Read the file ``name`` below the results; ``export``: make the export values, which takes longest."""
    path = results / name
    try:
        content = record_file.content(path)
        found = record_file.parse(path, content)
    except Damaged as error:
        return IndexedRecord(name, problem=str(error))
    gpu = quantization = ""
    cell = found.cell.model_dump_json()
    with contextlib.suppress(UserError, LookupError, TypeError):  # of other code
        gpu, quantization = fitted_on(found) or ("", "")
    summary = IndexedRecord(
        path=name,
        machine=str(found.provenance.machine.get("fingerprint", "")),
        cell=_digest(cell, found.provenance.weights, found.provenance.data),
        asked=_digest(cell, "", ""),
        status=found.status,
        reason=found.reason,
        started_at=found.provenance.started_at,
        digest=hashlib.sha256(content).hexdigest()[:16],
        repeat=found.cell.repeat,
        gpu=gpu,
        quantization=quantization,
    )
    if not export:
        return summary
    from vlmnb.records import export_columns  # planning does without it

    values, why = export_columns.values(found)
    return summary._replace(export=to_json(values).decode(), export_problem=why and f"{path}: {why}")


def fitted_on(record: Record) -> tuple[str, str] | None:
    """Return GPU (the driver's name) and quantization if a prediction can be fitted on a record, else None.

    It can be fitted on generation timed on a GPU, token by token, without compilation. A checkpoint whose
    geometry differs from that of its model does other work than the prediction counts.
    """
    cell = record.cell
    if record.status != "ok" or record.source != "measured" or record.provenance.geometry:
        return None
    kind = quantization_of(cell)
    gpus = record.provenance.machine.get("gpus") or []
    if cell.device != "cuda" or cell.measure != "generation" or kind is None or not gpus:
        return None
    return (str(gpus[0]["name"]), kind) if record.full_batches_s and record.answers else None


def quantization_of(cell: Cell) -> str | None:
    """Return the quantization that a cell was measured under; None if no prediction is made for it."""
    optimization = optimizations.of(cell)
    if optimization.dtype == "fp32" or any(map(optimization.of, ("compilation", *OF_CALLS))):
        return None
    stored = [s.stored_as or None for s in optimization.settings if s.kind == "quantization"]
    return stored[0] if stored else "fp16"
