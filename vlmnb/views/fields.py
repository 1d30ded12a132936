"""Numbers of a record as fields of a table: latency, energy, FLOPs, word error rate, percentages."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from vlmnb.analysis import matching, series
from vlmnb.analysis.titles import dataset_title
from vlmnb.meters.readings import EnergyReading, EnergyRefusal
from vlmnb.records.record import Record, by_cell
from vlmnb.records.reported import Quantity
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting, intervals
from vlmnb.stats.comparison import Difference
from vlmnb.views import marks
from vlmnb.views.marks import MODELLED, Mark, joined, marked
from vlmnb.views.table import Field, Table, declared, missing, without
from vlmnb.views.templates import clear_of

Read = Callable[[Record], Any]
Show = Callable[[Record], Field]
Column = tuple[str, Show]
"""Heading of a column, and what makes its field of a record."""

ONE_READING = "one reading of the whole window, without an interval"
COUNTED = "counted, without an interval"
"""Why a number has no interval."""

WITHOUT = "Energy and memory are one reading of the window, FLOPs are counted: these have no interval"
"""The same for a caption."""

NONE = "no intervals"
"""Of times that are all single ones."""

UNPRINTED = Field("")
"""Stands where a report's table has no such column; a column of nothing else is left out."""


def value(
    read: Read, write: Callable[[Any], str] = str, title: str = "", why: str = "", *, words: bool = False
) -> Show:
    """Return what shows something read of a record as text, and ``-`` with the reason ``why`` for nothing."""

    def show(record: Record) -> Field:
        found = read(record)
        return Field(write(found), title, record.key, words=words) if found else missing(record, why)

    return show


def time(read: Callable[[Record], intervals.Summary | None]) -> Show:
    """Return what shows the median of times, or of rates, with its interval and its mark."""

    def show(record: Record) -> Field:
        found = read(record)
        if found is None:
            return missing(record)
        return marked(seconds(found, record.key), marks.of_latency(record))

    return show


def memory(name: str, title: str = ONE_READING) -> Show:
    """Return what shows one of a record's amounts of memory; all but the weights are of a full batch."""

    def read(record: Record) -> int | None:
        return getattr(record.memory, name, None) if name == "weights_bytes" or not record.short else None

    return value(read, partial(formatting.format_si, unit="B"), title)


def _or_printed(quantity: Quantity, show: Show) -> Callable[[Record | None], Field]:
    """Show what a report prints, and a dash for a cell that was not measured."""

    def shown(record: Record | None) -> Field:
        if record is None:
            return missing(None)
        return printed(record, quantity) if record.reported else show(record)

    return shown


@partial(_or_printed, "latency_s")
def _latency(record: Record) -> Field:
    return time(lambda r: r.latency)(record)


def latency(record: Record | None) -> Field:
    """Show the median seconds per batch; readers can switch to time per image or images per second."""
    shown = _latency(record)
    if record is None or not record.latency_s:
        return shown
    others = (ms_per_image(record), images_per_s(record))
    return replace(shown, units=tuple((each.text, each.span) for each in others), amount=others[0].amount)


def ms_per_image(record: Record) -> Field:
    """Show the milliseconds per image: those of a batch shared among its images."""
    shown, of = _per_image(record, lambda batch_s: 1000 * batch_s / record.cell.batch_size), record.latency
    times = (of.median, of.low, of.high) if of else (record.latency_s,) if record.latency_s else ()
    hours = [f"{batch_s / record.cell.batch_size / 3.6:.6g}" for batch_s in times]
    return replace(shown, amount=" ".join(["hire", *hours]) if hours else "")


def images_per_s(record: Record) -> Field:
    """Show how many images a second are answered, batch after batch."""
    return _per_image(record, lambda batch_s: record.cell.batch_size / batch_s)


def _per_image(record: Record, converted: Callable[[float], float]) -> Field:
    """Show a number that follows from the seconds of a batch, with its interval."""
    if record.latency_s is None:
        return missing(record)
    if record.latency is None:
        title = "computed from the seconds per batch that the report prints"
        return Field(formatting.digits(converted(record.latency_s)), title, record.key)
    of = record.latency
    low, high = sorted((converted(of.low), converted(of.high)))
    summary = of.model_copy(update={"median": converted(of.median), "low": low, "high": high})
    return marked(seconds(summary, record.key), marks.of_latency(record))


def preprocessing(record: Record | None) -> Field:
    """Show the seconds of preparing a batch, and what share they are of preparing and latency together."""
    if record is not None and record.reported:
        return UNPRINTED
    window = matching.in_window(record) if record else None  # of turns: as an earlier measurement prepared it
    found, own = (window.preprocess_s, window.latency_s) if window else (None, None)
    if record is None or found is None or own is None:
        return missing(record)
    part = 100 * found.median / (found.median + own)
    shown = seconds(found, record.key)
    title = f"{shown.title}; {part:.3g} % of preprocessing and latency one after the other, in its own window"
    return replace(shown, text=f"{shown.text} ({part:.0f} %)", title=title)


@partial(_or_printed, "energy_j_per_sample")
def _energy(record: Record) -> Field:
    return joules(record, record.energy_j_per_sample)


def energy(record: Record | None) -> Field:
    """Show the joules per sample; readers can switch to watt-hours per 1,000 images."""
    shown = _energy(record)
    if record is None or record.energy_j_per_sample is None:
        return shown
    other = watt_hours(record)
    return replace(shown, units=((other.text, ""),) * 2, amount=other.amount)


def watt_hours(record: Record) -> Field:
    """Show the watt-hours per 1,000 images."""
    amount = record.energy_j_per_sample
    if amount is None:
        return joules(record, None)
    if record.reported:
        title = "computed from the joules per sample that the report prints"
        shown = Field(formatting.digits(amount / 3.6), title, record.key)
    else:
        shown = joules(record, amount / 3.6)
    return replace(shown, amount=f"tariff {amount / 3600:.6g}")


flops = _or_printed(
    "flops",
    value(
        lambda record: record.flops_per_batch,
        formatting.format_si,
        f"one forward pass over a batch of prompts, 2 per multiply-add; {COUNTED}",
    ),
)
"""Shows the FLOPs of a batch of prompts."""


@partial(_or_printed, "wer")
def wer(record: Record) -> Field:
    """Show the word error rate of all answers."""
    if record.wer is None or record.wer_interval is None:
        return missing(record, record.quality_note)
    counted = sum(answer.word_errors is not None for answer in record.answers)
    shown = fraction(record.wer, record.wer_interval, f"{counted} answers", record.key)
    return marked(shown, marks.of_samples(record))


def joules(record: Record, amount: float | None) -> Field:
    """Show joules of a record's energy reading."""
    reading = record.headline_energy
    if amount is None or reading is None:
        return missing(record, record.energy_reason)
    shown = f"{MODELLED if reading.method == 'model' else ''}{formatting.digits(amount)}"
    title = f"{reading.method}: {reading.detail}; {ONE_READING}"
    return marked(Field(shown, title, record.key), marks.of_energy(record))


def of_part(
    reading: EnergyReading | None, samples: int | None, refused: Sequence[EnergyRefusal], key: str
) -> Field:
    """Show the joules per sample of a part of a cell that has a reading of its own."""
    if reading is None or not samples:
        return without("; ".join(one.reason for one in refused) or "no reading", key)
    shown = f"{MODELLED if reading.method == 'model' else ''}{formatting.digits(reading.energy_j / samples)}"
    return Field(shown, f"{reading.method}, {ONE_READING}", key)


ATTENTION: Column = (
    "Attention kernel",
    value(lambda record: record.provenance.attention, title="as the model names it", words=True),
)
SHOW: dict[Quantity, Callable[[Record | None], Field]] = {
    "latency_s": latency, "energy_j_per_sample": energy, "flops": flops, "wer": wer
}  # fmt: skip
"""How a quantity of a record is shown."""


def label(axis: str, cell: Cell, cells: Sequence[Cell]) -> str:
    """Return a cell's name in a table: its value on the axis.

    On the optimization axis, where a table can have rows of two batch sizes, it names the batch size if that
    of the first row is another.
    """
    of = axes.AXES[axis]
    aside = of.against_original and cell.batch_size != cells[0].batch_size
    return f"{of.text(cell)}, batch {cell.batch_size}" if aside else of.text(cell)


def cell_table(
    caption: str, axis: str, columns: Sequence[Column], cells: Sequence[Cell], records: Sequence[Record], *,
    datasets: bool = False,
) -> Table:  # fmt: skip
    """Make a table with a row for each cell: its label and, if asked for, data set, then all columns."""
    found = by_cell(records)

    def of_cell(show: Show, cell: Cell) -> Field:
        return show(found[cell]) if cell in found else missing(None)

    titles = [("Data set", dataset)] if datasets else []
    labels = (axes.AXES[axis].row_title, lambda cell: Field(label(axis, cell, cells)))
    shown = [(head, partial(of_cell, show)) for head, show in columns]
    return declared(caption, [labels, *titles, *shown], cells)


def dataset(cell: Cell) -> Field:
    """Show the title of a cell's data set."""
    return Field(dataset_title(cell.dataset), words=True)


def seconds(summary: intervals.Summary, key: str, of: str = "batches") -> Field:
    """Show a median with its interval, in the digits that the interval supports.

    Of fewer than six samples the range is shown, with the coverage that it has; of one sample nothing.
    """
    title = f"median of n = {summary.n} {of}"
    ends = (summary.low, summary.high)
    if summary.confidence >= intervals.ENOUGH:
        return measured(summary.median, ends, f"{title}, 95 % interval", key)
    if summary.n == 1:
        return Field(formatting.digits(summary.median), f"{title}: a single one has no interval", key)
    covers = f"smallest to largest, which covers {100 * summary.confidence:.0f} %"
    # Their spread does not determine the digits.
    return spanned(summary.median, ends, formatting.digits, f"{title}, {covers}", key)


def of_times(records: Sequence[Record | None]) -> str:
    """Return which intervals the times of records have, for a caption: those of few batches cover less."""
    return covering(record.latency for record in records if record and record.latency)


def covering(found: Iterable[intervals.Summary]) -> str:
    """Return which confidence the intervals of medians have, for a caption."""
    covered = sorted({round(100 * each.confidence) for each in found if each.n > 1})
    return f"{formatting.reach(covered)} % intervals" if covered else NONE


def confidence(records: Sequence[Record | None]) -> str:
    """Return which intervals times and scores of records have, for a caption; those of scores have 95 %."""
    times, scores = of_times(records), "95 % intervals"
    timed = any(record and record.latency for record in records)
    if not timed or times == scores:
        return scores
    return f"{scores} (times: {'none' if times == NONE else times.removesuffix(' intervals')})"


def spanned(
    number: float, ends: Sequence[float], write: Callable[[float], str], title: str, key: str, unit: str = ""
) -> Field:
    """Show a number with its interval, both written in the same way, the unit beside the number alone."""
    return Field(f"{write(number)}{unit}", title, key, span=f"[{write(ends[0])}, {write(ends[1])}]")


def measured(number: float, ends: Sequence[float], title: str, key: str) -> Field:
    """Show a number with its interval, in the digits that the interval supports."""
    return spanned(number, ends, lambda n: formatting.significant(n, ends[0], ends[1]), title, key)


def fraction(
    number: float, ends: Sequence[float], of: str, key: str, method: str = "bootstrap over the answers"
) -> Field:
    """Show a fraction or a score over answers with its interval, with three decimals."""
    return spanned(number, ends, "{:.3f}".format, f"{of}, 95 % interval: {method}", key)


def share(number: float, ends: Sequence[float], title: str, key: str, unit: str = "") -> Field:
    """Show a fraction in percent with its interval, with one decimal."""
    return spanned(100 * number, [100 * end for end in ends], "{:.1f}".format, title, key, unit)


def record_key(record: Record) -> Field:
    """Show which record a row comes from."""
    return Field(record.key, "file of the record", record.key, words=True)


def percent(record: Record | None, original: Record | None, quantity: Quantity, noise_floor: float) -> Field:
    """Show a number in percent of the original's; ``-`` if one of them is missing.

    A report prints this column itself (``quantity``): its figure is shown and nothing is computed.
    """
    if record is not None and record.reported:
        return printed(record, quantity)
    if quantity == "latency_percent":
        return times_percent(record, original, matching.latencies, noise_floor)
    what, name, mark = COUNTED, "flops_per_batch", Mark()
    if record and original and quantity == "energy_percent":
        what, name = ONE_READING, "energy_j_per_sample"
        mark = joined(marks.of_energy(record), marks.of_energy(original))
    mine, base = (getattr(each, name, None) for each in (record, original))
    if record is None or original is None or mine is None or not base:
        return missing(record)
    shown = f"{100 * mine / base:.1f}"
    if name == "energy_j_per_sample" and "model" in (record.energy_method, original.energy_method):
        shown, mark = f"{MODELLED}{shown}", Mark(mark.sign, f"; modelled, not measured{mark.why}")
    title = "the original itself" if record is original else f"of the original; each number is {what}"
    return marked(Field(shown, title, record.key), mark)


def times_percent(
    record: Record | None, original: Record | None, times: matching.Times, noise_floor: float
) -> Field:
    """Show a time of batches in percent of the original's, with the interval that decides: see ``series``.

    ``times``: returns the seconds of every timed batch.
    """
    both = matching.matched(original, record)[:2] if record and original else ()
    timed = [one.of_full_batches(own) if (own := times(one)) else () for one in both]
    if record is None or original is None or not all(timed):
        return missing(record)
    if record is original:
        return marked(Field("100.0", "the original itself", record.key), marks.of_latency(record))
    mark = marks.of_ratio(original, record)
    found = series.compared(original, record, times, noise_floor)
    if found is None:
        ratio = statistics.median(timed[1]) / statistics.median(timed[0])
        return marked(Field(f"{100 * ratio:.1f}", "too few batches for an interval", record.key), mark)
    how = f"{', batch by batch' * found.paired}, {rule(original, record)}"
    title = f"ratio of the medians; the interval{how}, decides whether there is a difference"
    each = [of_ratio(one) for one in series.each_turn(original, record, times, noise_floor)]
    if len(each) > 1:
        gave = "; ".join(f"{one.text} {one.span}" for one in each)
        title += f"; timed in turns {len(each)} times ({gave}), and it reaches over all"
    return marked(of_ratio(found, title, record.key), mark)


def of_ratio(found: Difference, title: str = "", key: str = "") -> Field:
    """Show a ratio in percent with its interval, in digits that show on which side of 100 % it lies."""
    ratio, *ends = (100 * end for end in (found.ratio, found.low, found.high))
    return spanned(ratio, ends, lambda n: clear_of(n, 100, 1), title, key)


def rule(one: Record, other: Record) -> str:
    """Return what an interval of a ratio of two times is taken from."""
    return "of pairs timed in turns" if matching.in_turns(one, other) else "with the noise floor"


def printed(record: Record, quantity: Quantity) -> Field:
    """Show what a report prints, and where; nothing is rounded, and no interval is added."""
    figure = record.reported.figure(quantity) if record.reported else None
    if figure is None:
        return UNPRINTED if record.status == "ok" else missing(record)
    if figure.value is None:
        return without(f"{missing(record).title}; {figure.place}", record.key)
    return Field(figure.printed, f"as printed: {figure.place}", record.key)
