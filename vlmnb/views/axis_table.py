"""Records to the reports' tables: a small table type, one function per table, and its HTML."""

from __future__ import annotations

import html as markup
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vlmnb.data import catalogue
from vlmnb.records import background_load
from vlmnb.records.record import Record, by_cell
from vlmnb.records.reported import Quantity
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import comparison, formatting, intervals

MODELLED = "≈ "
"""Stands before every joule that was modelled and not measured."""


BEYOND = " ‡"
"""Stands behind a share of a ceiling that is above 100 %: what was measured as the ceiling is none."""


@dataclass(frozen=True)
class Field:
    """One table cell.

    Attributes:
        text: A number as it is shown, or words.
        title: Tooltip: what the number is of, and why it has no interval or is missing.
        key: Of the record behind it.
        words: Whether it is words and no number.
        span: The number's interval as it is shown, ``[low, high]``; empty where there is none.
    """

    text: str
    title: str = ""
    key: str = ""
    words: bool = False
    span: str = ""


@dataclass(frozen=True)
class Table:
    """A table ready to be shown.

    Attributes:
        caption: What it shows, with units.
        columns: Headings.
        rows: As many fields as there are columns.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Field, ...], ...]


STATUS_WORDS = {
    "not_applicable": "not applicable",
    "not_enough_tokens": "not enough tokens",
    "out_of_memory": "out of memory",
    "unsupported": "unsupported",
    "failed": "failed",
    "unstated": "unstated",
}

Show = Callable[[Record], Field]

ENOUGH = 0.95
"""Confidence that an interval must have to be called one of 95 %."""

ONE_READING = "one reading of the whole window, without an interval"
COUNTED = "counted, without an interval"
"""Why a number has no interval."""

WITHOUT = "Energy and memory are one reading of the window, FLOPs are counted: these have no interval"
"""The same for a caption."""

UNPRINTED = Field("")
"""Stands where a report's table has no such column; a column of nothing else is left out."""


def axis_table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """The reports' table of an axis: rows by value, columns as the reports have them.

    Records of source ``reports`` show what the report prints, character by character.
    """
    found = by_cell(records, axis)
    values = list(dict.fromkeys(getattr(cell, axis) for cell in cells))
    names = list(dict.fromkeys(cell.dataset for cell in cells))
    at = {(getattr(cell, axis), cell.dataset): found.get(cell) for cell in cells}
    if axis in ("image_size", "seq_len"):
        heads = [f"{catalogue.get(name).title} {what}" for name in names for what in ("WER", "latency, s")]
        rows = [
            (
                _row_label(value, [at[value, name] for name in names]),
                *(f for name in names for f in (wer(at[value, name]), latency(at[value, name]))),
            )
            for value in values
        ]
        caption = "Word error rate (fraction), latency (seconds per batch) by data set, with 95 % intervals"
        return _as_reported(
            Table(caption, (axes.AXES[axis].row_title, *heads), tuple(rows)), list(at.values())
        )
    (name,) = names
    of = [at[value, name] for value in values]
    if axis == "optimization":
        original = of[0]
        heads = [
            "Latency, s",
            "% of original",
            "FLOPs",
            "% of original",
            "Energy, J per sample",
            "% of original",
            "WER",
        ]
        rows = [
            (
                _row_label(value, [record]),
                latency(record), percent(record, original, lambda r: r.latency_s, "latency_percent"),
                _flops(record), percent(record, original, lambda r: r.flops_per_batch, "flops_percent"),
                energy(record),
                percent(record, original, lambda r: r.energy_j_per_sample, "energy_percent"),
                wer(record),
            )
            for value, record in zip(values, of, strict=True)
        ]  # fmt: skip
    else:
        heads = ["Latency per batch, s", "Energy, J per sample", "FLOPs per batch", "WER"]
        rows = [
            (_row_label(value, [record]), latency(record), energy(record), _flops(record), wer(record))
            for value, record in zip(values, of, strict=True)
        ]
    at_batch = f" at batch {cells[0].batch_size}" if axis == "optimization" else ""
    what = axes.AXES[axis].row_title.split(",")[0] + at_batch
    caption = f"{what} on {catalogue.get(name).title}, with 95 % intervals. {WITHOUT}"
    return _as_reported(Table(caption, (axes.AXES[axis].row_title, *heads), tuple(rows)), of)


def html(table: Table) -> str:
    """A table as HTML of its own, text escaped."""
    columns = zip(table.columns, zip(*table.rows, strict=True), strict=True) if table.rows else ()
    head = "".join(_th(title, fields) for title, fields in columns)
    body = "".join(f"<tr>{''.join(_td(field) for field in row)}</tr>" for row in table.rows)
    caption = f"<caption><span>{markup.escape(table.caption)}</span></caption>"
    return (
        f'<div class="vlmnb-scroll"><table class="vlmnb-table">{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def percent(
    record: Record | None,
    original: Record | None,
    number: Callable[[Record], float | None],
    quantity: Quantity,
) -> Field:
    """A record's figure in percent of the original's; ``-`` where one of them is missing.

    A report prints this column itself (``quantity``); then its figure stands and nothing is computed.
    """
    if record is not None and record.reported:
        return _printed(record, quantity)
    if quantity == "latency_percent":
        return times_percent(record, original, lambda r: r.full_batches_s)
    mine = number(record) if record else None
    base = number(original) if original else None
    if record is None or mine is None or not base:
        return absent(record)
    pair = [record, original] if original else [record]
    shown = f"{100 * mine / base:.1f}"
    if quantity == "energy_percent":
        modelled = any(each.energy_method == "model" for each in pair)
        mark, why = _disturbed(pair, background_load.energy_mark)
        shown = f"{MODELLED * modelled}{shown}{mark}"
        why = f"{'; modelled, not measured' * modelled}{why}"
    else:
        why = ""
    if record is original:
        return Field(shown, f"the original itself{why}", record.key)
    what = COUNTED if quantity == "flops_percent" else ONE_READING
    return Field(shown, f"of the original's; each is {what}{why}", record.key)


def _disturbed(pair: Sequence[Record], mark: Callable[[Record], tuple[str, str]]) -> tuple[str, str]:
    """The mark of a ratio: that of whichever of both others disturbed."""
    return next((found for each in pair if (found := mark(each))[0]), ("", ""))


def times_percent(
    record: Record | None, original: Record | None, times: Callable[[Record], Sequence[float]]
) -> Field:
    """A median time of batches in percent of the original's, with the interval of the ratio of both.

    Args:
        record: What is shown.
        original: What it is held against.
        times: One per batch.
    """
    mine, base = (times(each) if each else () for each in (record, original))
    if record is None or original is None or not mine or not base:
        return absent(record)
    own, first = intervals.median_interval(mine), intervals.median_interval(base)
    mark, why = _disturbed([record, original], background_load.latency_mark)
    shown = f"{100 * own.median / first.median:.1f}{mark}"
    if record is original:
        return Field(shown, f"the original itself{why}", record.key)
    if min(own.confidence, first.confidence) < ENOUGH:
        return Field(shown, f"too few batches for an interval{why}", record.key)
    found = comparison.compare(base, mine, paired=False)
    title = (
        "median over the original's median, 95 % interval of the ratio; drift between windows is not in it"
    )
    span = percent_span(found.ratio, found.low, found.high)[1]
    return Field(shown, f"{title}{why}", record.key, span=span)


def _th(title: str, fields: Sequence[Field]) -> str:
    words = ' class="text"' if all(field.words for field in fields) else ""
    return f"<th{words}>{markup.escape(title)}</th>"


def _td(field: Field) -> str:
    title = f' title="{markup.escape(field.title)}"' if field.title else ""
    key = f' data-key="{field.key}"' if field.key else ""
    missing = ' class="vlmnb-missing"' if field.text == "-" else ' class="text"' if field.words else ""
    span = f' <span class="interval">{markup.escape(field.span)}</span>' if field.span else ""
    return f"<td{missing}{title}{key}>{markup.escape(field.text)}{span}</td>"


def absent(record: Record | None) -> Field:
    """What stands where a record has no such figure: ``-``, with the reason on hovering."""
    if record is None:
        return Field("-", "not measured")
    if record.status == "ok":
        return Field("-", "has no such figure", record.key)
    return Field("-", f"{STATUS_WORDS[record.status]}: {record.reason}", record.key)


def _printed(record: Record, quantity: Quantity) -> Field:
    """What a report prints, with where it stands; nothing is rounded, and no interval is made up."""
    figure = record.reported.figure(quantity) if record.reported else None
    if figure is None:
        return UNPRINTED if record.status == "ok" else absent(record)
    if figure.value is None:
        return Field("-", f"{absent(record).title}; {figure.place}", record.key)
    return Field(figure.printed, f"as printed: {figure.place}", record.key)


def _row_label(value: object, records: Sequence[Record | None]) -> Field:
    """A row's value; as a report calls it, where it is one's."""
    figures = [
        figure for record in records if record and record.reported for figure in record.reported.figures
    ]
    return Field(figures[0].row, title=str(value)) if figures else Field(str(value))


def _as_reported(table: Table, records: Sequence[Record | None]) -> Table:
    """Without the columns that a report's table does not have, and with its place in the caption."""
    reported = [record.reported for record in records if record and record.reported]
    if not reported:
        return table
    columns = list(zip(*table.rows, strict=True))
    kept = [i for i, column in enumerate(columns) if not _unprinted(column)]
    places = dict.fromkeys(f"{f.file}, {f.table}" for one in reported for f in one.figures)
    shown = table.caption.partition(", with 95 %")[0]
    caption = f"{shown}, as printed in {'; '.join(places)}, without intervals"
    if not places:
        caption = f"{shown}: the report prints no figure of these"
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return Table(caption, tuple(table.columns[i] for i in kept), rows)


def _unprinted(column: Sequence[Field]) -> bool:
    return UNPRINTED in column and all(field.text in ("", "-") for field in column)


def latency(record: Record | None) -> Field:
    """Median seconds per batch."""
    if record is not None and record.reported:
        return _printed(record, "latency_s")
    summary = record.latency if record else None
    if record is not None and record.status == "ok" and summary is None:
        return Field("-", "fewer samples than one batch", record.key)
    if record is None or summary is None:
        return absent(record)
    shown, (mark, why) = seconds(summary, record.key), background_load.latency_mark(record)
    return replace(shown, text=shown.text + mark, title=shown.title + why)


def seconds(summary: intervals.Summary, key: str, of: str = "batches") -> Field:
    """A median with its interval, in the digits that the interval supports.

    Of fewer than six samples the range is shown with the coverage it really has, and of one alone nothing.
    """
    title = f"median of n = {summary.n} {of}"
    if summary.confidence >= ENOUGH:
        shown = [
            formatting.significant(x, summary.low, summary.high)
            for x in (summary.median, summary.low, summary.high)
        ]
        return Field(shown[0], f"{title}, 95 % interval", key, span=f"[{shown[1]}, {shown[2]}]")
    # Their spread says nothing of digits.
    if summary.n == 1:
        return Field(f"{summary.median:.3g}", f"{title}: one alone has no interval", key)
    low, high = f"{summary.low:.3g}", f"{summary.high:.3g}"
    covers = f"smallest to largest, which covers {100 * summary.confidence:.0f} %"
    return Field(f"{summary.median:.3g}", f"{title}, {covers}", key, span=f"[{low}, {high}]")


def percent_span(share: float, low: float, high: float) -> tuple[str, str]:
    """A share in percent and its interval, both as they are shown."""
    return f"{100 * share:.1f}", f"[{100 * low:.1f}, {100 * high:.1f}]"


def beyond(share: float) -> str:
    """The mark of a share of a ceiling, a fraction; empty where it is none."""
    return BEYOND * (round(100 * share, 1) > 100)


def energy(record: Record | None) -> Field:
    if record is not None and record.reported:
        return _printed(record, "energy_j_per_sample")
    value = record.energy_j_per_sample if record else None
    reading = record.headline_energy if record else None
    if record is None or value is None or reading is None:
        return absent(record)
    mark, (disturbed, why) = MODELLED * (reading.method == "model"), background_load.energy_mark(record)
    title = f"{reading.method}: {reading.detail}; {ONE_READING}{why}"
    return Field(f"{mark}{value:.3g}{disturbed}", title, record.key)


def _flops(record: Record | None) -> Field:
    if record is not None and record.reported:
        return _printed(record, "flops")
    count = record.flops_per_batch if record else None
    if record is None or count is None:
        return absent(record)
    title = f"one forward pass over a batch of prompts, 2 per multiply-add; {COUNTED}"
    return Field(formatting.format_si(count), title, record.key)


def wer(record: Record | None) -> Field:
    """Word error rate of the corpus."""
    if record is not None and record.reported:
        return _printed(record, "wer")
    value, span = (record.wer, record.wer_interval) if record else (None, None)
    if record is None or value is None or span is None:
        return absent(record)
    title = f"{len(record.answers)} answers, 95 % interval over them"
    return Field(f"{value:.3f}", title, record.key, span=f"[{span[0]:.3f}, {span[1]:.3f}]")


SHOW: dict[Quantity, Callable[[Record], Field]] = {
    "latency_s": latency, "energy_j_per_sample": energy, "flops": _flops, "wer": wer
}  # fmt: skip
"""How a quantity of a record is shown in a table."""


def folded(table: Table, summary: str) -> str:
    """A table behind a line that opens it, as HTML."""
    return f'<details class="vlmnb-points"><summary>{markup.escape(summary)}</summary>{html(table)}</details>'
