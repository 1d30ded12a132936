"""A report's figures beside our own measurements of the same cells, and where each figure stands.

Two records meet when their cells agree in model, device, batch size, image size, prompt budget and
optimization. Machine, weights, precision, data set, samples and length of the answers may differ; what
differs stands in the row. A checkpoint of another geometry than the model's is another model: it stands in
the row too, without a ratio.
"""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.data import catalogue
from vlmnb.models import checkpoints
from vlmnb.records import background_load
from vlmnb.records.record import Record, by_cell
from vlmnb.records.reported import Quantity
from vlmnb.spec import axes, optimizations
from vlmnb.spec.cell import Cell
from vlmnb.views.axis_table import ENOUGH, SHOW, Field, Table

TITLES: dict[Quantity, str] = {
    "latency_s": "Latency, s per batch",
    "energy_j_per_sample": "Energy, J per sample",
    "flops": "FLOPs per batch",
    "wer": "WER",
}
WORDS: dict[Quantity, str] = {
    **TITLES,
    "latency_percent": "Latency, % of original",
    "flops_percent": "FLOPs, % of original",
    "energy_percent": "Energy, % of original",
}

RATIO = "Measured / report"
RESERVATION = (
    "Ratios are measured / report. The reports name neither their machine nor their limit of new tokens, nor "
    "the versions of their software, so a ratio compares whole set-ups, not machines."
)
MODELLED = "a modelled joule is not compared with a measured one"
ANOTHER_MODEL = "a checkpoint of another geometry is another model than the report's"
"""Why a row has no ratio."""


def table(axis: str, cells: Sequence[Cell], reported: Sequence[Record], measured: Sequence[Record]) -> Table:
    """One row for each figure of the report's table that somebody measured too; no rows where nobody did."""
    found = by_cell(reported, axis)
    rows = []
    for cell in cells:
        for quantity in TITLES if cell in found else ():
            own = counterparts(found[cell], quantity, measured)
            rows += [_row(axis, found[cell], quantity, one) for one in own]
    heads = (axes.AXES[axis].row_title, "Data set", "Figure", "Report", "Measured", RATIO, "Machine",
             "Differs from the report in")  # fmt: skip
    return Table("The report's figures and our own measurements of the same cells", heads, tuple(rows))


def beneath(made: Table) -> str:
    """What stands beneath the table: what a ratio says, and why rows have none."""
    at = made.columns.index(RATIO)
    why = dict.fromkeys(row[at].title for row in made.rows if row[at].text == "-" and row[at].title)
    return "\n\n".join([RESERVATION, *(f"`-` in that column: {reason}." for reason in why)])


def counterparts(record: Record, quantity: Quantity, measured: Sequence[Record]) -> list[Record]:
    """Own measurements of a reported figure: of each machine, kind of weights and geometry the nearest."""
    if not record.reported or record.reported.value(quantity) is None:
        return []
    best: dict[tuple[str, str, str], Record] = {}
    for own in measured:
        if own.reported or own.status != "ok" or value(own, quantity) is None:
            continue
        if not meets(record.cell, own.cell) or (
            quantity == "wer" and own.cell.dataset != record.cell.dataset
        ):
            continue
        setting = (own.hardware, own.cell.weights, own.provenance.geometry)
        held = best.get(setting)
        if held is None or _nearness(record, own) > _nearness(record, held):
            best[setting] = own
    return [best[setting] for setting in sorted(best)]


def meets(reported: Cell, own: Cell) -> bool:
    """Whether an own cell is the reported one, up to what may differ."""
    same = ("model", "device", "batch_size", "image_size", "seq_len")
    return _extras(reported) == _extras(own) and all(
        getattr(reported, name) == getattr(own, name) for name in same
    )


def value(record: Record, quantity: Quantity) -> float | None:
    """A record's number for one of ``TITLES``."""
    return record.flops_per_batch if quantity == "flops" else getattr(record, quantity)


def differences(reported: Cell, measured: Record) -> list[str]:
    """What is not as in the report, in words."""
    own, told = measured.cell, []
    if measured.provenance.geometry:
        told.append(f"the geometry of the checkpoint: {measured.provenance.geometry}")
    if own.weights == "pretrained" and measured.provenance.weights.startswith(checkpoints.LOCAL):
        told.append("weights of a local folder, not of the Hub's pinned revision")
    if own.weights != reported.weights:
        told.append(f"{own.weights} weights")
    if own.dtype != reported.dtype:
        told.append(f"{own.dtype} for {reported.dtype}")
    if own.dataset != reported.dataset:
        told.append(f"questions of {catalogue.get(own.dataset).title}")
    if own.samples != reported.samples:
        told.append(f"{own.samples} samples for {reported.samples}")
    limit = "exactly" if own.length == "fixed" else "at most"
    return [*told, f"answers of {limit} {own.max_new_tokens} tokens"]


UNPRINTED_UNITS = ("latency_s", "energy_j_per_sample", "wer")
"""Quantities that the reports print without a unit: seconds, joules and a fraction are inferred."""


def figures(axis: str, cells: Sequence[Cell], reported: Sequence[Record]) -> Table:
    """Every figure printed anywhere of a page's cells, with the file, table, row and column it stands in."""
    found = by_cell(reported)
    rows = []
    for cell in cells:
        record = found.get(cell)
        for figure in record.reported.figures if record and record.reported else ():
            unit = figure.unit + (", inferred" if figure.quantity in UNPRINTED_UNITS else "")
            words = (unit, figure.file, figure.table, figure.row, figure.column)
            rows.append(
                (
                    Field(str(getattr(cell, axis))),
                    Field(catalogue.get(cell.dataset).title, words=True),
                    Field(WORDS[figure.quantity], words=True),
                    Field(figure.printed, key=record.key if record else ""),
                    *(Field(word, words=True) for word in words),
                )
            )
    heads = (
        axes.AXES[axis].row_title,
        "Data set",
        "Figure",
        "As printed",
        "Unit",
        "File",
        "Table",
        "Row",
        "Column",
    )
    caption = "Every figure printed of the cells of this page, and where it stands"
    if any(", inferred" in field.text for row in rows for field in row):
        caption += "; inferred: the report prints no such unit (see the methodology)"
    return Table(caption, heads, tuple(rows))


def conflicts(cells: Sequence[Cell], reported: Sequence[Record]) -> list[str]:
    """Figures of one cell that are not one number, a sentence each."""
    found = by_cell(reported)
    pairs = [
        pair for cell in cells if cell in found and (one := found[cell].reported) for pair in one.conflicts()
    ]
    return [
        f"{WORDS[a.quantity]}, of one and the same cell: {a.printed} in {a.place}, {b.printed} in {b.place}."
        for a, b in pairs
    ]


def _row(axis: str, record: Record, quantity: Quantity, own: Record) -> tuple[Field, ...]:
    number, theirs = value(own, quantity), value(record, quantity)
    modelled = quantity == "energy_j_per_sample" and own.energy_method == "model"
    reason = ANOTHER_MODEL if own.provenance.geometry else MODELLED if modelled else ""
    ratio = Field("-", reason, own.key)
    if number is not None and theirs and not reason:
        ratio = _ratio(own, quantity, number, theirs)
    return (
        Field(str(getattr(record.cell, axis))),
        Field(catalogue.get(record.cell.dataset).title, words=True),
        Field(TITLES[quantity], words=True),
        SHOW[quantity](record),
        SHOW[quantity](own),
        ratio,
        Field(own.hardware, words=True),
        Field("; ".join(differences(record.cell, own)), words=True),
    )


def _ratio(own: Record, quantity: Quantity, number: float, theirs: float) -> Field:
    """Measured over reported; with the interval of what was measured, for the report states none."""
    ends = own.wer_interval if quantity == "wer" else None
    if quantity == "latency_s" and own.latency and own.latency.confidence >= ENOUGH:
        ends = (own.latency.low, own.latency.high)
    span = f"[{ends[0] / theirs:.3g}, {ends[1] / theirs:.3g}]" if ends else ""
    title = "measured / report; 95 % interval of what was measured, the report states none"
    title = title if ends else "measured / report, without an interval"
    marks = {"latency_s": background_load.latency_mark, "energy_j_per_sample": background_load.energy_mark}
    mark, why = marks[quantity](own) if quantity in marks else ("", "")
    return Field(f"{number / theirs:.3g}{mark}", title + why, own.key, span=span)


def _extras(cell: Cell) -> tuple[str, bool, str, str]:
    """An optimization without its precision: the attention, whether it is compiled, and the rest."""
    parsed = optimizations.of(cell)
    return parsed.attention, parsed.compiled, parsed.quantization, parsed.decoding


def _nearness(record: Record, own: Record) -> tuple[bool, bool, bool, bool, int, str]:
    """Sorts own records by how near they come to a reported one; of equals the newest is nearest."""
    wanted, cell = record.cell, own.cell
    return (
        cell.dtype == wanted.dtype,
        cell.dataset == wanted.dataset,
        cell.dataset == f"{wanted.dataset}-mini",
        cell.length == wanted.length,
        -abs(cell.samples - wanted.samples),
        own.provenance.started_at,
    )
