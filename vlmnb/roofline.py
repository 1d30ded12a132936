"""Why a setting helps or does not: the rates that it reaches, against what the device can do at most.

A prompt's pass is bound by arithmetic, a decoding step by reading the weights (Williams, Waterman and
Patterson, Communications of the ACM 52(4), 2009); MFU and MBU are the shares of those ceilings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from vlmnb import disturbance, presets, stats
from vlmnb.record import Record, by_cell
from vlmnb.spec import Cell, Frozen
from vlmnb.tables import COUNTED, ENOUGH, ONE_READING, ROW_TITLES, Field, Table, absent, beyond

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Ends = tuple[float, float] | None
label = partial(presets.label, "optimization")
WIDEST = 130
"""Percent at which the figure ends; a longer bar is cut and its value written on it."""


class Rates(Frozen):
    """What a record reached; None where a part of it was not measured.

    Attributes:
        prefill_flops_per_s: Model FLOPs of a batch of prompts over the time to the first token.
        mfu: The same as a share of the device's measured rate.
        step_bytes: Bytes that a decoding step reads at least: decoder, output head, keys and values.
        decode_bytes_per_s: These over the time of a step.
        mbu: The same as a share of the device's measured rate.
        prefill_ends: 95 % interval of ``prefill_flops_per_s``, from that of the time to the first token; None
            where batches are too few.
        decode_ends: 95 % bootstrap interval of ``decode_bytes_per_s`` over batches; likewise.
        mfu_ends: Of ``mfu``; the ceiling is taken as known.
        mbu_ends: Of ``mbu``, likewise.
    """

    prefill_flops_per_s: float | None
    mfu: float | None
    step_bytes: int | None
    decode_bytes_per_s: float | None
    mbu: float | None
    prefill_ends: Ends = None
    decode_ends: Ends = None
    mfu_ends: Ends = None
    mbu_ends: Ends = None


def rates(record: Record) -> Rates:
    """The rates of a record."""
    flops, ttft, ceilings = record.flops_per_batch, record.ttft_s, record.ceilings
    prefill = flops / ttft.median if flops and ttft else None
    memory, timing = record.memory, record.timing
    step_bytes = None
    if memory and memory.decode_weights_bytes:
        step_bytes = memory.decode_weights_bytes + (memory.cache_bytes or 0)
    decode: float | None = None
    decode_ends: Ends = None
    if step_bytes and timing and sum(timing.decode_s):
        # Per pass and not per token: with guessed tokens a pass reads the weights once for several.
        decode = step_bytes * sum(timing.decode_steps) / sum(timing.decode_s)
        if len(timing.decode_s) >= stats.FEWEST_SAMPLES:
            decode_ends = _scaled(stats.bootstrap_ratio(timing.decode_steps, timing.decode_s), step_bytes)
    prefill_ends = None
    if flops and ttft and ttft.confidence >= ENOUGH and ttft.low > 0:
        prefill_ends = (flops / ttft.high, flops / ttft.low)
    return Rates(
        prefill_flops_per_s=prefill,
        mfu=prefill / ceilings.flops_per_s if prefill and ceilings else None,
        step_bytes=step_bytes,
        decode_bytes_per_s=decode,
        mbu=decode / ceilings.bytes_per_s if decode and ceilings else None,
        prefill_ends=prefill_ends,
        decode_ends=decode_ends,
        mfu_ends=_scaled(prefill_ends, 1 / ceilings.flops_per_s) if ceilings else None,
        mbu_ends=_scaled(decode_ends, 1 / ceilings.bytes_per_s) if ceilings else None,
    )


def _scaled(ends: Ends, factor: float) -> Ends:
    return None if ends is None else (ends[0] * factor, ends[1] * factor)


def table(cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """One row per optimization: rates, shares of the ceilings, compilation and the kernel that ran."""
    found = by_cell(records)
    rows = []
    for cell in cells:
        record = found.get(cell)
        name = Field(label(cell, cells))
        if record is None or record.status != "ok":
            rows.append((name, *[absent(record)] * (len(HEADS) - 1)))
            continue
        own, key = rates(record), record.key
        rows.append(
            (
                name,
                _rate(own.prefill_flops_per_s, "FLOP/s", own.prefill_ends, key),
                _share(own.mfu, own.mfu_ends, key),
                _si(own.step_bytes, "B", key, COUNTED),
                _rate(own.decode_bytes_per_s, "B/s", own.decode_ends, key),
                _share(own.mbu, own.mbu_ends, key),
                _si(record.memory.peak_bytes if record.memory else None, "B", key, ONE_READING),
                _first_call(record),
                _compiled(record),
                Field(record.provenance.attention or "-", "as the model names it", key, words=True),
            )
        )
    return Table(_caption(cells, records), HEADS, tuple(rows))


HEADS = (
    ROW_TITLES["optimization"], "Prefill", "MFU", "Bytes per step", "Decode", "MBU", "Peak memory",
    "First call, s", "Compiled", "Attention kernel",
)  # fmt: skip


def _caption(cells: Sequence[Cell], records: Sequence[Record]) -> str:
    found = by_cell(records)
    known = [found[cell] for cell in cells if cell in found and found[cell].ceilings]
    words = (
        "Rates against the device's measured ceilings, answers of fixed length, with 95 % intervals over "
        "batches (bytes are counted; memory, the first call and the ceilings are one reading each). MFU: "
        "FLOPs of the plain model over the time to the first token; MBU: bytes of decoder, head and cache "
        "over the time of a step, a lower bound of what is moved. A share above 100 % (‡) says that the "
        "ceiling is none: what is read lies in a cache, neighbours slowed the ceiling down, or the library's "
        "large matrix product in that precision is slower than the model's own (fp16 on many CPUs). The "
        "first call is the first of the cell: it holds the compilation unless a cell before had compiled the "
        "same decoder"
    )
    if known and (top := known[0].ceilings):
        words += (
            f". Ceilings beside {known[0].cell.optimization}: "
            f"{stats.format_si(top.flops_per_s, 'FLOP/s', 3)}, "
            f"{stats.format_si(top.bytes_per_s, 'B/s', 3)} ({top.method})"
        )
    return words


def figure(cells: Sequence[Cell], records: Sequence[Record]) -> Figure | None:
    """MFU and MBU as bars; None where no record has both."""
    from matplotlib import pyplot

    from vlmnb.plots import INK, STYLE

    found = by_cell(records)
    shown = [(label(cell, cells), rates(found[cell])) for cell in cells if cell in found]
    drawn = [
        (name, own.mfu, own.mbu, own.mfu_ends, own.mbu_ends)
        for name, own in shown
        if own.mfu is not None and own.mbu is not None
    ]
    if not drawn:
        return None
    with pyplot.rc_context(STYLE):
        sketch, place = pyplot.subplots(figsize=(9, 0.9 + 0.42 * len(drawn)))
        for i, (_, mfu, mbu, mfu_ends, mbu_ends) in enumerate(drawn):
            place.barh(i - 0.2, 100 * mfu, 0.36, color="#0173b2", label="MFU, prefill" if i == 0 else None)
            place.barh(i + 0.2, 100 * mbu, 0.36, color="#de8f05", label="MBU, decode" if i == 0 else None)
            for y, middle, ends in ((i - 0.2, mfu, mfu_ends), (i + 0.2, mbu, mbu_ends)):
                if ends:
                    reach = [[100 * max(middle - ends[0], 0.0)], [100 * max(ends[1] - middle, 0.0)]]
                    place.errorbar([100 * middle], [y], xerr=reach, fmt="none", ecolor=INK, capsize=2)
            for y, share in ((i - 0.2, mfu), (i + 0.2, mbu)):
                if 100 * share > WIDEST:  # one such bar would leave the others no room
                    place.text(WIDEST - 1, y, f"{100 * share:.3g} %", va="center", ha="right", color="white")
        place.axvline(100, color=INK, linestyle="--", linewidth=1)
        if place.get_xlim()[1] > WIDEST:
            place.set_xlim(0, WIDEST)
        place.set_yticks(range(len(drawn)), [name for name, *_ in drawn])
        place.invert_yaxis()
        place.set_xlabel("share of the measured ceiling, %")
        place.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        place.grid(axis="x")
        sketch.tight_layout()
    return sketch


def text(cells: Sequence[Cell], records: Sequence[Record]) -> str:
    """One sentence: the setting whose decoding comes nearest to the memory's ceiling."""
    found = by_cell(records)
    known = [(rates(found[cell]), cell) for cell in cells if cell in found]
    best, cell = max(known, key=lambda pair: pair[0].mbu or 0.0, default=(None, None))
    if best is None or cell is None or not best.mbu:
        return ""
    ends = f" ({100 * best.mbu_ends[0]:.2g} to {100 * best.mbu_ends[1]:.2g})" if best.mbu_ends else ""
    none = ", which is none, then" if best.mbu > 1 else ""
    busy = f" ({disturbance.MEANING})" if disturbance.of_batches(found[cell]) else ""
    share = f"{100 * best.mbu:.2g} %{ends} of it{none}{busy}"
    return f"Decoding comes nearest to the memory's ceiling with {label(cell, cells)}: {share}."


def points(cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """The points of the figure: one row per setting that is drawn."""
    found = by_cell(records)
    rows = []
    for cell in cells:
        own = rates(found[cell]) if cell in found else None
        if own and own.mfu is not None and own.mbu is not None:
            key = found[cell].key
            rows.append((Field(label(cell, cells)), _share(own.mfu, own.mfu_ends, key),
                         _share(own.mbu, own.mbu_ends, key),
                         Field(key, "file of the record", key, words=True)))  # fmt: skip
    heads = (ROW_TITLES["optimization"], "MFU", "MBU", "Record")
    return Table("What the figure shows, with 95 % intervals over batches", heads, tuple(rows))


def _si(value: float | None, unit: str, key: str, title: str) -> Field:
    if value is None:
        return Field("-", "not measured", key)
    return Field(stats.format_si(value, unit, 3), title, key)


def _rate(value: float | None, unit: str, ends: Ends, key: str) -> Field:
    if value is None or ends is None:
        return _si(value, unit, key, TOO_FEW)
    low, high = (stats.format_si(end, unit, 3) for end in ends)
    return Field(stats.format_si(value, unit, 3), "95 % interval over batches", key, span=f"[{low}, {high}]")


def _share(value: float | None, ends: Ends, key: str) -> Field:
    if value is None:
        return Field("-", "not measured", key)
    shown = f"{100 * value:.3g} %{beyond(value)}"
    if ends is None:
        return Field(shown, TOO_FEW, key)
    span = f"[{100 * ends[0]:.3g}, {100 * ends[1]:.3g}]"
    return Field(shown, "95 % interval over batches", key, span=span)


TOO_FEW = "too few batches for an interval"


def _first_call(record: Record) -> Field:
    if record.timing is None:
        return Field("-", "not measured", record.key)
    return Field(f"{record.timing.first_call_s:.3g}", "one call, without an interval", record.key)


def _compiled(record: Record) -> Field:
    made = record.compilation
    if made is None:
        return Field("no", key=record.key, words=True)
    title = f"{made.cache_hits} graphs found compiled, {made.cache_misses} compiled now"
    graphs, breaks = _counted(made.graphs, "graph"), _counted(made.graph_breaks, "break")
    return Field(f"{graphs}, {breaks}", title, record.key, words=True)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
