"""The table of times by phase. With answers of fixed length all rows of a batch do the same decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes, optimizations
from vlmnb.spec.cell import Cell
from vlmnb.stats import intervals
from vlmnb.views import fields, marks
from vlmnb.views.detail_table import verdict
from vlmnb.views.fields import Column, time
from vlmnb.views.marks import marked
from vlmnb.views.table import Field, Table, missing
from vlmnb.views.templates import say


def table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make a table with one row per cell: medians with 95 % intervals, throughput, energy, and the verdict.

    On the optimization axis it also shows times in percent of the original of the same batch size.
    """
    found = by_cell(records)
    compared, fixed = axes.AXES[axis].against_original, cells[0].length == "fixed"
    originals = {part[0].batch_size: found.get(part[0]) for part in optimizations.groups(cells)}

    def percent(times: Callable[[Record], Sequence[float]]) -> list[Column]:
        of = [("% of original", lambda r: fields.times_percent(r, originals[r.cell.batch_size], times))]
        return of if compared else []

    samples: Column = ("Samples per s", partial(_rate, lambda r: r.samples_per_s))
    output: Column = ("Output tokens per s", partial(_rate, lambda r: r.output_tokens_per_s))
    columns: list[Column] = [
        ("Latency per batch, s", fields.latency),
        *percent(lambda r: r.full_batches_s),
        ("Vision encoding, s", time(lambda r: r.phase("vision_s"))),
        ("Rest of prefill, s", time(lambda r: r.phase("prefill_s"))),
        ("Time to first token, s", time(lambda r: r.ttft_s)),
        ("Decode, s", time(lambda r: r.phase("decode_s"))),
        ("Time per output token, s", time(lambda r: r.tpot_s)),
        *percent(lambda r: r.full_tpot_s),
        ("Energy, J per output token", lambda r: fields.joules(r, r.energy_j_per_output_token)),
        *([] if compared else [samples]),
        *([] if compared and not fixed else [output]),
        ("Verdict", verdict),
    ]
    tokens = sorted({cell.max_new_tokens for cell in cells}) if fixed else ()
    caption = say("captions", "phases", tokens=tokens, compared=compared)
    return fields.cell_table(caption, axis, columns, cells, records)


def _rate(of: Callable[[Record], intervals.Summary | None], record: Record) -> Field:
    rate = of(record)
    if rate is None:
        return missing(record)
    if rate.confidence < intervals.ENOUGH:
        shown = Field(f"{rate.median:.3g}", f"n = {rate.n}: too few for an interval", record.key)
    else:
        title = "of a full batch, divided by its latency, 95 % interval"
        shown = fields.measured(rate.median, (rate.low, rate.high), title, record.key)
    return marked(shown, marks.of_latency(record))
