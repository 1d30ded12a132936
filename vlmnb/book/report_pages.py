"""The notebooks of what the reports say: executed in this process, kept until what they show changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from vlmnb import paths
from vlmnb.book import postprocess
from vlmnb.book.rendering import Renderer
from vlmnb.errors import UserError
from vlmnb.files import code_fingerprint
from vlmnb.records import content_key
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.sweep import page_stamp

AXES = tuple(axis.name for axis in axes.AXES.values() if axis.in_reports)
"""Tables of every report, in the reports' order."""

DRAWN_BY = (*content_key.SHOWING, "book/rendering", "book/report_pages", "book/postprocess")
"""Folders and modules whose code can change a page."""

DRAWING = ("matplotlib", "seaborn", "pandas", "ipython")
"""Packages whose version can change a page."""


def models(records: Sequence[Record]) -> list[str]:
    """Models that a report is on record for."""
    return sorted({found.cell.model for found in records if found.source == "reports"})


def execute(results: Path, runs: Path, records: Sequence[Record]) -> tuple[list[Path], list[str]]:
    """Execute the notebooks of every reported model whose inputs have changed since they last were.

    Args:
        results: Folder of the records.
        runs: Folder of the executed notebooks.
        records: The records of ``results``.

    Returns:
        The executed notebooks, and a line for each that could not be made.
    """
    made: list[Path] = []
    told: list[str] = []
    stale: list[tuple[str, str, Path, str]] = []
    for model in models(records):
        own = [found for found in records if found.cell.model == model]
        for axis in AXES:
            path, stamp = paths.executed_report(runs, model, axis), _stamp(axis, own)
            made.append(path)
            if page_stamp.state(path, stamp) != "current":
                stale.append((model, axis, path, stamp))
    if not stale:
        return made, told
    with Renderer() as renderer:
        for model, axis, path, stamp in stale:
            parameters = {"model": model, "source": "reports", **_folder(results)}
            try:
                notebook = renderer.execute(axis, parameters)
            except UserError as error:
                made.remove(path)
                told.append(f"the page of the report on {model}, {axis}: {error}")
                continue
            paths.write_atomic(path, postprocess.dumps(notebook))
            page_stamp.mark(path, stamp)
    return made, told


def _folder(results: Path) -> dict[str, str]:
    """The notebook's parameter for a folder of records other than the project's own."""
    return {} if results == paths.resolve("results") else {"results": str(results)}


def _stamp(axis: str, records: Sequence[Record]) -> str:
    """Hash of all that a page depends on: template, code, packages that draw, and the model's records."""
    seen = hashlib.sha256(paths.notebook(axis).read_bytes())
    seen.update(code_fingerprint.of(DRAWN_BY).encode())
    seen.update(repr([(name, version(name)) for name in DRAWING]).encode())
    for found in sorted(records, key=lambda found: (found.hardware, found.key)):
        told = found.reported.model_dump(mode="json") if found.reported else None
        named = [found.hardware, found.key, found.status, found.provenance.started_at, told]
        seen.update(json.dumps(named).encode())
    return seen.hexdigest() + "\n"
