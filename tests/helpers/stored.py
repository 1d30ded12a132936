"""Records as this code and other code write them, and what a sweep of two cells finds of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from factory import but, changed
from pydantic_core import from_json

from vlmnb.records import store
from vlmnb.records.cells_to_measure import CellsToMeasure
from vlmnb.records.export_columns import EXPORT_COLUMNS
from vlmnb.records.indexed_record import IndexedRecord
from vlmnb.records.record import Record
from vlmnb.records.resolved import blank_record, resolve_cell
from vlmnb.spec.cell import Cell
from vlmnb.sweep import inventory

STARTED = "2026-01-01T00:00:00+00:00"


def measured(of: Cell, **changes: object) -> Record:
    """A record of this machine, under its exact key unless changes say otherwise."""
    return but(blank_record(resolve_cell(of), STARTED), **changes)


def older(of: Cell, key: str = "0123456789abcdef") -> Record:
    """A record of this machine, of other code."""
    return but(changed(measured(of), "provenance", code="old"), key=key)


def recorded(of: Cell, results: Path) -> Record | None:
    with CellsToMeasure([of], results) as at:
        return at.recorded(at.cells[0])


def sweep_file(folder: Path) -> Path:
    """A sweep file ``s.yaml`` of one run with two cells."""
    spec = folder / "s.yaml"
    content = {"title": "T", "models": ["llava-tiny"],
               "parameters": {"samples": 4, "device": "cpu", "length": "natural"},
               "axes": {"batch_size": {"batch_sizes": [1, 2], "optimization": "fp32"}}}  # fmt: skip
    spec.write_text(json.dumps(content))
    return spec


def job_of(results: Path, tmp_path: Path) -> inventory.Job:
    (job,) = inventory.jobs(inventory.load(sweep_file(tmp_path)), results, tmp_path / "runs")
    return job


def states(results: Path, tmp_path: Path) -> dict[int, str]:
    return {state.cell.batch_size: state.state for state in job_of(results, tmp_path).cells}


def exported(results: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of an export, and what it says of files that are no records."""
    with store.Index(results, export=True) as index:
        rows = [dict(zip(EXPORT_COLUMNS, row, strict=True)) for row in map(from_json, index.export())]
        return rows, index.problems()


def indexed(results: Path) -> dict[str, IndexedRecord]:
    with store.Index(results) as index:
        return index.records()
