"""The table of details: one row per cell with everything that the reports' columns leave out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from vlmnb.data import catalogue
from vlmnb.flops import flop_count
from vlmnb.quality import captions, chance_level
from vlmnb.records.answer import Answer
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import intervals
from vlmnb.stats.formatting import format_si
from vlmnb.views import fields, marks, optimization_text
from vlmnb.views.fields import COUNTED, ONE_READING, Column
from vlmnb.views.marks import marked
from vlmnb.views.table import Field, Table, missing


def detail_tables(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> list[Table]:
    """Make one table of the answers of natural length and one of those of fixed length."""
    lengths = dict.fromkeys(cell.length for cell in cells)
    return [
        detail_table(axis, [cell for cell in cells if cell.length == length], records) for length in lengths
    ]


def detail_table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make a table with one row per cell of one answer length: intervals, tokens, memory, counters."""
    found = by_cell(records)
    (length,) = {cell.length for cell in cells}
    columns = list(COLUMNS)
    if any(captions.is_captioning(cell.dataset) for cell in cells):
        columns[3:3] = CAPTION_SCORES
    if any(cell.dataset.startswith("scienceqa") for cell in cells):
        columns[3:3] = OFFICIAL_ACCURACY

    def label(cell: Cell) -> tuple[Field, ...]:
        title = catalogue.get(cell.dataset).title
        return Field(optimization_text.label(axis, cell, cells)), Field(title, words=True)

    known = [found[cell] for cell in cells if cell in found and found[cell].accuracy is not None]
    chance = chance_level.sentence(
        (catalogue.get(r.cell.dataset).title, chance_level.level([a.choices for a in r.answers]))
        for r in known
    )
    caption = (
        f"Every cell of {length} answer length, with 95 % intervals. {fields.WITHOUT}; tokens are medians"
    )
    caption += f". {chance}" if chance else ""
    heads = (axes.AXES[axis].row_title, "Data set")
    return fields.cell_table(caption, heads, label, columns, cells, records)


def background_load(record: Record) -> Field:
    """Show how much of the CPU other processes used during the window."""
    share = record.provenance.other_load
    if share is None:
        return missing(record)
    return marked(Field(f"{100 * share:.0f} %", ONE_READING, record.key), marks.of_energy(record))


def verdict(record: Record) -> Field:
    """Show whether the times of the batches are stable or noisy."""
    if not record.full_batches_s:
        return missing(record)
    said = intervals.verdict(record.full_batches_s)
    title = f"n = {len(record.full_batches_s)} batches"
    return marked(Field(said, title, record.key, words=True), marks.of_latency(record))


def _flops(name: str, record: Record) -> Field:
    """Show one count of FLOPs."""
    count = getattr(record.flops, name, None)
    return fields.plain(record, count and format_si(count), COUNTED)


def _phase_flops(name: str, record: Record) -> Field:
    """Show the FLOPs of one phase of the prefill; the tooltip has those of each way of counting."""
    count = record.flops
    ways = {} if count is None else {
        "formula": count.prefill_formula, "torch": count.prefill_torch, "2 x fvcore": count.prefill_fvcore,
    }  # fmt: skip
    counts = {way: flop_count.phase(parts, name) for way, parts in ways.items() if parts is not None}
    if not counts:
        return missing(record)
    title = ", ".join(f"{way} {format_si(value)}" for way, value in counts.items())
    shown = counts.get("torch", next(iter(counts.values())))
    return Field(format_si(shown), f"{title}; {COUNTED}", record.key)


def _peak_memory(record: Record) -> Field:
    peak = record.memory and record.memory.peak_bytes
    return fields.plain(record, peak and format_si(peak, "B"), ONE_READING)


def _tokens(of: Callable[[Answer], int], record: Record) -> Field:
    return fields.tokens(record, [of(answer) for answer in record.answers])


def _phase(name: Literal["vision_s", "prefill_s", "decode_s"], record: Record) -> Field:
    summary = record.phase(name)
    return missing(record) if summary is None else fields.seconds(summary, record.key)


def _passes(record: Record) -> Field:
    if record.timing is None:
        return missing(record)
    passes, clean = record.timing.passes, record.timing.clean_passes
    title = "how often all batches were timed"
    if passes == clean:
        return Field(str(passes), title, record.key)
    title += f"; {passes - clean} while other processes used the machine"
    return Field(f"{clean} of {passes} clean", title, record.key)


def _harness(record: Record) -> Field:
    if record.timing is None:
        return missing(record)
    title = f"share of the measured loop outside the times of the batches; {ONE_READING}"
    return Field(f"{100 * record.timing.harness_share:.2f}", title, record.key)


def accuracy(record: Record) -> Field:
    """Show the fraction of right answers; the tooltip has that of a random choice."""
    value, ends = record.accuracy, record.accuracy_interval
    if value is None or ends is None:
        return missing(record, record.quality_note)
    of = f"fraction of {sum(answer.score is not None for answer in record.answers)} answers"
    chance = chance_level.level([a.choices for a in record.answers])
    of += "" if chance is None else f" (a random choice would score {chance:.3f})"
    return fields.fraction(value, ends, of, record.key)


def _score(name: str, record: Record) -> Field:
    score = record.scores.get(name)
    if score is None:
        return missing(record)
    return fields.fraction(score.value, (score.low, score.high), f"{len(record.answers)} answers", record.key)


def cider(record: Record) -> Field:
    """Show the CIDEr score of captions."""
    return _score("cider", record)


COLUMNS: tuple[Column, ...] = (
    ("WER [95 %]", fields.wer),
    ("WER, normalized [95 %]", partial(_score, "wer_normalized")),
    ("Accuracy [95 %]", accuracy),
    ("Latency, s [95 %]", fields.latency),
    ("Vision, s [95 %]", partial(_phase, "vision_s")),
    ("Prefill, s [95 %]", partial(_phase, "prefill_s")),
    ("Decode, s [95 %]", partial(_phase, "decode_s")),
    ("n", lambda r: fields.plain(r, r.latency and r.latency.n)),
    ("Passes", _passes),
    ("Harness, %", _harness),
    ("Verdict", verdict),
    ("Energy, J per sample", fields.energy),
    ("Energy method", lambda r: fields.plain(r, r.headline_energy and r.headline_energy.method)),
    ("FLOPs, torch", partial(_flops, "torch")),
    ("FLOPs, 2 x fvcore", partial(_flops, "fvcore")),
    ("FLOPs, formula", partial(_flops, "formula")),
    *((f"Of these, {name}", partial(_phase_flops, name)) for name in flop_count.SHOWN),
    ("FLOPs used", partial(_flops, "used")),
    ("FLOPs per decoded token", partial(_flops, "per_token")),
    ("Peak memory", _peak_memory),
    ("Image tokens", partial(_tokens, lambda answer: answer.image_tokens)),
    ("Text tokens", partial(_tokens, lambda answer: answer.text_tokens)),
    ("Output tokens", partial(_tokens, lambda answer: answer.output_tokens)),
    fields.ATTENTION,
    ("Background load", background_load),
)
OFFICIAL_ACCURACY: tuple[Column, ...] = (("Accuracy, official [95 %]", partial(_score, "accuracy_official")),)
CAPTION_SCORES: tuple[Column, ...] = (
    ("CIDEr [95 %]", cider),
    ("BLEU-4 [95 %]", partial(_score, "bleu")),
)
"""Columns of data sets whose answers are captions of pictures."""
