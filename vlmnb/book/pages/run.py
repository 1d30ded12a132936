"""What a run's page has around its notebook: notes on what it shows, how to rerun it, its records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from markupsafe import Markup

from vlmnb import paths
from vlmnb.analysis.titles import dataset_title
from vlmnb.book.content import Page, bundled, minute, record_path, turns_paths
from vlmnb.book.disputed import Line
from vlmnb.book.rendering import Value, render
from vlmnb.files import plain_yaml
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.spec import axes
from vlmnb.sweep import execute
from vlmnb.views import fields, repeat_table
from vlmnb.views.table import Field


def opening(page: Page, records: Sequence[Record]) -> str:
    """Return the notes above a page: whether it is outdated, and its report."""
    own, others = (
        [figure for record in among if record.reported for figure in record.reported.figures]
        for among in (page.records, [record for record in records if record.cell.model == page.model])
    )
    # The report may have no figure for the page's cells.
    files = dict.fromkeys(f.file for f in own or [f for f in others if f.kind == "report"])
    transcripts = _transcripts(paths.transcripts())
    sources = {name: transcripts[name] for name in files if name in transcripts}  # records may be older
    small = page.axis != "card" and bundled(page.model)
    return render("run_opening.md", page=page, sources=sources, small=small)


def disputed(lines: Sequence[Line]) -> str:
    """Return the box above the table of a report's page: which figures are disputed; empty if none is."""
    return render("run_disputed.md", disputed=lines)


@cache
def _transcripts(folder: Path) -> dict[str, str]:
    """Return the files of the transcripts by the names of what they transcribe."""
    return {plain_yaml.load(path)["file"]: path.name for path in sorted(folder.glob("*.yaml"))}


def closing(page: Page, known: Sequence[Turns] = ()) -> str:
    """Return the last sections of a page: the command that makes it again, and its records.

    ``known``: all turns, of which other pages may show times of the same cells.
    """
    axis = axes.AXES.get(page.axis)
    records = _records(page) if axis and not axis.own else None
    files = [f"../../../{path}" for path in turns_paths(page.records)]
    return render(
        "run_closing.md", page=page, command=rerun_command(page), records=records, dated=_dated(page),
        rows=axis.row_title if axis else "",
        turns={"": files} if files else {},
        windows=Markup(repeat_table.windows(page.records, known)),
    )  # fmt: skip


def rerun_command(page: Page) -> str:
    """Return the papermill command that makes a page again, without parameters that are the default."""
    given = {"model": page.model, **page.parameters}
    changed = {name: v for name, v in given.items() if name != "results" and v not in ("", 0, [], None)}
    return execute.papermill_line(page.axis, changed)


def _dated(page: Page) -> bool:
    """Return whether any record of a page says when it was measured; those of reports do not."""
    return any(record.provenance.started_at for record in page.records)


def _records(page: Page) -> list[tuple[Value, ...]]:
    cells = [record.cell for record in page.records]
    return [
        (
            fields.label(page.axis, record.cell, cells),
            dataset_title(record.cell.dataset),
            record.status.replace("_", " "),
            record.hardware,
            *([minute(record.provenance.started_at)] if _dated(page) else []),
            Field(record.key, words=True, href=f"../../../{record_path(record)}"),
        )
        for record in page.records
    ]
