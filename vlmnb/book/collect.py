"""Collect what a book is made of: executed notebooks as pages, failed runs, and files to download."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vlmnb import paths
from vlmnb.book import outdated, postprocess
from vlmnb.book.content import Content, Failure, Page, record_path
from vlmnb.book.outdated import Name
from vlmnb.book.pages import run
from vlmnb.book.postprocess import Notebook, Refused
from vlmnb.records.export_columns import EXPORT_COLUMNS, row
from vlmnb.records.record import Record

Files = dict[str, bytes]
"""Content of files by their path, relative to ``book/``."""

EXTRA = "generated/extra/"
"""Folder whose files are copied into the built site as they are."""


def notebooks(files: Iterable[Path]) -> tuple[dict[Name, Notebook], list[str]]:
    """Read executed notebooks; return them, and a line for each that must not be published."""
    read: dict[Name, Notebook] = {}
    problems = []
    for path in files:
        try:
            read[path.parent.name, path.stem] = postprocess.read(path)
        except Refused as error:
            problems.append(f"the page {path.parent.name}/{path.name}: {error}; a sweep makes it again")
    return read, problems


def failures(runs: Path) -> tuple[list[Failure], list[str]]:
    """Read the files of failed runs; return the runs, and a line for each file that cannot be read."""
    found, problems = [], []
    for path in sorted(runs.glob("failures/*/[!.]*.json")):
        try:
            found.append(Failure.model_validate_json(path.read_bytes()))
        except ValueError:
            problems.append(f"the failed run {path.parent.name}/{path.name}: not written by a sweep")
    return found, problems


def pages(
    executed: Mapping[Name, Notebook],
    records: Iterable[Record],
    failures: Iterable[Failure],
    redraw: Mapping[Name, str],
) -> list[Page]:
    """Describe the page of each executed notebook; ``redraw``: commands that draw outdated pages again."""
    by_key = {(record.cell.model, record.key): record for record in records}
    failed = {(failure.model, failure.axis): failure for failure in failures}
    made = []
    for name, notebook in executed.items():
        written = postprocess.papermill(notebook)
        executed_at = str(written.get("end_time") or "")
        keys = dict.fromkeys(re.findall(r'data-key=\\?"([0-9a-f]+)', json.dumps(notebook["cells"])))
        shown = tuple(by_key[name[0], key] for key in keys if (name[0], key) in by_key)
        failure = failed.get(name)
        page = Page(
            *name, executed_at, written.get("parameters", {}), shown,
            # Both times are UTC, to the second or finer.
            failed_rerun=failure if failure and failure.at[:19] > executed_at[:19] else None,
            redraw_command=redraw.get(name, "") if outdated.of_this_machine(shown) else "",
        )  # fmt: skip
        made.append(page)
    return made


def processed(page: Page, notebook: Notebook, records: Sequence[Record]) -> tuple[Files, list[str]]:
    """Return a page as a notebook of the book and as a download, and a line for each thing left out of it."""
    targets = {record.key: f"../../../{record_path(record)}" for record in page.records}
    opening, closing = run.opening(page, records), run.closing(page)
    made, left_out = postprocess.page(notebook, page.title, page.label, targets, opening, closing)
    text, name = postprocess.dumps(made).encode(), f"{page.model}/{page.axis}.ipynb"
    files = {f"{page.folder}/{name}": text, EXTRA + page.download("ipynb"): text}
    return files, [f"in {name}, {line}" for line in left_out]


def downloads(book: Content, results: Path) -> Files:
    """Return the records and CSV files that readers can download."""
    files = {f"{EXTRA}downloads/records.csv": _csv(book.records)}
    for record in book.records:
        file = paths.record(results, record.hardware, record.cell.model, record.key)
        text = file.read_bytes() if file.exists() else record.model_dump_json(indent=1).encode()
        files[EXTRA + record_path(record)] = text
    return files | {EXTRA + page.download("csv"): _csv(page.records) for page in book.pages if page.records}


def _csv(records: Iterable[Record]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, EXPORT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(record) for record in records)
    return text.getvalue().encode()
