"""Collect what a book is made of: executed notebooks as pages, failed runs, and files to download."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from vlmnb import paths
from vlmnb.book import content, outdated, postprocess
from vlmnb.book.content import Content, Failure, Page
from vlmnb.book.pages import run
from vlmnb.book.postprocess import Heading, Notebook, Refused
from vlmnb.errors import UserError
from vlmnb.records.export_columns import EXPORT_COLUMNS, row
from vlmnb.records.record import Record
from vlmnb.spec import axes, planning
from vlmnb.spec.cell import Cell

Files = dict[str, bytes]
"""Content of files by their path, relative to ``book/``."""

EXTRA = "generated/extra/"
"""Folder whose files are copied into the built site as they are."""


class RunPages(NamedTuple):
    """The pages made of executed notebooks, their files, and a line for each thing that was left out."""

    pages: list[Page]
    files: Files
    problems: list[str]


def run_pages(
    runs: Path,
    reported: Sequence[Path],
    records: Sequence[Record],
    failures: Sequence[Failure],
    redraw: Mapping[outdated.Name, str],
) -> RunPages:
    """Make a page of every executed notebook; refused notebooks are listed as problems instead.

    Args:
        runs: Folder of the executed notebooks.
        reported: The executed notebooks that show reports.
        records: All records.
        failures: All failed runs.
        redraw: The command that draws each outdated page again.
    """
    made = RunPages([], {}, [])
    failed = {(failure.model, failure.axis): failure for failure in failures}
    measured = [path for path in sorted(runs.glob("*/[!.]*.ipynb")) if path.parent.name != "failures"]
    for path in [*measured, *reported]:
        name = (path.parent.name, path.stem)
        failure, command = (None, "") if path in reported else (failed.get(name), redraw.get(name, ""))
        try:
            notebook = postprocess.read(path.read_text(encoding="utf-8"))
            page = _page(notebook, name, records, failure, command)
            processed = postprocess.page(
                notebook, Heading(page.title, page.label), run.opening(page, records), run.closing(page)
            )
        except (Refused, UnicodeDecodeError) as error:
            made.problems.append(f"the page {'/'.join(name)}.ipynb: {error}; a sweep makes it again")
            continue
        made.problems.extend(f"in {'/'.join(name)}.ipynb, {line}" for line in processed.left_out)
        targets = {record.key: f"../../../{content.record_path(record)}" for record in page.records}
        linked = postprocess.dumps(postprocess.with_links(processed.notebook, targets)).encode()
        file = f"{page.folder}/{'/'.join(name)}.ipynb"
        made.files[file] = made.files[f"{EXTRA}{page.download('ipynb')}"] = linked
        made.pages.append(page)
    return made


def failures(runs: Path) -> tuple[list[Failure], list[str]]:
    """Read the files of failed runs; return the runs, and a line for each file that cannot be read."""
    found, problems = [], []
    for path in sorted(runs.glob("failures/*/[!.]*.json")):
        try:
            filed = json.loads(path.read_text(encoding="utf-8"))
            known = {name: filed.get(name) for name in Failure.__dataclass_fields__}
            found.append(Failure(**{name: str(value) for name, value in known.items() if value is not None}))
        except (ValueError, TypeError, AttributeError) as error:
            problems.append(f"the failed run {path.parent.name}/{path.name}: {error}")
    return found, problems


def downloads(book: Content, results: Path) -> Files:
    """Return the records and CSV files that readers can download.

    Args:
        book: What the book is made of.
        results: Folder of the records.
    """
    files = {f"{EXTRA}downloads/records.csv": _csv(book.records)}
    for record in book.records:
        source = paths.record(results, record.hardware, record.cell.model, record.key)
        text = source.read_bytes() if source.exists() else record.model_dump_json(indent=1).encode()
        files[EXTRA + content.record_path(record)] = text
    return files | {EXTRA + page.download("csv"): _csv(page.records) for page in book.pages if page.records}


def _page(
    notebook: Notebook, name: outdated.Name, records: Sequence[Record], failure: Failure | None, command: str
) -> Page:
    written = postprocess.papermill(notebook)
    parameters, executed_at = written.get("parameters", {}), str(written.get("end_time") or "")
    shown = _records_of(notebook, name, parameters, records)
    newer = failure is not None and _time(failure.at, datetime.max) > _time(executed_at, datetime.min)
    return Page(
        *name, executed_at, parameters, shown,
        failed_rerun=failure if newer else None,
        redraw_command=command if outdated.of_this_machine(shown) else "",
    )  # fmt: skip


def _records_of(
    notebook: Notebook, name: outdated.Name, parameters: Mapping[str, object], records: Sequence[Record]
) -> tuple[Record, ...]:
    """Return the records that a page's tables name; if none does, the newest of each cell asked for."""
    model, axis = name
    own = [record for record in records if record.cell.model == model]
    keys = dict.fromkeys(re.findall(r'data-key=\\?"([0-9a-f]+)', json.dumps(notebook["cells"])))
    named = {record.key: record for record in own if record.key in keys}
    if named or axis not in axes.AXES:
        return tuple(named[key] for key in keys if key in named)
    newest: dict[tuple[Cell, str], Record] = {}
    for record in sorted(own, key=lambda record: record.provenance.started_at):
        newest[record.cell, record.hardware] = record
    try:
        cells = _cells(axis, {"model": model, **parameters})
    except UserError:
        return ()
    return tuple(record for cell in cells for (of, _), record in newest.items() if of == cell)


def _cells(axis: str, given: Mapping[str, object]) -> list[Cell]:
    """Return the cells that parameters ask for, on whichever device the notebook was executed."""
    any_device = "device" in axes.AXES[axis].parameters and not given.get("device")
    choices = [{**given, "device": device} for device in ("cpu", "cuda")] if any_device else [given]
    return list(dict.fromkeys(cell for each in choices for cell in planning.plan(axis, each).cells))


def _csv(records: Iterable[Record]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, EXPORT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(record) for record in records)
    return text.getvalue().encode()


def _time(text: str, unknown: datetime) -> datetime:
    """Parse a time; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = unknown
    return found if found.tzinfo else found.replace(tzinfo=UTC)
