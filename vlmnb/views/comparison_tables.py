"""Tables of the models at their base configuration: cost, quality, and the few columns of the first page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

from vlmnb import paths
from vlmnb.analysis import pareto
from vlmnb.analysis.base_configuration import (
    BASE_BATCH_SIZE,
    BaseResult,
    dataset_names,
    of_reports,
    scored,
)
from vlmnb.analysis.pareto import Compared
from vlmnb.analysis.titles import dataset_title
from vlmnb.quality import captions
from vlmnb.records.record import Record
from vlmnb.records.reported import Disputed, Quantity
from vlmnb.stats.formatting import format_si
from vlmnb.views import detail_table, fields, marks
from vlmnb.views.fields import UNPRINTED, Show, value
from vlmnb.views.table import MISSING, Field, Table, declared, missing, without
from vlmnb.views.templates import clear_of, say

Column = tuple[str, str, Show]
"""Heading, data set (empty: the one that speed is read from), and what makes the field of a record."""

LATENCY, ACTIVATIONS, PEAK = "Latency, s per batch", "Activations", "Measured peak"
WHOLE_PROCESS = "known for a GPU only: on a CPU the peak is that of the process with all its libraries"
MEMORY: tuple[Column, ...] = (
    ("Weights", "", fields.memory("weights_bytes", "as stored in memory; counted")),
    (
        "Keys and values",
        "",
        fields.memory("cache_bytes", "of the largest batch at its last token; by formula"),
    ),
    (
        ACTIVATIONS,
        "",
        value(
            lambda record: record.memory and record.cell.device == "cuda" and record.memory.activations_bytes,
            partial(format_si, unit="B", digits=3),
            "the measured peak without weights, keys and values",
            WHOLE_PROCESS,
        ),
    ),
    (
        PEAK,
        "",
        value(
            lambda record: record.memory and record.cell.device == "cuda" and record.memory.peak_bytes,
            partial(format_si, unit="B"),
            "of the GPU's allocator; one reading",
            WHOLE_PROCESS,
        ),
    ),
)
HELD: Column = (
    "Weights + cache",
    "",
    value(
        lambda record: record.memory and record.memory.held_bytes,
        partial(format_si, unit="B", digits=3),
        "weights as stored, keys and values of the largest batch",
    ),
)
QUANTITIES: dict[str, Quantity] = {
    LATENCY: "latency_s",
    "Energy, J per sample": "energy_j_per_sample",
    "FLOPs per batch": "flops",
    "WER": "wer",
}
"""The quantity of a column that the audit may dispute, by its heading."""

SPEED: tuple[Column, ...] = (
    (LATENCY, "", fields.latency),
    ("Energy, J per sample", "", fields.energy),
)


def cost_table(results: Sequence[BaseResult], disputed: Disputed = ()) -> Table:
    """Make a table of latency, energy, FLOPs and memory; disputed figures are marked."""
    columns: tuple[Column, ...] = (
        *SPEED,
        ("FLOPs per batch", "", fields.flops),
        *MEMORY,
        ("Image tokens", "", detail_table.image_tokens),
        ("Answer tokens", "", detail_table.tokens(lambda answer: answer.output_tokens)),
    )
    answered = [len(each.speed.answers) for each in results if each.speed.answers]
    return _table(_cost_caption(results, answered, flops=True), results, columns, disputed)


def quality_table(results: Sequence[BaseResult], disputed: Disputed = ()) -> Table:
    """Make a table of word error rate, accuracy and CIDEr, with a row for each data set and model.

    Disputed figures are marked.
    """
    names = dataset_names(results)
    rows = [(each, each.records[name]) for name in names for each in results if name in each.records]
    scores: list[tuple[str, Show]] = [("WER", fields.wer)]
    if any(scored(results, name) for name in names):
        scores.append(("Accuracy", detail_table.accuracy))
    if any(map(captions.is_captioning, names)):
        scores.append(("CIDEr", _cider))
    sizes = [record.cell.samples for _, record in rows]
    caption = say("pareto", "quality", reported=of_reports(results), samples=sizes, chance=chance(results))

    def scored_field(head: str, show: Show, row: tuple[BaseResult, Record]) -> Field:
        return _printed(show(row[1]), head, row[1], disputed)

    columns: list[tuple[str, Callable[[tuple[BaseResult, Record]], Field]]] = [
        ("Data set", lambda row: fields.dataset(row[1].cell)),
        *([("Model", lambda row: _model(row[0]))] if len(results) > 1 else []),
        *((head, partial(scored_field, head, show)) for head, show in scores),
    ]
    known = [
        each for each in columns if each[0] == "WER" or any(each[1](row).text != MISSING for row in rows)
    ]
    return declared(caption, known, rows)


def headline_table(results: Sequence[BaseResult]) -> Table:
    """Make a table of the few columns that answer the question of the first page."""
    columns: list[Column] = [*SPEED, HELD]
    for name in dataset_names(results):
        # A data set is judged by its accuracy if it has scores, else by the word error rate.
        error, show = ("accuracy", detail_table.accuracy) if scored(results, name) else ("WER", fields.wer)
        columns.append((f"{dataset_title(name)}, {error}", name, show))
    return _table(f"{_cost_caption(results)} {chance(results)}".rstrip(), results, columns)


def points_table(results: Sequence[BaseResult], disputed: Disputed = ()) -> Table:
    """Make the table of the figure: every point with intervals and its record, disputed ones marked."""
    plotted = [
        (each.model.title, record)
        for name in dataset_names(results)
        for each in results
        if (record := each.plotted(name)) is not None
    ]
    columns: list[tuple[str, Callable[[tuple[str, Record]], Field]]] = [
        ("Model", lambda pair: Field(pair[0], words=True)),
        ("Data set", lambda pair: fields.dataset(pair[1].cell)),
        (LATENCY, lambda pair: _printed(fields.latency(pair[1]), LATENCY, pair[1], disputed)),
        ("Quality", lambda pair: _quality(pair[1], disputed)),
        ("Which", lambda pair: Field("WER" if _by_wer(pair[1]) else "accuracy", words=True)),
        ("Record", lambda pair: fields.record_key(pair[1])),
    ]
    busy = any(r.batches_under_load for each in results for r in each.records.values())
    caption = say("pareto", "points", reported=of_reports(results), chance=chance(results), disturbed=busy,
                  intervals=fields.confidence([record for _, record in plotted]))  # fmt: skip
    return declared(caption, columns, plotted)


def pairs_table(results: Sequence[BaseResult], noise_floor: float) -> Table:
    """Make a table of each two models on a data set: how their latencies compare, and what follows."""
    pairs = [
        (name, pareto.compared(one, other, noise_floor))
        for name, listed in pareto.panels(results).items()
        for one, other in combinations(sorted(listed, key=lambda point: point.x), 2)
    ]
    columns: list[tuple[str, Callable[[tuple[str, Compared]], Field]]] = [
        ("Data set", lambda pair: fields.dataset(pair[1].fast.record.cell)),
        ("Slower", lambda pair: Field(pair[1].slow.title, words=True)),
        ("Faster", lambda pair: Field(pair[1].fast.title, words=True)),
        ("Slower over faster", lambda pair: _ratio(pair[1])),
        ("Outcome", lambda pair: Field(say("pareto", "outcome", change=pair[1].change), words=True)),
    ]
    return declared(say("pareto", "pairs_of_models"), columns, pairs)


def _ratio(pair: Compared) -> Field:
    found, key = pair.change.difference, pair.slow.record.key
    if found is None:
        return Field(f"{pair.change.ratio:.2f}", "too few batches for an interval", key)
    title = f"ratio of the medians, {fields.rule(pair.fast.record, pair.slow.record)}"
    return fields.spanned(found.ratio, (found.low, found.high), lambda n: clear_of(n, 1, 2), title, key)


def chance(results: Sequence[BaseResult]) -> str:
    """Return which accuracy a random choice would have, by data set."""
    return detail_table.guessing(record for each in results for record in each.records.values())


def _table(
    caption: str, results: Sequence[BaseResult], columns: Sequence[Column], disputed: Disputed = ()
) -> Table:

    def shown(head: str, name: str, show: Show, each: BaseResult) -> Field:
        record = each.records.get(name) if name else each.speed
        return _printed(show(record), head, record, disputed) if record else missing(None)

    numbers = [(column[0], partial(shown, *column)) for column in columns]
    # A report prints few of these, and a CPU's peak is that of Python and its libraries.
    known = [
        column for column in numbers
        if not (of_reports(results) or column[0] in (ACTIVATIONS, PEAK))
        or any(column[1](each).text != MISSING for each in results)
    ]  # fmt: skip
    return declared(caption, [("Model", _model), *known], results)


def _model(each: BaseResult) -> Field:
    return Field(each.model.title, words=True, href=f"{paths.model_folder(each.model.name)}.html")


def _printed(field: Field, head: str, record: Record, disputed: Disputed) -> Field:
    """Return the field of a column, marked if it is a disputed figure of a report."""
    if field == UNPRINTED:
        return without("the report prints no such figure")
    return marks.if_disputed(field, (record.key, QUANTITIES.get(head)), disputed)


def _cider(record: Record) -> Field:
    if captions.is_captioning(record.cell.dataset):
        return detail_table.cider(record)
    return without("the answers are no captions", record.key)


def _quality(record: Record, disputed: Disputed) -> Field:
    if _by_wer(record):
        return _printed(fields.wer(record), "WER", record, disputed)
    return detail_table.accuracy(record)


def _by_wer(record: Record) -> bool:
    return record.accuracy is None


def _cost_caption(results: Sequence[BaseResult], answers: Sequence[int] = (), flops: bool = False) -> str:
    shown = [each.speed for each in results]
    summaries = [record.latency for record in shown if record.latency]
    names = {record.cell.dataset for record in shown}
    return say(
        "pareto", "cost", size=BASE_BATCH_SIZE, reported=of_reports(results), answers=answers, flops=flops,
        dataset=dataset_title(names.pop()) if len(names) == 1 else "",
        covers=fields.of_times(shown),
        batches=[summary.n for summary in summaries],
        modelled=any(record.energy_method == "model" for record in shown),
        disturbed=any(record.window_under_load for record in shown),
        process=flops and any(record.memory and record.cell.device != "cuda" for record in shown),
    )  # fmt: skip
