"""Tables of the rates that each setting reaches, as shares of the device's peak rates, and of its memory.

Arithmetic limits the pass over a prompt, reading the weights limits a decoding step (Williams, Waterman and
Patterson, Communications of the ACM 52(4), 2009); MFU and MBU are the shares of those two peak rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from vlmnb.analysis.rates import Peak, Rate, peaks, peaks_of, rates
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting
from vlmnb.stats.formatting import counted, format_si
from vlmnb.views import fields, marks
from vlmnb.views.fields import COUNTED, Column, memory, value
from vlmnb.views.marks import Mark, marked
from vlmnb.views.table import Field, Row, Table, missing, without
from vlmnb.views.templates import say

percent = partial(formatting.percent, digits=3)
ONE_BEST = "the best of all tries, without an interval"


def table(cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make a table with one row per optimization: rates, and shares of the peak rates."""
    found = by_cell(records)
    known = peaks(found[cell] for cell in cells if cell in found)

    def rate(name: str, unit: str, record: Record) -> Field:
        write = partial(format_si, unit=unit, digits=3)
        return _rate(getattr(rates(record, known), name), record, marks.of_latency(record), write)

    def share(name: str, record: Record) -> Field:
        top = peaks_of(record, known)
        mark = _either(record, top.flops if name == "mfu" else top.memory) if top else Mark()
        return _share(getattr(rates(record, known), name), record, mark)

    columns: list[Column] = [
        ("Prefill", partial(rate, "prefill", "FLOP/s")),
        ("MFU", partial(share, "mfu")),
        (
            "Steps per batch",
            value(
                lambda r: r.timing and r.timing.decode_steps,
                lambda steps: " to ".join(dict.fromkeys(str(end(steps)) for end in (min, max))),
                COUNTED,
            ),
        ),
        (
            "Bytes per step",
            value(lambda r: rates(r, known).step_bytes, partial(format_si, unit="B", digits=3), COUNTED),
        ),
        ("Decode", partial(rate, "decode", "B/s")),
        ("MBU", partial(share, "mbu")),
    ]
    made = fields.cell_table("", "optimization", columns, cells, records)
    caption = say("roofline", "rates", length=cells[0].length, beyond=marks.beyond(made.rows))
    return replace(made, caption=caption)


def peaks_table(cells: Sequence[Cell], records: Sequence[Record]) -> Table | None:
    """Make a table of the peak rates, one row per precision; None if there are none."""
    found = by_cell(records)
    rows: list[Row] = []
    for (_, _, dtype), top in peaks(found[cell] for cell in cells if cell in found).items():
        load = top.flops.other_load
        quietest = without("not in the record", top.flops.key)
        if load is not None:
            quietest = Field(f"{100 * load:.0f} %", ONE_BEST, top.flops.key)
            quietest = marked(quietest, marks.of_peak(top.flops.contaminated))
        rows.append((Field(dtype), _peak(top.flops, "FLOP/s"), _peak(top.memory, "B/s"), quietest))
    heads = ("Precision", "Large products", "Large copies", "Background load")
    return Table(say("roofline", "peaks"), heads, tuple(rows)) if rows else None


def memory_table(cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make a table with one row per optimization: memory, compilation and attention kernel."""
    columns: list[Column] = [
        ("Weights", memory("weights_bytes", COUNTED)),
        ("Keys and values", memory("cache_bytes", f"by formula, at the last token; {COUNTED}")),
        ("Peak memory", memory("peak_bytes")),
        (
            "First call, s",
            value(
                lambda r: r.timing and r.timing.first_call_s, "{:.3g}".format, "one call, without an interval"
            ),
        ),
        ("Compiled", _compiled),
        fields.ATTENTION,
    ]
    caption = say("roofline", "memory", gpu=any(cell.device == "cuda" for cell in cells))
    return fields.cell_table(caption, "optimization", columns, cells, records)


class Bar(NamedTuple):
    """The two shares of a setting that the figure shows, each with its mark."""

    label: str
    record: Record
    mfu: Rate
    mbu: Rate
    mfu_mark: Mark
    mbu_mark: Mark


def bars(cells: Sequence[Cell], records: Sequence[Record]) -> list[Bar]:
    """Return the settings that have both shares."""
    found = by_cell(records)
    shown = [found[cell] for cell in cells if cell in found]
    known = peaks(shown)
    made = []
    for record in shown:
        own, top = rates(record, known), peaks_of(record, known)
        if own.mfu and own.mbu and top:
            name = fields.label("optimization", record.cell, cells)
            signs = _either(record, top.flops), _either(record, top.memory)
            made.append(Bar(name, record, own.mfu, own.mbu, *signs))
    return made


def points(drawn: Sequence[Bar]) -> Table:
    """Make the table of the figure: one row per setting."""
    rows = tuple(
        (
            Field(bar.label),
            _share(bar.mfu, bar.record, bar.mfu_mark),
            _share(bar.mbu, bar.record, bar.mbu_mark),
            fields.record_key(bar.record),
        )
        for bar in drawn
    )
    heads = (axes.AXES["optimization"].row_title, "MFU", "MBU", "Record")
    return Table("What the figure shows, with 95 % intervals over batches", heads, rows)


def _either(record: Record, peak: Peak) -> Mark:
    """Return the mark of a share: of the batches, of the peak rate, or of both."""
    own, top = marks.of_latency(record), marks.of_peak(peak.contaminated, peak.other_load)
    return Mark(own.sign or top.sign, own.why + top.why)


def _share(share: Rate | None, record: Record, mark: Mark) -> Field:
    sign = marks.of_share(share.value) if share else ""
    return _rate(share, record, Mark(f" %{sign}{mark.sign}", mark.why), percent)


def _rate(rate: Rate | None, record: Record, mark: Mark, write: Callable[[float], str]) -> Field:
    if rate is None:
        return missing(record)
    shown = Field(write(rate.value), "too few batches for an interval", record.key)
    if rate.ends:
        span = f"[{write(rate.ends[0])}, {write(rate.ends[1])}]"
        shown = replace(shown, title="95 % interval over batches", span=span)
    return marked(shown, mark)


def _peak(peak: Peak, unit: str) -> Field:
    shown = Field(format_si(peak.per_s, unit, 3), f"{peak.method}; {ONE_BEST}", peak.key)
    return marked(shown, marks.of_peak(peak.contaminated, peak.other_load))


def _compiled(record: Record) -> Field:
    made = record.compilation
    if record.status != "ok":
        return missing(record)
    if made is None:
        return Field("no", key=record.key, words=True)
    title = f"{made.cache_hits} graphs found compiled, {made.cache_misses} compiled now"
    shown = f"{counted(made.graphs, 'graph')}, {counted(made.graph_breaks, 'break')}"
    return Field(shown, title, record.key, words=True)
