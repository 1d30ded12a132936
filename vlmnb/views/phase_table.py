"""The table of time by phase; of answers of fixed length every row of a batch does the same decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from vlmnb.records import background_load
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes, optimizations
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting, intervals
from vlmnb.views import optimization_text
from vlmnb.views.axis_table import (
    ENOUGH,
    MODELLED,
    ONE_READING,
    Field,
    Table,
    absent,
    seconds,
    times_percent,
)

Of = Callable[[Record], intervals.Summary | None]

PHASES: tuple[tuple[str, Of], ...] = (
    ("Vision encoding, s", lambda r: r.phase("vision_s")),
    ("Rest of prefill, s", lambda r: r.phase("prefill_s")),
    ("Time to first token, s", lambda r: r.ttft_s),
    ("Decode, s", lambda r: r.phase("decode_s")),
)
SAMPLES: tuple[str, Of] = ("Samples per s", lambda r: r.samples_per_s)
TOKENS: tuple[str, Of] = ("Output tokens per s", lambda r: r.output_tokens_per_s)


def table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """One row per cell: medians with 95 % intervals, throughput, energy, and the verdict.

    On the optimization axis times stand in percent of the original's too, of the same batch size.
    """
    found = by_cell(records)
    against = axis == "optimization"
    originals = {part[0].batch_size: found.get(part[0]) for part in optimizations.groups(cells)}
    fixed = cells[0].length == "fixed"
    rates = (TOKENS,) * fixed if against else (SAMPLES, TOKENS)
    rows = []
    for cell in cells:
        record, original = found.get(cell), originals[cell.batch_size]
        rows.append(
            (
                Field(optimization_text.label(axis, cell, cells)),
                timed(record, lambda r: r.latency),
                *([times_percent(record, original, lambda r: r.full_batches_s)] * against),
                *(timed(record, of) for _, of in PHASES),
                timed(record, lambda r: r.tpot_s),
                *([times_percent(record, original, lambda r: r.full_tpot_s)] * against),
                energy(record),
                *(throughput(record, of) for _, of in rates),
                _verdict(record),
            )
        )
    percent = ("% of original",) * against
    heads = (
        axes.AXES[axis].row_title, "Latency per batch, s", *percent, *(head for head, _ in PHASES),
        "Time per output token, s", *percent, "Energy, J per output token", *(head for head, _ in rates),
        "Verdict",
    )  # fmt: skip
    tokens = sorted({cell.max_new_tokens for cell in cells})
    of = " The original is the first row of a batch size." * against
    exactly = f"Answers of exactly {' or '.join(map(str, tokens))} tokens"
    apart = " Such answers say nothing of quality, and these times stand in no table of natural answers."
    caption = (
        f"{exactly if fixed else 'Answers of natural length'}: seconds per batch by phase, medians with 95 % "
        f"intervals; joules are one reading of the window and hold the work on the prompt.{apart * fixed}{of}"
    )
    return Table(caption, heads, tuple(rows))


def timed(record: Record | None, of: Of) -> Field:
    """A time with its interval, in the digits that the interval supports."""
    summary = of(record) if record else None
    if record is None or summary is None:
        return absent(record)
    return _marked(seconds(summary, record.key), record)


def throughput(record: Record | None, of: Of) -> Field:
    """A rate with its interval, in the digits that the interval supports."""
    rate = of(record) if record else None
    if record is None or rate is None:
        return absent(record)
    if rate.confidence < ENOUGH:
        few = f"n = {rate.n}: too few for an interval"
        return _marked(Field(f"{rate.median:.3g}", few, record.key), record)
    shown = [
        formatting.significant(value, rate.low, rate.high) for value in (rate.median, rate.low, rate.high)
    ]
    title = "of a full batch, over its latency, 95 % interval"
    return _marked(Field(shown[0], title, record.key, span=f"[{shown[1]}, {shown[2]}]"), record)


def energy(record: Record | None) -> Field:
    """Joules per generated token, the work on the prompt included."""
    value = record.energy_j_per_output_token if record else None
    reading = record.headline_energy if record else None
    if record is None or value is None or reading is None:
        return absent(record)
    mark, why = background_load.energy_mark(record)
    shown = f"{MODELLED * (reading.method == 'model')}{value:.3g}{mark}"
    return Field(shown, f"{reading.method}: {reading.detail}; {ONE_READING}{why}", record.key)


def _marked(field: Field, record: Record) -> Field:
    """With the mark of batches that others disturbed."""
    mark, why = background_load.latency_mark(record)
    return replace(field, text=field.text + mark, title=field.title + why)


def _verdict(record: Record | None) -> Field:
    if record is None or record.latency is None:
        return absent(record)
    verdict, (mark, why) = intervals.verdict(record.full_batches_s), background_load.latency_mark(record)
    said = f"n = {record.latency.n}{why}"
    return Field(f"{verdict}{mark}", said, record.key, words=True)
