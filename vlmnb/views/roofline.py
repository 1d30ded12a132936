"""The rates that each setting reaches, as shares of the device's peak rates, and its memory.

Arithmetic limits the pass over a prompt, reading the weights limits a decoding step (Williams, Waterman and
Patterson, Communications of the ACM 52(4), 2009); MFU and MBU are the shares of those two peak rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from vlmnb.analysis import matching
from vlmnb.analysis.rates import Peak, Place, Rate, peaks, peaks_of, rates
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting
from vlmnb.stats.formatting import counted, format_si
from vlmnb.views import fields, marks
from vlmnb.views.fields import COUNTED, Column, Show, memory, value
from vlmnb.views.figure_style import COLORS, INK, themed
from vlmnb.views.marks import Mark, joined, marked
from vlmnb.views.table import MISSING, Field, Table, declared, missing, without
from vlmnb.views.templates import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ONE_BEST = "the best of all tries, without an interval"
WIDEST = 130
"""Percent at which the figure ends; a longer bar is cut and its value is written on it."""


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
                lambda r: r.timing and not r.short and r.timing.decode_steps,
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
    caption = say(
        "roofline", "rates", length=cells[0].length, beyond=marks.beyond(made.rows),
        busy=marks.carried(made.rows, marks.DISTURBED),
    )  # fmt: skip
    return replace(made, caption=caption)


def peaks_table(cells: Sequence[Cell], records: Sequence[Record]) -> Table | None:
    """Make a table of the peak rates, one row per precision; None if there are none."""
    found = by_cell(records)
    known = peaks(found[cell] for cell in cells if cell in found)
    columns: list[tuple[str, Callable[[Place], Field]]] = [
        ("Precision", lambda place: Field(place[2])),
        ("Large products", lambda place: _peak(known[place].flops, "FLOP/s")),
        ("Large copies", lambda place: _peak(known[place].memory, "B/s")),
        ("Background load", lambda place: _quietest(known[place].flops)),
    ]
    made = declared("", columns, known)
    busy = marks.carried(made.rows, marks.DISTURBED)
    return replace(made, caption=say("roofline", "peaks", busy=busy)) if known else None


def memory_table(cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make a table with one row per optimization: memory, compilation and attention kernel."""
    columns: list[Column] = [
        ("Weights", _by_type("weights", COUNTED)),
        ("Keys and values", _by_type("cache", f"by formula, at the last token; {COUNTED}")),
        ("Peak memory", memory("peak_bytes")),
        (
            "First call, s",
            value(_first_call_s, "{:.3g}".format, "one call, without an interval"),
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


def figure(drawn: Sequence[Bar]) -> Figure:
    """Draw MFU and MBU of each setting as bars, with their intervals and marks."""
    from matplotlib import pyplot

    mfu, mbu = COLORS[:2]
    with themed():
        sketch, place = pyplot.subplots(figsize=(9, 0.9 + 0.42 * len(drawn)))
        for i, bar in enumerate(drawn):
            named = ("MFU, prefill", "MBU, decode") if i == 0 else (None, None)
            _bar(place, i - 0.2, bar.mfu, bar.mfu_mark.sign, color=mfu, label=named[0])
            _bar(place, i + 0.2, bar.mbu, bar.mbu_mark.sign, color=mbu, label=named[1])
        place.axvline(100, color=INK, linestyle="--", linewidth=1)
        if at := cut(drawn):
            place.set_xlim(0, at)
        place.set_yticks(range(len(drawn)), [bar.label for bar in drawn])
        place.invert_yaxis()
        place.set_xlabel("share of the measured peak rate, %")
        place.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        place.grid(visible=False, axis="y")
        place.grid(visible=True, axis="x")
        sketch.tight_layout()
    return sketch


def signs(drawn: Sequence[Bar]) -> str:
    """Return the signs that stand at bars of the figure."""
    return joined(*(mark for bar in drawn for mark in (bar.mfu_mark, bar.mbu_mark))).sign


def cut(drawn: Sequence[Bar]) -> int:
    """Return the percent at which the figure ends, if a bar or its interval goes beyond; else 0."""
    ends = [
        100 * end
        for bar in drawn
        for share in (bar.mfu, bar.mbu)
        for end in (share.value, *(share.ends or ()))
    ]
    return WIDEST if max(ends, default=0) > WIDEST else 0


def points(drawn: Sequence[Bar]) -> Table:
    """Make the table of the figure: one row per setting."""
    columns: list[tuple[str, Callable[[Bar], Field]]] = [
        (axes.AXES["optimization"].row_title, lambda bar: Field(bar.label)),
        ("MFU", lambda bar: _share(bar.mfu, bar.record, bar.mfu_mark)),
        ("MBU", lambda bar: _share(bar.mbu, bar.record, bar.mbu_mark)),
        ("Record", lambda bar: fields.record_key(bar.record)),
    ]
    return declared("What the figure shows, with 95 % intervals over batches, from six on", columns, drawn)


def percent(share: float) -> str:
    """Return a share in percent with three digits, zeros at the end included."""
    return formatting.digits(100 * share)


def _either(record: Record, peak: Peak) -> Mark:
    """Return the mark of a share: of the batches, of the peak rate, or of both."""
    own, top = marks.of_latency(record), marks.of_peak(peak.contaminated, peak.other_load)
    return joined(own, top)


def _share(share: Rate | None, record: Record, mark: Mark) -> Field:
    sign = marks.of_share(share.value) if share else ""
    return _rate(share, record, Mark(f" %{sign}{mark.sign}", mark.why), percent)


def _rate(rate: Rate | None, record: Record, mark: Mark, write: Callable[[float], str]) -> Field:
    if rate is None:
        return missing(record)
    if not rate.ends:
        return marked(Field(write(rate.value), "too few batches for an interval", record.key), mark)
    return marked(
        fields.spanned(rate.value, rate.ends, write, "95 % interval over batches", record.key), mark
    )


def _peak(peak: Peak, unit: str) -> Field:
    shown = Field(format_si(peak.per_s, unit, 3), f"{peak.method}; {ONE_BEST}", peak.key)
    return marked(shown, marks.of_peak(peak.contaminated, peak.other_load))


def _quietest(peak: Peak) -> Field:
    if peak.other_load is None:
        return without("not in the record", peak.key)
    return marked(
        Field(f"{100 * peak.other_load:.0f} %", ONE_BEST, peak.key), marks.of_peak(peak.contaminated)
    )


def _by_type(name: str, title: str) -> Show:
    """Return what shows an amount of memory and, if its elements are of several types, that of each."""
    whole = memory(f"{name}_bytes", title)

    def show(record: Record) -> Field:
        by_type = getattr(record.memory, f"{name}_by_type", {})
        parts = ", ".join(f"{kind} {format_si(size, 'B', 3)}" for kind, size in by_type.items())
        shown = whole(record)
        return replace(shown, span=f"({parts})") if len(by_type) > 1 and shown.text != MISSING else shown

    return show


def _first_call_s(record: Record) -> float | None:
    """Return the seconds of the record's own first call; that of turns is of the process which timed them."""
    timing = matching.in_window(record).timing
    return timing.first_call_s if timing else None


def _compiled(record: Record) -> Field:
    made = record.compilation
    if record.status != "ok":
        return missing(record)
    if made is None:
        return Field("no", key=record.key, words=True)
    title = f"{made.cache_hits} graphs found compiled, {made.cache_misses} compiled now"
    shown = f"{counted(made.graphs, 'graph')}, {counted(made.graph_breaks, 'break')}"
    if made.cuda_graphs_skipped:
        shown += f", {made.cuda_graphs_skipped} not as a CUDA graph"
    return Field(shown, title, record.key, words=True)


def _bar(place: Any, y: float, share: Rate, mark: str, *, color: Any, label: str | None) -> None:
    value = 100 * share.value
    place.barh(y, value, 0.36, color=color, label=label)
    end = value
    if share.ends:
        low, end = (100 * each for each in share.ends)
        reach = [[max(value - low, 0.0)], [max(end - value, 0.0)]]
        place.errorbar([value], [y], xerr=reach, fmt="none", ecolor=INK, capsize=2)
    if value > WIDEST:  # one such bar would leave the others no room
        written = f"{percent(share.value)} %{mark}"
        place.text(WIDEST - 1, y, written, va="center", ha="right", color="white")
    elif mark:
        place.text(min(end, WIDEST) + 0.5, y, mark.strip(), va="center", color=INK)
