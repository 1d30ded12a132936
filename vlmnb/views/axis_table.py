"""The table of an axis: rows by its values, columns as in the reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vlmnb.analysis import repeatability
from vlmnb.analysis.titles import dataset_title
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.axes import Axis
from vlmnb.spec.cell import Cell
from vlmnb.views import fields
from vlmnb.views.fields import UNPRINTED
from vlmnb.views.table import MISSING, Field, Row, Table

PREPROCESSING = "Preprocessing, s (% of both)"
OPTIMIZATION_HEADS = (
    "Latency, s per batch", "% of original latency", "FLOPs per batch", "% of original FLOPs",
    "Energy, J per sample", "% of original energy", "WER",
    PREPROCESSING,
)  # fmt: skip
HEADS = ("Latency, s per batch", "Energy, J per sample", "FLOPs per batch", "WER", PREPROCESSING)
SHOWN = (fields.latency, fields.energy, fields.flops, fields.wer, fields.preprocessing)


def axis_table(
    axis: str, cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = repeatability.ASSUMED
) -> Table:
    """Make the table of an axis. Records of source ``reports`` show exactly what the report prints."""
    found, of = by_cell(records, axis), axes.AXES[axis]
    if of.several_datasets:
        return _by_dataset(of, cells, found)
    what, shown = of.row_title.split(",")[0], [found.get(cell) for cell in cells]
    what += f" at batch {cells[0].batch_size}" if of.against_original else ""
    rows = tuple(
        (
            _row_label(of.text(cell), [record]),
            *(
                _compared(record, shown[0], noise_floor)
                if of.against_original
                else [show(record) for show in SHOWN]
            ),
        )
        for cell, record in zip(cells, shown, strict=True)
    )
    caption = (
        f"{what} on {dataset_title(cells[0].dataset)}, with {fields.confidence(shown)}. {fields.WITHOUT}"
    )
    heads = (of.row_title, *(OPTIMIZATION_HEADS if of.against_original else HEADS))
    return _as_reported(Table(caption, heads, rows), shown)


def _by_dataset(axis: Axis, cells: Sequence[Cell], found: dict[Cell, Record]) -> Table:
    names = list(dict.fromkeys(cell.dataset for cell in cells))
    at = {(axis.value(cell), cell.dataset): found.get(cell) for cell in cells}
    rows = []
    for value in dict.fromkeys(axis.value(cell) for cell in cells):
        shown = [at[value, name] for name in names]
        pairs = (field for record in shown for field in (fields.wer(record), fields.latency(record)))
        rows.append((_row_label(axis.shown(value), shown), *pairs, *map(fields.preprocessing, shown)))
    heads = (f"{dataset_title(name)} {what}" for name in names for what in ("WER", "latency, s"))
    intervals = fields.confidence(list(at.values()))
    caption = f"Word error rate (fraction) and latency (seconds per batch) by data set, with {intervals}"
    more = (f"{dataset_title(name)} preprocessing, s" for name in names)
    return _as_reported(Table(caption, (axis.row_title, *heads, *more), tuple(rows)), list(at.values()))


def _compared(record: Record | None, original: Record | None, noise_floor: float) -> Row:
    return (
        fields.latency(record),
        fields.percent(record, original, "latency_percent", noise_floor),
        fields.flops(record),
        fields.percent(record, original, "flops_percent", noise_floor),
        fields.energy(record),
        fields.percent(record, original, "energy_percent", noise_floor),
        fields.wer(record),
        fields.preprocessing(record),
    )


def _row_label(value: str, records: Sequence[Record | None]) -> Field:
    figures = [f for record in records if record and record.reported for f in record.reported.figures]
    return Field(figures[0].row, title=value) if figures else Field(value)


def _as_reported(table: Table, records: Sequence[Record | None]) -> Table:
    """Drop the columns that a report's table does not have, and name its place in the caption."""
    reported = [record.reported for record in records if record and record.reported]
    if not reported:
        return table
    columns = list(zip(*table.rows, strict=True))
    kept = [i for i, of in enumerate(columns) if UNPRINTED not in of or {f.text for f in of} - {"", MISSING}]
    places = dict.fromkeys(f"{f.file}, {f.table}" for one in reported for f in one.figures)
    shown = table.caption.partition(", with 95 %")[0]
    caption = f"{shown}, as printed in the {'; '.join(places)}, without intervals"
    if not places:
        caption = f"{shown}: the report prints none of these figures"
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return replace(table, caption=caption, columns=tuple(table.columns[i] for i in kept), rows=rows)
