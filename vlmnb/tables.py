"""Records to the reports' tables: a small table type, one function per table, and its HTML."""

from __future__ import annotations

import html as markup
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vlmnb import data, stats
from vlmnb.record import Record, by_cell
from vlmnb.spec import Cell

MODELLED = "≈ "
"""Stands before every joule that was modelled and not measured."""


@dataclass(frozen=True)
class Field:
    """One table cell: its text, a tooltip, the key of the record behind it, and whether it is words."""

    text: str
    title: str = ""
    key: str = ""
    words: bool = False


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


ROW_TITLES = {
    "device": "Device",
    "batch_size": "Batch size",
    "image_size": "Image size, px",
    "seq_len": "Prompt budget, tokens",
    "optimization": "Optimization",
}
STATUS_WORDS = {
    "not_applicable": "not applicable",
    "not_enough_tokens": "not enough tokens",
    "out_of_memory": "out of memory",
    "unsupported": "unsupported",
    "failed": "failed",
}

Show = Callable[[Record], Field]


def axis_table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """The reports' table of an axis: rows by value, columns as the reports have them."""
    found = by_cell(records)
    values = list(dict.fromkeys(getattr(cell, axis) for cell in cells))
    names = list(dict.fromkeys(cell.dataset for cell in cells))
    at = {(getattr(cell, axis), cell.dataset): found.get(cell) for cell in cells}
    if axis in ("image_size", "seq_len"):
        heads = [f"{data.get(name).title} {what}" for name in names for what in ("WER", "latency, s")]
        rows = [
            (
                Field(str(value)),
                *(f for name in names for f in (_wer(at[value, name]), _latency(at[value, name]))),
            )
            for value in values
        ]
        caption = "Word error rate (fraction) and latency (seconds per batch) by data set"
        return Table(caption, (ROW_TITLES[axis], *heads), tuple(rows))
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
                Field(str(value)),
                _latency(record), percent(record, original, _median_latency),
                _flops(record), percent(record, original, lambda r: r.flops_per_batch),
                _energy(record), percent(record, original, lambda r: r.energy_j_per_sample),
                _wer(record),
            )
            for value, record in zip(values, of, strict=True)
        ]  # fmt: skip
    else:
        heads = ["Latency per batch, s", "Energy, J per sample", "FLOPs per batch", "WER"]
        rows = [
            (Field(str(value)), _latency(record), _energy(record), _flops(record), _wer(record))
            for value, record in zip(values, of, strict=True)
        ]
    caption = f"{ROW_TITLES[axis].split(',')[0]} on {data.get(name).title}"
    return Table(caption, (ROW_TITLES[axis], *heads), tuple(rows))


def detail_table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """One row per cell with everything beside the reports' columns: intervals, tokens, memory, counters."""
    found = by_cell(records)
    shown: list[tuple[str, Show]] = [
        ("WER [95 %]", lambda r: _wer(r, interval=True)),
        ("Accuracy [95 %]", _accuracy),
        ("Latency, s [95 %]", lambda r: _latency(r, interval=True)),
        ("n", lambda r: _plain(r, r.latency and str(r.latency.n))),
        ("Verdict", lambda r: _plain(r, r.full_batches_s and stats.verdict(r.full_batches_s))),
        ("Energy, J per sample", _energy),
        ("Energy method", lambda r: _plain(r, r.headline_energy and r.headline_energy.method)),
        ("FLOPs, torch", lambda r: _plain(r, r.flops and _si(r.flops.torch))),
        ("FLOPs, 2 x fvcore", lambda r: _plain(r, r.flops and _si(r.flops.fvcore))),
        ("Peak memory", lambda r: _plain(r, r.memory and _bytes(r.memory.peak_bytes))),
        ("Image tokens", lambda r: _plain(r, _median([a.image_tokens for a in r.answers]))),
        ("Text tokens", lambda r: _plain(r, _median([a.text_tokens for a in r.answers]))),
        ("Output tokens", lambda r: _plain(r, _median([a.output_tokens for a in r.answers]))),
        ("Load by others", lambda r: _plain(r, _share(r.provenance.other_load))),
    ]
    rows = []
    for cell in cells:
        record = found.get(cell)
        first = (Field(str(getattr(cell, axis))), Field(data.get(cell.dataset).title, words=True))
        rows.append((*first, *(show(record) if record else Field("-", "not measured") for _, show in shown)))
    heads = (ROW_TITLES[axis], "Data set", *(head for head, _ in shown))
    return Table("Every cell, with intervals, tokens, memory and both FLOP counters", heads, tuple(rows))


def notes(records: Sequence[Record]) -> str:
    """Markdown that says why cells are ``-``, one line per reason; empty where none is."""
    reasons: dict[tuple[str, str], list[Cell]] = {}
    for record in records:
        if record.status != "ok":
            reasons.setdefault((record.status, record.reason), []).append(record.cell)
    every = [record.cell for record in records]
    lines = [
        f"- `-` *{STATUS_WORDS[status]}*: {escape(reason)} ({_where(cells, every)})"
        for (status, reason), cells in reasons.items()
    ]
    short = [r.cell for r in records if r.status == "ok" and not r.full_batches_s]
    if short:
        lines.append(f"- `-` latency: fewer samples than one batch ({_where(short, every)})")
    modelled = any(r.headline_energy and r.headline_energy.method == "model" for r in records)
    if modelled:
        lines.append(
            "- `≈` energy is *modelled* by codecarbon from CPU time and a nominal power, not measured; "
            "it follows time and says little more."
        )
    return "\n".join(lines)


def html(table: Table) -> str:
    """A table as HTML of its own, text escaped."""
    head = "".join(f"<th>{markup.escape(column)}</th>" for column in table.columns)
    body = "".join(f"<tr>{''.join(_td(field) for field in row)}</tr>" for row in table.rows)
    caption = f"<caption>{markup.escape(table.caption)}</caption>"
    return (
        f'<div class="vlmnb-scroll"><table class="vlmnb-table">{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def percent(
    record: Record | None, original: Record | None, number: Callable[[Record], float | None]
) -> Field:
    """A record's figure in percent of the original's; ``-`` where one of them is missing."""
    mine = number(record) if record else None
    base = number(original) if original else None
    if record is None or mine is None or not base:
        return _absent(record)
    return Field(f"{100 * mine / base:.1f}", key=record.key)


def escape(text: str) -> str:
    """Text for a Markdown line: no markup, no line breaks, at most 300 characters."""
    short = " ".join(text.split())
    short = short if len(short) <= 300 else short[:299] + "…"
    return markup.escape(short, quote=False).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def _td(field: Field) -> str:
    title = f' title="{markup.escape(field.title)}"' if field.title else ""
    key = f' data-key="{field.key}"' if field.key else ""
    missing = ' class="vlmnb-missing"' if field.text == "-" else ' class="text"' if field.words else ""
    return f"<td{missing}{title}{key}>{markup.escape(field.text)}</td>"


def _absent(record: Record | None) -> Field:
    if record is None:
        return Field("-", "not measured")
    if record.status == "ok":
        return Field("-", "has no such figure", record.key)
    return Field("-", f"{STATUS_WORDS[record.status]}: {record.reason}", record.key)


def _plain(record: Record, text: Any) -> Field:
    return Field(str(text), key=record.key) if text else _absent(record)


def _latency(record: Record | None, interval: bool = False) -> Field:
    summary = record.latency if record else None
    if record is not None and record.status == "ok" and summary is None:
        return Field("-", "fewer samples than one batch", record.key)
    if record is None or summary is None:
        return _absent(record)
    span = f"{summary.low:.4g} to {summary.high:.4g} s"
    title = f"median of n = {summary.n}, interval {span} ({100 * summary.confidence:.0f} %)"
    text = f"{summary.median:.3g}"  # fewer than six samples: their spread says nothing of digits
    if summary.confidence >= 0.95:
        text = stats.significant(summary.median, summary.low, summary.high)
    shown = f"{text} [{summary.low:.3g}, {summary.high:.3g}]" if interval else text
    return Field(shown, title, record.key)


def _median_latency(record: Record) -> float | None:
    return record.latency.median if record.latency else None


def _energy(record: Record | None) -> Field:
    value = record.energy_j_per_sample if record else None
    reading = record.headline_energy if record else None
    if record is None or value is None or reading is None:
        return _absent(record)
    mark = MODELLED if reading.method == "model" else ""
    return Field(f"{mark}{value:.3g}", f"{reading.method}: {reading.detail}", record.key)


def _flops(record: Record | None) -> Field:
    count = record.flops_per_batch if record else None
    if record is None or count is None:
        return _absent(record)
    return Field(
        _si(count) or "-", "one forward pass over a batch of prompts, 2 per multiply-add", record.key
    )


def _wer(record: Record | None, interval: bool = False) -> Field:
    value, span = (record.wer, record.wer_interval) if record else (None, None)
    if record is None or value is None or span is None:
        return _absent(record)
    title = f"{len(record.answers)} answers, 95 % interval {span[0]:.3f} to {span[1]:.3f}"
    shown = f"{value:.3f} [{span[0]:.3f}, {span[1]:.3f}]" if interval else f"{value:.3f}"
    return Field(shown, title, record.key)


def _accuracy(record: Record) -> Field:
    value, span = record.accuracy, record.accuracy_interval
    if value is None or span is None:
        return _absent(record)
    shown = f"{100 * value:.1f} % [{100 * span[0]:.1f}, {100 * span[1]:.1f}]"
    return Field(shown, f"{len(record.answers)} answers", record.key)


def _si(count: int | None) -> str | None:
    return stats.format_si(count) if count else None


def _bytes(count: int | None) -> str | None:
    return f"{count / 2**20:.0f} MiB" if count else None


def _median(values: Sequence[int]) -> str | None:
    return f"{stats.median_interval(values).median:g}" if values else None


def _share(value: float | None) -> str | None:
    return f"{100 * value:.0f} %" if value is not None else None


def _where(cells: Sequence[Cell], every: Sequence[Cell]) -> str:
    """What tells cells apart from the others of a page: only the fields that differ on it."""
    named = {"dataset": "", "device": "", "optimization": "", "batch_size": "batch size ",
             "image_size": "image size ", "seq_len": "prompt budget "}  # fmt: skip
    parts = []
    for name, word in named.items():
        if len({getattr(cell, name) for cell in every}) > 1 or len(every) == 1:
            values = dict.fromkeys(str(getattr(cell, name)) for cell in cells)
            parts.append(word + ", ".join(values))
    return "; ".join(parts)
