"""The table of details: one row per cell with everything beside the reports' columns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from vlmnb.data import catalogue
from vlmnb.flops import flop_count
from vlmnb.quality import captions, chance_level
from vlmnb.records import background_load
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting, intervals
from vlmnb.views import optimization_text
from vlmnb.views.axis_table import (
    COUNTED,
    ONE_READING,
    WITHOUT,
    Field,
    Show,
    Table,
    absent,
    energy,
    latency,
    seconds,
    wer,
)


def detail_tables(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> list[Table]:
    """The tables of details: one of answers of natural, one of fixed length, never both in one."""
    lengths = dict.fromkeys(cell.length for cell in cells)
    return [
        detail_table(axis, [cell for cell in cells if cell.length == length], records) for length in lengths
    ]


def detail_table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """One row per cell with everything beside the reports' columns: intervals, tokens, memory, counters.

    Args:
        axis: What varies.
        cells: Of one answer length.
        records: Their records.
    """
    found = by_cell(records)
    (length,) = {cell.length for cell in cells}
    shown: list[tuple[str, Show]] = [
        ("WER [95 %]", wer),
        ("WER, normalized [95 %]", lambda r: _score(r, "wer_normalized")),
        ("Accuracy [95 %]", _accuracy),
        ("Latency, s [95 %]", latency),
        ("Vision, s [95 %]", lambda r: _seconds(r, r.phase("vision_s"))),
        ("Prefill, s [95 %]", lambda r: _seconds(r, r.phase("prefill_s"))),
        ("Decode, s [95 %]", lambda r: _seconds(r, r.phase("decode_s"))),
        ("n", lambda r: _plain(r, r.latency and str(r.latency.n))),
        ("Passes", _passes),
        ("Harness, %", _harness),
        ("Verdict", _verdict),
        ("Energy, J per sample", energy),
        ("Energy method", lambda r: _plain(r, r.headline_energy and r.headline_energy.method)),
        ("FLOPs, torch", lambda r: _plain(r, r.flops and _amount(r.flops.torch), COUNTED)),
        ("FLOPs, 2 x fvcore", lambda r: _plain(r, r.flops and _amount(r.flops.fvcore), COUNTED)),
        ("FLOPs, formula", lambda r: _plain(r, r.flops and _amount(r.flops.formula), COUNTED)),
        *((f"Of these, {name}", partial(_phase_flops, name)) for name in flop_count.SHOWN),
        ("FLOPs used", lambda r: _plain(r, r.flops and _amount(r.flops.used), COUNTED)),
        ("FLOPs per decoded token", lambda r: _plain(r, r.flops and _amount(r.flops.per_token), COUNTED)),
        ("Peak memory", lambda r: _plain(r, r.memory and _amount(r.memory.peak_bytes, "B"), ONE_READING)),
        ("Image tokens", lambda r: _tokens(r, [a.image_tokens for a in r.answers])),
        ("Text tokens", lambda r: _tokens(r, [a.text_tokens for a in r.answers])),
        ("Output tokens", lambda r: _tokens(r, [a.output_tokens for a in r.answers])),
        ("Attention kernel", lambda r: _words(r, r.provenance.attention, "as the model names it")),
        ("Load by others", load_by_others),
    ]
    if any(captions.is_captioning(cell.dataset) for cell in cells):
        shown[3:3] = [("CIDEr [95 %]", lambda r: _score(r, "cider")),
                      ("BLEU-4 [95 %]", lambda r: _score(r, "bleu"))]  # fmt: skip
    rows = []
    for cell in cells:
        record = found.get(cell)
        first = (
            Field(optimization_text.label(axis, cell, cells)),
            Field(catalogue.get(cell.dataset).title, words=True),
        )
        rows.append((*first, *(show(record) if record else Field("-", "not measured") for _, show in shown)))
    heads = (axes.AXES[axis].row_title, "Data set", *(head for head, _ in shown))
    known = [found[cell] for cell in cells if cell in found and found[cell].accuracy is not None]
    chance = chance_level.sentence(
        (catalogue.get(r.cell.dataset).title, chance_level.level([a.choices for a in r.answers]))
        for r in known
    )
    caption = f"Every cell of {length} answer length, with 95 % intervals. {WITHOUT}; tokens are medians"
    return Table(f"{caption}{'. ' * bool(chance)}{chance}", heads, tuple(rows))


def _plain(record: Record, text: Any, title: str = "") -> Field:
    return Field(str(text), title, record.key) if text else absent(record)


def _words(record: Record, text: str, title: str) -> Field:
    return Field(text, title, record.key, words=True) if text else absent(record)


def _tokens(record: Record, counts: Sequence[int]) -> Field:
    title = f"median of {len(counts)} answers, {min(counts)} to {max(counts)}; {COUNTED}" if counts else ""
    return _plain(record, _median(counts), title)


def _seconds(record: Record, summary: intervals.Summary | None) -> Field:
    return absent(record) if summary is None else seconds(summary, record.key)


def _passes(record: Record) -> Field:
    if record.timing is None:
        return absent(record)
    timing = record.timing
    disturbed = timing.passes - timing.clean_passes
    title = "how often all batches were timed"
    title += f"; {disturbed} while others used the machine" if disturbed else ""
    return Field(
        f"{timing.clean_passes} of {timing.passes} clean" if disturbed else str(timing.passes),
        title,
        record.key,
    )


def _verdict(record: Record) -> Field:
    if not record.full_batches_s:
        return absent(record)
    mark, why = background_load.latency_mark(record)
    said = intervals.verdict(record.full_batches_s)
    return Field(f"{said}{mark}", why.removeprefix("; "), record.key, words=True)


def load_by_others(record: Record) -> Field:
    """Share of the machine's cores that others used during the window, marked where that disturbed it."""
    share = record.provenance.other_load
    if share is None:
        return absent(record)
    mark, why = background_load.energy_mark(record)
    return Field(f"{100 * share:.0f} %{mark}", f"{ONE_READING}{why}", record.key)


def _harness(record: Record) -> Field:
    share = record.timing.harness_share if record.timing else None
    if share is None:
        return absent(record)
    title = f"share of the measured loop outside every batch's time; {ONE_READING}"
    return Field(f"{100 * share:.2f}", title, record.key)


def _phase_flops(name: str, record: Record) -> Field:
    """FLOPs of one phase of the prefill, with what each way of counting says."""
    count = record.flops
    ways = {} if count is None else {
        "formula": count.prefill_formula, "torch": count.prefill_torch, "2 x fvcore": count.prefill_fvcore,
    }  # fmt: skip
    told = {way: flop_count.phase(parts, name) for way, parts in ways.items() if parts is not None}
    if not told:
        return absent(record)
    title = ", ".join(f"{way} {formatting.format_si(value)}" for way, value in told.items()) + f"; {COUNTED}"
    shown = told.get("torch", next(iter(told.values())))
    return Field(formatting.format_si(shown), title, record.key)


def _accuracy(record: Record) -> Field:
    value, span = record.accuracy, record.accuracy_interval
    if value is None or span is None:
        return absent(record)
    title = f"fraction of {len(record.answers)} answers, 95 % interval over them"
    chance = chance_level.level([a.choices for a in record.answers])
    title += "" if chance is None else f"; a random choice would score {chance:.3f}"
    return Field(f"{value:.3f}", title, record.key, span=f"[{span[0]:.3f}, {span[1]:.3f}]")


def _score(record: Record, name: str) -> Field:
    score = record.scores.get(name)
    if score is None:
        return absent(record)
    title = f"{len(record.answers)} answers, 95 % interval over them"
    return Field(f"{score.value:.3f}", title, record.key, span=f"[{score.low:.3f}, {score.high:.3f}]")


def _amount(count: int | None, unit: str = "") -> str | None:
    return formatting.format_si(count, unit) if count else None


def _median(values: Sequence[int]) -> str | None:
    return f"{intervals.median_interval(values).median:g}" if values else None
