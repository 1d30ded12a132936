"""The page of an axis across all models: a table, a figure and sentences per machine and device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from markupsafe import Markup

from vlmnb import paths
from vlmnb.analysis import agreement, base_configuration, matching, repeatability
from vlmnb.analysis.base_configuration import Setup
from vlmnb.analysis.series import Change
from vlmnb.book import disputed
from vlmnb.book.content import Content, Page, bundled, model_title, turns_paths
from vlmnb.book.rendering import render
from vlmnb.errors import UserError
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes, optimizations
from vlmnb.spec.planning import Run
from vlmnb.views import across, findings, footnotes, repeat_table
from vlmnb.views.figure_style import Drawing

AXES = tuple(axis.name for axis in axes.AXES.values() if axis.in_reports)
"""The axes that have such a page."""

Found = dict[Setup, dict[str, list[Record]]]
"""By set-up, then by model."""


def published(content: Content) -> list[str]:
    """Return the axes of which the book has a model's page."""
    return [axis for axis in AXES if any(page.axis == axis for page in content.pages)]


def name(axis: str) -> str:
    """Return the file of an axis's page below ``generated/``, without the ending."""
    return f"axis-{axis}"


def page(content: Content, axis: str) -> tuple[str, dict[str, Drawing]]:
    """Return the page, and its figures by their file."""
    figures: dict[str, Drawing] = {}
    sections = list(_sections(content, axis, figures))
    return render("axis.md", axis=axes.AXES[axis], sections=sections), figures


def found(content: Content, axis: str, *, timed: bool = True) -> Found:
    """Return the records of an axis's table of every model; the device axis has all devices in one.

    ``timed``: only those with a time; else also our own cells that could not be measured.
    """
    there = {record.key for record in base_configuration.on_a_device(content.records)}
    made: Found = {}
    for page in sorted(content.pages, key=lambda page: content.models.index(page.model)):
        for record in _shown(page) if page.axis == axis else ():
            unmeasured = not timed and not page.from_report and record.key in there
            if record.latency_s is None and not unmeasured:
                continue
            device = "" if axis == "device" else record.cell.device
            setup = Setup(record.source, record.hardware, device)
            made.setdefault(setup, {}).setdefault(page.model, []).append(record)
    return dict(sorted(made.items(), key=lambda item: (item[0].source != "reports", item[0])))


def _sections(content: Content, axis: str, figures: dict[str, Drawing]) -> Iterator[dict[str, object]]:
    titles = {model: model_title(model) for model in content.models}
    for setup, models in found(content, axis, timed=False).items():
        floor = repeatability.noise_floor(content.records, [setup[1:]] if setup.device else ())
        if not setup.device and setup.source == "measured":
            places = {(r.hardware, r.cell.device) for own in models.values() for r in own}
            floor = repeatability.noise_floor(content.records, places)
        folder = "reports" if setup.source == "reports" else "runs"
        links = {model: f"../{folder}/{paths.model_folder(model)}/{axis}.html" for model in models}
        rows = across.rows(
            axis, models, titles, links, floor.value,
            partial(_doubt, content), _changed(content, axis, models),
        )  # fmt: skip
        file = f"figures/{name(axis)}-{setup.source}-{setup.hardware}-{setup.device or 'all'}.svg"
        drawn, shows = across.figure(axis, models, titles)
        if drawn:
            figures[file] = drawn
        keys = {row.record.key for row in rows}
        whole = (record for record in content.records if record.key in keys)
        doubts = disputed.figures(content.disputed, whole)
        made = across.table(axis, rows, across.caption(rows), doubts)
        yield {
            "title": setup.title, "reported": setup.source == "reports",
            "setup": Markup(footnotes.setup([row.record for row in rows])),
            "figure": file if drawn else "", "said": Markup(across.sentences(axis, rows)), "table": made,
            "shows": f"{shows[:1].upper()}{shows[1:]}", "bundled": _small(models),
            "disputed": _disputed(content, axis) if setup.source == "reports" else (),
            "notes": Markup(_notes(rows)), "turns": _files(rows),
            "windows": Markup(repeat_table.windows([row.record for row in rows], content.turns)),
            "floor": "" if setup.source == "reports" else Markup(
                repeat_table.noise_floor(floor if _apart(rows) else None, [row.record for row in rows])
            ),
        }  # fmt: skip


def _notes(rows: Sequence[across.Row]) -> str:
    """Return the notes on the rows, and by which times those are compared that several turns decide."""
    changes: dict[str, list[Change]] = {}
    for row in rows:
        changes.setdefault(row.title, []).extend([row.change] if row.change else [])
    said = (findings.times(own, f"{model}: ") for model, own in changes.items())
    return "\n".join(filter(None, (footnotes.notes([row.record for row in rows]), *said)))


def _files(rows: Sequence[across.Row]) -> dict[str, list[str]]:
    """Return the addresses of the files of turns that the times of each model come from."""
    own: dict[str, list[Record]] = {}
    for row in rows:
        own.setdefault(row.title, []).append(row.record)
    files = {title: [f"../../{path}" for path in turns_paths(records)] for title, records in own.items()}
    return {title: found for title, found in files.items() if found}


def _apart(rows: Sequence[across.Row]) -> bool:
    """Return whether rows are compared that took no turns with one another."""
    compared = [row.change for row in rows if row.change]
    return any(not matching.in_turns(change.low, change.high) for change in compared)


def _doubt(content: Content, low: Record, high: Record) -> str:
    """Return why the ratio of two times is doubtful; empty if nothing is known."""
    whole = [record for record in content.records if record.key in (low.key, high.key)]
    found = disputed.of_ratio(content.disputed, whole, low.key, high.key)
    return found.why if found else ""


def _changed(content: Content, axis: str, models: dict[str, list[Record]]) -> set[str]:
    """Return the keys of optimizations that change more answers than the original's own noise."""
    keys: set[str] = set()
    for own in models.values() if axes.AXES[axis].against_original else ():
        key = {record.cell: record.key for record in own}
        for part in optimizations.groups(tuple(key)):
            found = agreement.changes(part, own, content.records)
            keys |= {key[cell] for cell, change in found.items() if change.changed}
    return keys


def _disputed(content: Content, axis: str) -> list[disputed.Line]:
    """Return the errors and warnings about figures of the reports' pages on an axis."""
    found = (
        line
        for page in content.pages
        if page.from_report and page.axis == axis
        for line in disputed.lines(content.disputed, page, across.QUANTITIES)
    )
    return sorted({line for line in found if line.level != "note"})


def _small(models: Sequence[str] | dict[str, list[Record]]) -> bool:
    return all(map(bundled, models))


def _shown(page: Page) -> list[Record]:
    """Return the records of a page's own table, in the order of its rows."""
    source = "reports" if page.from_report else "measured"
    records = {cell: r for cell, r in by_cell(page.records, page.axis).items() if r.source == source}
    try:
        plan = Run(model=page.model, axis=page.axis, parameters=page.parameters).plan
    except UserError:  # the model or a value is gone
        return []
    cells = plan.cells if page.from_report else plan.of_length("natural") or plan.cells
    return [records[cell] for cell in cells if cell in records]
