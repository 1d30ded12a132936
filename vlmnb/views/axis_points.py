"""The points of a plot as a table: every one with its interval and the record it comes from."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.analysis.report_match import TITLES
from vlmnb.data import catalogue
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.views import detail_table
from vlmnb.views.axis_table import SHOW, WITHOUT, Field, Table

SUMMARY = "Every point of this figure, with its interval and its record"


def axis_points(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """The points of an axis's plot: one row per cell that is drawn, one column per panel."""
    found = by_cell(records, axis)
    reported = any(found[cell].reported for cell in cells if cell in found)
    rows = []
    for cell in cells:
        record = found.get(cell)
        if record is not None and record.latency_s is not None:
            rows.append(
                (
                    Field(str(getattr(cell, axis))),
                    Field(catalogue.get(cell.dataset).title, words=True),
                    *(show(record) for show in SHOW.values()),
                    *([] if reported else [detail_table.load_by_others(record)]),
                    Field(record.key, "file of the record", record.key, words=True),
                )
            )
    told = (
        "as the report prints it, which states no interval" if reported else f"with 95 % intervals. {WITHOUT}"
    )
    load = () if reported else ("Load by others",)
    heads = (axes.AXES[axis].row_title, "Data set", *(TITLES[name] for name in SHOW), *load, "Record")
    return Table(f"What the figure shows, {told}", heads, tuple(rows))
