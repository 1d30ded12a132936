"""The table of answers of fixed length: time by phase, in which every row does the same decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vlmnb import disturbance, presets, stats
from vlmnb.record import Record, by_cell
from vlmnb.spec import Cell
from vlmnb.tables import ENOUGH, ROW_TITLES, Field, Table, absent, seconds

Of = Callable[[Record], stats.Summary | None]

COLUMNS: tuple[tuple[str, Of], ...] = (
    ("Latency per batch, s", lambda r: r.latency),
    ("Vision encoding, s", lambda r: r.phase("vision_s")),
    ("Rest of prefill, s", lambda r: r.phase("prefill_s")),
    ("Time to first token, s", lambda r: r.ttft_s),
    ("Decode, s", lambda r: r.phase("decode_s")),
    ("Time per output token, s", lambda r: r.tpot_s),
)
RATES: tuple[tuple[str, Of], ...] = (
    ("Samples per s", lambda r: r.samples_per_s),
    ("Output tokens per s", lambda r: r.output_tokens_per_s),
)


def table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """One row per cell: medians with 95 % intervals, throughput, and the verdict."""
    found = by_cell(records)
    rows = []
    for cell in cells:
        record = found.get(cell)
        fields = [timed(record, of) for _, of in COLUMNS]
        rates = [throughput(record, of) for _, of in RATES]
        rows.append((Field(presets.label(axis, cell, cells)), *fields, *rates, *_counts(record)))
    tokens = sorted({cell.max_new_tokens for cell in cells})
    caption = (
        f"Answers of exactly {' or '.join(map(str, tokens))} tokens: seconds per batch by phase, medians "
        "with 95 % intervals. Such answers say nothing of quality, and these times stand in no other table."
    )
    heads = (ROW_TITLES[axis], *(head for head, _ in (*COLUMNS, *RATES)), "n", "Verdict")
    return Table(caption, heads, tuple(rows))


def timed(record: Record | None, of: Of) -> Field:
    """A time with its interval, in the digits that the interval supports."""
    summary = of(record) if record else None
    if record is None or summary is None:
        return absent(record)
    return seconds(summary, record.key)


def throughput(record: Record | None, of: Of) -> Field:
    """A rate with its interval, in the digits that the interval supports."""
    rate = of(record) if record else None
    if record is None or rate is None:
        return absent(record)
    if rate.confidence < ENOUGH:
        return Field(f"{rate.median:.3g}", f"n = {rate.n}: too few for an interval", record.key)
    shown = [stats.significant(value, rate.low, rate.high) for value in (rate.median, rate.low, rate.high)]
    title = "of a full batch, over its latency, 95 % interval"
    return Field(shown[0], title, record.key, span=f"[{shown[1]}, {shown[2]}]")


def _counts(record: Record | None) -> tuple[Field, Field]:
    if record is None or record.latency is None:
        return absent(record), absent(record)
    verdict, (mark, why) = stats.verdict(record.full_batches_s), disturbance.latency_mark(record)
    said = Field(f"{verdict}{mark}", why.removeprefix("; "), record.key, words=True)
    return Field(str(record.latency.n), key=record.key), said
