"""The opening and the closing of a run's page: notes on what it shows, how to rerun it, its records."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.book.content import Page, dataset_title, minute, record_path
from vlmnb.book.rendering import Value, render
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.sweep import execute
from vlmnb.views import optimization_text
from vlmnb.views.table import Field


def opening(page: Page, records: Sequence[Record]) -> str:
    """Return the notes above a page: whether it is outdated, and which report its figures come from.

    Args:
        page: The page.
        records: All records; the report is looked up in them if it has no figure for the page's cells.
    """
    own = [figure for record in page.records if record.reported for figure in record.reported.figures]
    of_model = [record for record in records if record.reported and record.cell.model == page.model]
    others = [figure for record in of_model if record.reported for figure in record.reported.figures]
    files = {figure.file: figure for figure in own or [f for f in others if f.kind == "report"]}
    sources = [f"{f.file}{' (raw log)' if f.kind == 'log' else ''}" for f in files.values()]
    return render("run_opening", page=page, sources=sources)


def closing(page: Page) -> str:
    """Return the last sections of a page: the command that makes it again, and its records."""
    has_records = page.axis in axes.AXES and not axes.AXES[page.axis].own
    return render(
        "run_closing", page=page, command=rerun_command(page), records=_records(page) if has_records else None
    )


def rerun_command(page: Page) -> str:
    """Return the papermill command that makes a page again, without parameters that are the default."""
    given = {"model": page.model, **page.parameters}
    changed = {name: value for name, value in given.items() if value not in ("", 0, [], None)}
    changed.pop("results", None)
    return execute.papermill_line(page.axis, changed)


def _records(page: Page) -> list[tuple[Value, ...]]:
    """Return value on the axis, data set, status, hardware, time and link of every record."""
    varying, cells = axes.AXES[page.axis].varies, [record.cell for record in page.records]
    return [
        (
            optimization_text.label(varying, record.cell, cells),
            dataset_title(record.cell.dataset),
            record.status,
            record.hardware,
            minute(record.provenance.started_at),
            Field(record.key, words=True, href=f"../../../{record_path(record)}"),
        )
        for record in page.records
    ]
