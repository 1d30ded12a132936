"""Tables of a report's figures: compared with our own measurements, and where each is printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vlmnb.analysis.report_match import Match, matches
from vlmnb.data import catalogue
from vlmnb.models import checkpoints
from vlmnb.records.record import Record, by_cell
from vlmnb.records.reported import Figure, Quantity, Reported
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats.formatting import digits, format_si
from vlmnb.views import fields, marks
from vlmnb.views.marks import Mark, marked
from vlmnb.views.table import MISSING, Field, Table, declared, without
from vlmnb.views.templates import say

TITLES: dict[Quantity, str] = {
    "latency_s": "Latency, s per batch",
    "energy_j_per_sample": "Energy, J per sample",
    "flops": "FLOPs per batch",
    "wer": "WER",
    "latency_percent": "Latency, % of original",
    "flops_percent": "FLOPs, % of original",
    "energy_percent": "Energy, % of original",
}
RATIO = "Measured / report"
REFUSED = {
    "modelled": "modelled energy is not compared with measured energy",
    "another model": "a checkpoint of another geometry is another model than the report's",
    "": "has no such figure",
}
"""Why a row has no ratio."""

UNNAMED = "the row has no name there"
UNPRINTED_UNITS = ("latency_s", "energy_j_per_sample", "wer")
"""Quantities that the reports print without a unit: seconds, joules and a fraction are inferred."""

MARKS: dict[Quantity, Callable[[Record], Mark]] = {
    "latency_s": marks.of_latency, "energy_j_per_sample": marks.of_energy
}  # fmt: skip


def table(axis: str, cells: Sequence[Cell], reported: Sequence[Record], measured: Sequence[Record]) -> Table:
    """Make a table with one row for each figure of the report that was measured too."""
    columns: list[tuple[str, Callable[[Match], Field]]] = [
        (axes.AXES[axis].row_title, lambda match: Field(axes.AXES[axis].text(match.reported.cell))),
        ("Data set", lambda match: fields.dataset(match.reported.cell)),
        ("Figure", lambda match: Field(TITLES[match.quantity], words=True)),
        ("Report", lambda match: fields.SHOW[match.quantity](match.reported)),
        ("Measured", lambda match: fields.SHOW[match.quantity](match.own)),
        (RATIO, _ratio),
        ("Machine", lambda match: Field(match.own.hardware, words=True)),
        (
            "Differs from the report in",
            lambda match: Field(differences(match.reported.cell, match.own), words=True),
        ),
    ]
    caption = "The report's figures and our own measurements of the same cells"
    return declared(caption, columns, matches(axis, cells, reported, measured))


def notes(made: Table) -> str:
    """Return the text below the table: what a ratio means, and why rows have none."""
    at = made.columns.index(RATIO)
    why = dict.fromkeys(row[at].title for row in made.rows if row[at].text == MISSING)
    return "\n\n".join([say("captions", "ratios"), *(f"`-` in that column: {reason}." for reason in why)])


def figures(axis: str, cells: Sequence[Cell], reported: Sequence[Record]) -> Table:
    """Make a table of every printed figure of a page's cells, with its file, table, row and column."""
    found = by_cell(reported)
    records = [found[cell] for cell in cells if cell in found]
    printed = [(record, each) for record in records if record.reported for each in record.reported.figures]
    columns: list[tuple[str, Callable[[tuple[Record, Figure]], Field]]] = [
        (axes.AXES[axis].row_title, lambda pair: Field(axes.AXES[axis].text(pair[0].cell))),
        ("Data set", lambda pair: fields.dataset(pair[0].cell)),
        ("Figure", lambda pair: Field(TITLES[pair[1].quantity], words=True)),
        ("As printed", _as_printed),
        ("Unit", lambda pair: Field(pair[1].unit + _inferred(pair[1]), words=True)),
        ("File", lambda pair: Field(pair[1].file, words=True)),
        ("Table", lambda pair: Field(pair[1].table, words=True)),
        ("Row", lambda pair: Field(pair[1].row, UNNAMED * (pair[1].row == MISSING), words=True)),
        ("Column", lambda pair: Field(pair[1].column, words=True)),
    ]
    caption = say("captions", "report_figures", inferred=any(_inferred(figure) for _, figure in printed))
    return declared(caption, columns, printed)


def in_log(axis: str, cells: Sequence[Cell], reported: Sequence[Record]) -> list[Record]:
    """Return the records of cells with those figures alone that only a raw log has."""
    found, made = by_cell(reported), []
    for record in (found[cell] for cell in cells if cell in found):
        own = [figure for figure in record.reported.figures if figure.axis == axis] if record.reported else []
        printed = {figure.quantity for figure in own if figure.kind == "report"}
        logged = tuple(
            f for f in own if f.kind == "log" and f.value is not None and f.quantity not in printed
        )
        made.append(record.model_copy(update={"reported": Reported(figures=logged)}))
    return made


def only_in_log(axis: str, cells: Sequence[Cell], reported: Sequence[Record]) -> Table:
    """Make a table of figures that a raw log has and the report's own table of the axis has not."""
    logged: dict[tuple[Quantity, str], dict[str, Field]] = {}
    for record in in_log(axis, cells, reported):
        for figure in record.reported.figures if record.reported else ():
            title = f"as logged: {figure.printed}; {figure.place}"
            number = format_si(figure.number) if figure.quantity == "flops" else f"{figure.number:.4g}"
            shown = Field(number, title, record.key)
            value = axes.AXES[axis].text(record.cell)
            logged.setdefault((figure.quantity, record.cell.dataset), {}).setdefault(value, shown)
    values = dict.fromkeys(value for of in logged.values() for value in of)
    several = len({dataset for _, dataset in logged}) > 1
    heads = [
        f"{catalogue.get(dataset).title + ', ' if several else ''}{TITLES[quantity]}"
        for quantity, dataset in logged
    ]
    missed = without("the log has no such figure")
    rows = [(Field(value), *(column.get(value, missed) for column in logged.values())) for value in values]
    return Table(say("captions", "only_in_log"), (axes.AXES[axis].row_title, *heads), tuple(rows))


def conflicts(cells: Sequence[Cell], reported: Sequence[Record]) -> list[str]:
    """Return a sentence for each pair of figures of one cell that differ."""
    found = by_cell(reported)
    pairs = (
        pair for cell in cells if cell in found and (one := found[cell].reported) for pair in one.conflicts()
    )
    return [
        f"{TITLES[a.quantity]}, of one and the same cell: "
        f"{a.printed} in the {a.place}, {b.printed} in the {b.place}."
        for a, b in pairs
    ]


def differences(reported: Cell, measured: Record) -> str:
    """Return what differs from the report, in words."""
    made = measured.provenance
    return say(
        "captions", "differences", reported=reported, own=measured.cell, geometry=made.geometry,
        local=made.weights.startswith(checkpoints.LOCAL),
        dataset=catalogue.get(measured.cell.dataset).title,
    )  # fmt: skip


def _as_printed(pair: tuple[Record, Figure]) -> Field:
    record, printed = pair[0], pair[1].printed
    return Field(printed, "blank in the report" if printed == MISSING else "", record.key)


def _inferred(figure: Figure) -> str:
    return ", inferred" if figure.quantity in UNPRINTED_UNITS else ""


def _ratio(match: Match) -> Field:
    if match.ratio is None:
        return without(REFUSED[match.refused], match.own.key)
    ends, span, title = match.ratio.ends, "", "measured / report, without an interval"
    if ends:
        span = f"[{digits(ends[0])}, {digits(ends[1])}]"
        title = "measured / report; 95 % interval of what was measured, the report states none"
    shown = Field(digits(match.ratio.value), title, match.own.key, span=span)
    return marked(shown, MARKS[match.quantity](match.own)) if match.quantity in MARKS else shown
