"""Tables with one row per cell: all details that the reports' columns leave out, and times by phase."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from vlmnb.analysis import matching, repeatability
from vlmnb.analysis.titles import dataset_title
from vlmnb.flops import flop_count
from vlmnb.quality import captions, metrics
from vlmnb.records.parts import Answer
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import axes, optimizations
from vlmnb.spec.cell import Cell
from vlmnb.stats import intervals
from vlmnb.stats.formatting import format_si
from vlmnb.views import fields, marks
from vlmnb.views.fields import COUNTED, ONE_READING, Column, Show, memory, time, value
from vlmnb.views.marks import marked
from vlmnb.views.table import Field, Table, missing
from vlmnb.views.templates import say


def detail_tables(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> list[Table]:
    """Make one table of the answers of natural length and one of those of fixed length."""
    lengths = dict.fromkeys(cell.length for cell in cells)
    return [
        detail_table(axis, [cell for cell in cells if cell.length == length], records) for length in lengths
    ]


def detail_table(axis: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Make a table with one row per cell of one answer length: intervals, tokens, memory, counters."""
    found = by_cell(records)
    groups = dict(GROUPS)
    if any(cell.dataset.startswith("scienceqa") for cell in cells):
        groups[SCORES] += OFFICIAL_ACCURACY
    if any(captions.is_captioning(cell.dataset) for cell in cells):
        groups[SCORES] += CAPTION_SCORES
    if cells[0].length == "fixed":  # such answers have no quality
        del groups[SCORES]
        groups[COMPARED] = tuple(column for column in groups[COMPARED] if column not in QUALITY)
    columns = [column for own in groups.values() for column in own]
    chance = guessing(found[cell] for cell in cells if cell in found)
    known = fields.confidence([found.get(cell) for cell in cells])
    caption = (
        f"Every cell of {cells[0].length} answer length, with {known}. {fields.WITHOUT}; tokens are medians"
    )
    caption += f". {chance}" if chance else ""
    made = fields.cell_table(caption, axis, columns, cells, records, datasets=True)
    named = [name for name, own in groups.items() for _ in own]
    return replace(made, groups=("",) * (len(made.columns) - len(named)) + tuple(named))


def phase_table(
    axis: str, cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = repeatability.ASSUMED
) -> Table:
    """Make a table of times by phase, one row per cell, with throughput, energy, and the verdict.

    With answers of fixed length all rows of a batch do the same decoding.

    On the optimization axis it also shows times in percent of the original of the same batch size.
    """
    found = by_cell(records)
    compared, fixed = axes.AXES[axis].against_original, cells[0].length == "fixed"
    originals = {part[0].batch_size: found.get(part[0]) for part in optimizations.groups(cells)}

    def percent(what: str, times: matching.Times) -> list[Column]:
        def show(record: Record) -> Field:
            return fields.times_percent(record, originals[record.cell.batch_size], times, noise_floor)

        return [(f"% of original {what}", show)] if compared else []

    samples: Column = ("Samples per s", time(lambda r: r.samples_per_s))
    output: Column = ("Output tokens per s", time(lambda r: r.output_tokens_per_s))
    columns: list[Column] = [
        ("Latency, s per batch", fields.latency),
        *percent("latency", matching.latencies),
        ("Preprocessing, s (% of both)", fields.preprocessing),
        ("Vision encoding, s", time(lambda r: r.phase("vision_s"))),
        ("Rest of prefill, s", time(lambda r: r.phase("prefill_s"))),
        ("Time to first token, s", time(lambda r: r.ttft_s)),
        ("Decode, s", time(lambda r: r.phase("decode_s"))),
        ("Time per output token, s", time(lambda r: r.tpot_s)),
        *percent("time per token", lambda r: r.each_tpot_s),
        ("Energy, J per output token", lambda r: fields.joules(r, r.energy_j_per_output_token)),
        *([] if compared else [samples]),
        *([] if compared and not fixed else [output]),
        ("Verdict", verdict),
    ]
    tokens = sorted({cell.max_new_tokens for cell in cells}) if fixed else ()
    caption = say(
        "captions",
        "phases",
        tokens=tokens,
        compared=compared,
        intervals=fields.of_times([found.get(cell) for cell in cells]),
    )
    return fields.cell_table(caption, axis, columns, cells, records)


def guessing(records: Iterable[Record]) -> str:
    """Return which accuracy a random choice would have, by data set."""
    return metrics.chance_sentence(
        (
            dataset_title(record.cell.dataset),
            metrics.chance_level([answer.choices for answer in record.answers]),
        )
        for record in records
        if record.accuracy is not None
    )


def background_load(record: Record) -> Field:
    """Show how much of the CPU other processes used during the times that are shown."""
    share, turns = marks.load_share(record), bool(record.timing and record.timing.turns)
    if share is None:
        return missing(record)
    shown = Field(f"{100 * share:.0f} %", "mean of the rounds" if turns else ONE_READING, record.key)
    return marked(
        shown, marks.of_latency(record) if turns else marks.of_load(record, record.window_under_load)
    )


def verdict(record: Record) -> Field:
    """Show whether the times of the batches are stable or noisy."""
    if not record.full_batches_s:
        return missing(record)
    said = intervals.verdict(record.full_batches_s)
    title = f"n = {len(record.full_batches_s)} batches"
    return marked(Field(said, title, record.key, words=True), marks.of_latency(record))


def tokens(of: Callable[[Answer], int], what: str = "") -> Show:
    """Return what shows the median of a count of tokens over the answers; the tooltip says of ``what``."""

    def show(record: Record) -> Field:
        counts = [of(answer) for answer in record.answers]
        if not counts:
            return missing(record)
        title = f"{what}median of {len(counts)} answers, {min(counts)} to {max(counts)}; {COUNTED}"
        return Field(f"{statistics.median(counts):g}", title, record.key)

    return show


image_tokens = tokens(lambda answer: answer.image_tokens, "of the prompt, marks and line ends included; ")


def accuracy(record: Record) -> Field:
    """Show the fraction of right answers; the tooltip has that of a random choice."""
    number, ends = record.accuracy, record.accuracy_interval
    if number is None or ends is None:
        return missing(record, record.quality_note)
    of = f"fraction of {sum(answer.score is not None for answer in record.answers)} answers"
    chance = metrics.chance_level([a.choices for a in record.answers])
    of += "" if chance is None else f" (a random choice would score {chance:.3f})"
    shown = fields.fraction(number, ends, of, record.key, "Wilson's, of a share")
    return marked(shown, marks.of_samples(record))


def _score(name: str, record: Record) -> Field:
    score = record.scores.get(name)
    if score is None:
        return missing(record)
    of, ends = f"{len(record.answers)} answers", (score.low, score.high)
    return marked(fields.fraction(score.value, ends, of, record.key), marks.of_samples(record))


cider: Show = partial(_score, "cider")
"""Shows the CIDEr score of captions."""


def _flops(name: str) -> Show:
    return value(lambda r: None if r.short else getattr(r.flops, name, None), format_si, COUNTED)


def _phase_flops(name: str, record: Record) -> Field:
    """Show the FLOPs of one phase of the prefill; the tooltip has those of each way of counting."""
    count = record.flops
    ways = {} if count is None else {
        "formula": count.prefill_formula, "torch": count.prefill_torch, "2 x fvcore": count.prefill_fvcore,
    }  # fmt: skip
    counts = {way: flop_count.phase(parts, name) for way, parts in ways.items() if parts is not None}
    if not counts or record.short:
        return missing(record)
    title = ", ".join(f"{way} {format_si(number)}" for way, number in counts.items())
    shown = counts.get("torch", next(iter(counts.values())))
    return Field(format_si(shown), f"{title}; {COUNTED}", record.key)


def _passes(record: Record) -> Field:
    clean = record.clean_passes
    if record.timing is None or clean is None:
        return missing(record)
    passes = record.timing.passes
    title = f"how often all batches were timed; {passes - clean} while other processes used the machine"
    shown = Field(str(passes) if passes == clean else f"{clean} of {passes} clean", title, record.key)
    return marked(shown, marks.of_turns(record))


COMPARED, SCORES = "What is compared", "Other scores"
QUALITY: tuple[Column, ...] = (("WER [95 %]", fields.wer), ("Accuracy [95 %]", accuracy))
GROUPS: dict[str, tuple[Column, ...]] = {
    COMPARED: (
        *QUALITY,
        ("Latency, s per batch", fields.latency),
        ("Energy, J per sample", fields.energy),
        ("FLOPs used", _flops("used")),
        ("Peak memory", memory("peak_bytes")),
        ("Verdict", verdict),
    ),
    SCORES: (("WER, normalized [95 %]", partial(_score, "wer_normalized")),),
    "Times": (
        ("Preprocessing, s", fields.preprocessing),
        ("Vision, s", time(lambda record: record.phase("vision_s"))),
        ("Prefill, s", time(lambda record: record.phase("prefill_s"))),
        ("Decode, s", time(lambda record: record.phase("decode_s"))),
    ),
    "FLOPs": (
        ("FLOPs, torch", _flops("torch")),
        ("FLOPs, 2 x fvcore", _flops("fvcore")),
        ("FLOPs, formula", _flops("formula")),
        *((f"Of these, {name}", partial(_phase_flops, name)) for name in flop_count.SHOWN),
        ("FLOPs per decoded token", _flops("per_token")),
    ),
    "Tokens": (
        ("Image tokens", image_tokens),
        ("Text tokens", tokens(lambda answer: answer.text_tokens)),
        ("Output tokens", tokens(lambda answer: answer.output_tokens)),
    ),
    "How it was measured": (
        ("n", value(lambda record: record.latency and record.latency.n)),
        ("Passes", _passes),
        (
            "Harness, %",
            value(
                lambda record: record.timing,
                lambda timing: f"{100 * timing.harness_share:.2f}",
                f"share of the measured loop outside the times of the batches; {ONE_READING}",
            ),
        ),
        ("Energy method", value(lambda record: record.headline_energy and record.headline_energy.method)),
        fields.ATTENTION,
        ("Background load", background_load),
    ),
}
"""Columns by the group that readers show or hide; a page begins with the first group."""

OFFICIAL_ACCURACY: tuple[Column, ...] = (("Accuracy, official [95 %]", partial(_score, "accuracy_official")),)
CAPTION_SCORES: tuple[Column, ...] = (
    ("CIDEr [95 %]", cider),
    ("BLEU-4 [95 %]", partial(_score, "bleu")),
)
"""Columns of data sets whose answers are captions of pictures."""
