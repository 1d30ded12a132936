"""Why a setting helps or does not: the rates that it reaches, against what the device can do at most.

A prompt's pass is bound by arithmetic, a decoding step by reading the weights (Williams, Waterman and
Patterson, Communications of the ACM 52(4), 2009); MFU and MBU are the shares of those ceilings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vlmnb.analysis.rates import Ceiling, Ends, Rate, rates, roof_of, roofs
from vlmnb.records import background_load
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting
from vlmnb.views import optimization_text
from vlmnb.views.axis_table import COUNTED, ONE_READING, Field, Table, absent, beyond

if TYPE_CHECKING:
    from matplotlib.figure import Figure


label = partial(optimization_text.label, "optimization")
WIDEST = 130
"""Percent at which the figure ends; a longer bar is cut and its value written on it."""

Marked = tuple[str, str]


def table(cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """One row per optimization: rates, and shares of the ceilings."""
    found = by_cell(records)
    tops = roofs(_measured(cells, records))
    rows = []
    for cell in cells:
        record = found.get(cell)
        name = Field(label(cell, cells))
        if record is None or record.status != "ok":
            rows.append((name, *[absent(record)] * (len(HEADS) - 1)))
            continue
        own, key, roof = rates(record, tops), record.key, roof_of(record, tops)
        busy = background_load.latency_mark(record)
        rows.append(
            (
                name,
                _rate(own.prefill, "FLOP/s", key, busy),
                _share(own.mfu, key, _either(record, roof.flops if roof else None)),
                _steps(record),
                _si(own.step_bytes, "B", key, COUNTED),
                _rate(own.decode, "B/s", key, busy),
                _share(own.mbu, key, _either(record, roof.memory if roof else None)),
            )
        )
    return Table(CAPTION.format(length=cells[0].length), HEADS, tuple(rows))


HEADS = (
    axes.AXES["optimization"].row_title,
    "Prefill",
    "MFU",
    "Steps per batch",
    "Bytes per step",
    "Decode",
    "MBU",
)
CAPTION = (
    "Rates against the device's measured ceilings, answers of {length} length, with 95 % intervals over "
    "batches (bytes are counted, the ceilings taken as known). MFU: FLOPs of the plain model over the time "
    "to the first token; MBU: bytes of decoder, head and cache (the mean over steps, for prompts as long as "
    "the longest) over the time of a step; more may be moved. † other processes used the "
    "machine: while the batches were timed, which makes a share too low, or in every try of the ceiling, "
    "which makes it too high. A share above 100 % (‡) says that the ceiling is none: what is read lies in a "
    "cache, neighbours slowed the ceiling down, or the library's large matrix product in that precision is "
    "slower than the model's own (fp16 on many CPUs)"
)


def ceilings_table(cells: Sequence[Cell], records: Sequence[Record]) -> Table | None:
    """The ceilings that the shares are of, one row per precision; None where there are none."""
    made = roofs(_measured(cells, records))
    rows = []
    for (_, _, dtype), roof in made.items():
        fields = []
        for top, unit in ((roof.flops, "FLOP/s"), (roof.memory, "B/s")):
            mark, why = top.mark
            title = f"{top.method}; {ONE_BEST}{why}"
            fields.append(Field(formatting.format_si(top.per_s, unit, 3) + mark, title, top.key))
        load = Field("-", "the record does not tell", roof.flops.key)
        if (share := roof.flops.other_load) is not None:
            load = Field(f"{100 * share:.0f} %{roof.flops.mark[0]}", ONE_BEST, roof.flops.key)
        rows.append((Field(dtype), *fields, load))
    if not rows:
        return None
    heads = ("Precision", "Large products", "Large copies", "Load by others")
    caption = (
        "The ceilings: the best that any record of this page saw. They are measured once per process, after "
        "its first cell of a precision, in several tries, products and copies in turn; while others "
        "disturbed every try (†), once more after each of the next cells. Load by others: in the quietest "
        "try. The next process may see others: compare shares within a page, not between pages"
    )
    return Table(caption, heads, tuple(rows))


ONE_BEST = "the best of all tries, without an interval"


def memory_table(cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """One row per optimization: memory, compilation and the kernel that ran."""
    found = by_cell(records)
    heads = (
        axes.AXES["optimization"].row_title, "Weights", "Keys and values", "Peak memory", "First call, s",
        "Compiled", "Attention kernel",
    )  # fmt: skip
    rows = []
    for cell in cells:
        record = found.get(cell)
        name = Field(label(cell, cells))
        if record is None or record.status != "ok":
            rows.append((name, *[absent(record)] * (len(heads) - 1)))
            continue
        key, memory = record.key, record.memory
        rows.append(
            (
                name,
                _si(memory.weights_bytes if memory else None, "B", key, COUNTED),
                _si(
                    memory.cache_bytes if memory else None,
                    "B",
                    key,
                    f"by formula, at the last token; {COUNTED}",
                ),
                _si(memory.peak_bytes if memory else None, "B", key, ONE_READING),
                _first_call(record),
                _compiled(record),
                Field(record.provenance.attention or "-", "as the model names it", key, words=True),
            )
        )
    peak = (
        "Peak memory: what torch's allocator had handed out at most"
        if any(cell.device.startswith("cuda") for cell in cells)
        else "Peak memory on a CPU is that of the whole process, with libraries and with what earlier cells "
        "left behind: it rises in the order in which cells run, and does not show what a setting saves"
    )
    caption = (
        "Memory and kernels. Weights: parameters and buffers as they lie in memory, which quantization "
        "makes smaller; keys and values: those of the largest batch by formula, of the tokens that there are "
        f"(a static cache has room for more). {peak}. The first call is the first of "
        "the cell: it holds the compilation unless a cell before had compiled the same decoder"
    )
    return Table(caption, heads, tuple(rows))


def _measured(cells: Sequence[Cell], records: Sequence[Record]) -> list[Record]:
    found = by_cell(records)
    return [found[cell] for cell in cells if cell in found]


def _either(record: Record, top: Ceiling | None) -> Marked:
    """The mark of a share: of the batches, of the ceiling, or of both."""
    (mark, why), (above, because) = background_load.latency_mark(record), top.mark if top else ("", "")
    return mark or above, why + because


def _drawn(
    cells: Sequence[Cell], records: Sequence[Record]
) -> list[tuple[Cell, Record, Rate, Rate, Marked, Marked]]:
    """The cells with both shares, and the marks of these."""
    tops = roofs(_measured(cells, records))
    made = []
    for record in _measured(cells, records):
        own, roof = rates(record, tops), roof_of(record, tops)
        if own.mfu and own.mbu and roof:
            marks = _either(record, roof.flops), _either(record, roof.memory)
            made.append((record.cell, record, own.mfu, own.mbu, *marks))
    return made


def figure(cells: Sequence[Cell], records: Sequence[Record]) -> Figure | None:
    """MFU and MBU as bars; None where no record has both."""
    from matplotlib import pyplot

    from vlmnb.views.axis_figure import INK, STYLE

    drawn = _drawn(cells, records)
    if not drawn:
        return None
    with pyplot.rc_context(STYLE):
        sketch, place = pyplot.subplots(figsize=(9, 0.9 + 0.42 * len(drawn)))
        for i, (_, _, mfu, mbu, *marks) in enumerate(drawn):
            bars = (
                (i - 0.2, mfu, "#0173b2", "MFU, prefill", marks[0][0]),
                (i + 0.2, mbu, "#de8f05", "MBU, decode", marks[1][0]),
            )
            for y, share, color, what, mark in bars:
                place.barh(y, 100 * share.value, 0.36, color=color, label=what if i == 0 else None)
                end = share.value
                if share.ends:
                    low, end = share.ends
                    reach = [[100 * max(share.value - low, 0.0)], [100 * max(end - share.value, 0.0)]]
                    place.errorbar([100 * share.value], [y], xerr=reach, fmt="none", ecolor=INK, capsize=2)
                if 100 * share.value > WIDEST:  # one such bar would leave the others no room
                    written = f"{formatting.percent(share.value, 3)} %{mark}"
                    place.text(WIDEST - 1, y, written, va="center", ha="right", color="white")
                elif mark:
                    place.text(min(100 * end, WIDEST) + 0.5, y, mark.strip(), va="center", color=INK)
        place.axvline(100, color=INK, linestyle="--", linewidth=1)
        if place.get_xlim()[1] > WIDEST:
            place.set_xlim(0, WIDEST)
        place.set_yticks(range(len(drawn)), [label(cell, cells) for cell, *_ in drawn])
        place.invert_yaxis()
        place.set_xlabel("share of the measured ceiling, %")
        place.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        place.grid(axis="x")
        sketch.tight_layout()
    return sketch


def points(cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """The points of the figure: one row per setting that is drawn."""
    rows = tuple(
        (Field(label(cell, cells)), _share(mfu, record.key, own), _share(mbu, record.key, other),
         Field(record.key, "file of the record", record.key, words=True))
        for cell, record, mfu, mbu, own, other in _drawn(cells, records)
    )  # fmt: skip
    heads = (axes.AXES["optimization"].row_title, "MFU", "MBU", "Record")
    return Table("What the figure shows, with 95 % intervals over batches", heads, rows)


def _steps(record: Record) -> Field:
    """Decoding steps of a batch: what stands beside them is of these alone."""
    steps = record.timing.decode_steps if record.timing else ()
    if not steps:
        return Field("-", "not measured", record.key)
    low, high = min(steps), max(steps)
    return Field(str(low) if low == high else f"{low} to {high}", COUNTED, record.key)


def _si(value: float | None, unit: str, key: str, title: str) -> Field:
    if value is None:
        return Field("-", "not measured", key)
    return Field(formatting.format_si(value, unit, 3), title, key)


def _rate(rate: Rate | None, unit: str, key: str, marked: Marked) -> Field:
    if rate is None:
        return Field("-", "not measured", key)
    shown = formatting.format_si(rate.value, unit, 3) + marked[0]
    return _with_ends(shown, rate.ends, lambda end: formatting.format_si(end, unit, 3), key, marked[1])


def _share(share: Rate | None, key: str, marked: Marked) -> Field:
    if share is None:
        return Field("-", "not measured", key)
    shown = f"{formatting.percent(share.value, 3)} %{beyond(share.value)}{marked[0]}"
    return _with_ends(shown, share.ends, lambda end: formatting.percent(end, 3), key, marked[1])


def _with_ends(shown: str, ends: Ends, write: Callable[[float], str], key: str, why: str) -> Field:
    if ends is None:
        return Field(shown, f"too few batches for an interval{why}", key)
    span = f"[{write(ends[0])}, {write(ends[1])}]"
    return Field(shown, f"95 % interval over batches{why}", key, span=span)


def _first_call(record: Record) -> Field:
    if record.timing is None:
        return Field("-", "not measured", record.key)
    return Field(f"{record.timing.first_call_s:.3g}", "one call, without an interval", record.key)


def _compiled(record: Record) -> Field:
    made = record.compilation
    if made is None:
        return Field("no", key=record.key, words=True)
    title = f"{made.cache_hits} graphs found compiled, {made.cache_misses} compiled now"
    graphs, breaks = formatting.counted(made.graphs, "graph"), formatting.counted(made.graph_breaks, "break")
    return Field(f"{graphs}, {breaks}", title, record.key, words=True)
