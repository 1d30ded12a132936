"""Tables of the models at their base configuration: cost, quality, and the few columns of the first page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vlmnb import paths
from vlmnb.analysis.base_configuration import (
    BASE_BATCH_SIZE,
    BaseResult,
    dataset_names,
    dataset_title,
    of_reports,
    scored,
)
from vlmnb.quality import captions, chance_level
from vlmnb.records.record import Record
from vlmnb.stats.formatting import format_si
from vlmnb.views import detail_table, fields
from vlmnb.views.fields import ONE_READING, UNPRINTED
from vlmnb.views.table import MISSING, Field, Row, Table, missing, without
from vlmnb.views.templates import say

Column = tuple[str, str, Callable[[Record], Field]]
"""Heading, data set (empty: the one that speed is read from), and what makes the field of a record."""

SPEED: tuple[Column, ...] = (
    ("Latency, s per batch", "", fields.latency),
    ("Energy, J per sample", "", fields.energy),
)
PROCESS_MEMORY = (
    "known for a GPU only: on a CPU the process keeps what it once took, so the difference is too small"
)
"""Why a peak has no difference to its baseline."""


def cost_table(results: Sequence[BaseResult], folder: str = "") -> Table:
    """Make a table of latency, energy, FLOPs and memory; ``folder``: where the chapters are."""
    columns: tuple[Column, ...] = (
        *SPEED,
        ("FLOPs per batch", "", _flops),
        ("Peak memory", "", _peak),
        ("Above baseline", "", _over_model),
        ("Image tokens", "", lambda record: fields.tokens(record, [a.image_tokens for a in record.answers])),
        (
            "Answer tokens",
            "",
            lambda record: fields.tokens(record, [a.output_tokens for a in record.answers]),
        ),
    )
    answered = [len(each.speed.answers) for each in results if each.speed.answers]
    return _table(_cost_caption(results, answered), results, columns, folder)


def quality_table(results: Sequence[BaseResult], folder: str = "") -> Table:
    """Make a table of word error rate, accuracy and CIDEr of each model on each data set."""
    columns: list[Column] = []
    for name in dataset_names(results):
        title = dataset_title(name)
        columns.append((f"{title}, WER", name, fields.wer))
        if scored(results, name):
            columns.append((f"{title}, accuracy", name, detail_table.accuracy))
        if captions.is_captioning(name):
            columns.append((f"{title}, CIDEr", name, detail_table.cider))
    sizes = [record.cell.samples for each in results for record in each.records.values()]
    caption = say("pareto", "quality", reported=of_reports(results), samples=sizes, chance=chance(results))
    return _table(caption, results, columns, folder)


def headline_table(results: Sequence[BaseResult], folder: str = "") -> Table:
    """Make a table of the few columns that answer the question of the first page."""
    columns: list[Column] = [*SPEED, ("Peak memory", "", _peak)]
    for name in dataset_names(results):
        # A data set is judged by its accuracy if it has scores, else by the word error rate.
        error, show = ("accuracy", detail_table.accuracy) if scored(results, name) else ("WER", fields.wer)
        columns.append((f"{dataset_title(name)}, {error}", name, show))
    caption = f"{_cost_caption(results)} {chance(results)}".rstrip()
    return _table(caption, results, columns, folder)


def points_table(results: Sequence[BaseResult], folder: str = "") -> Table:
    """Make the table of the figure: every point with its intervals and its record."""
    rows: list[Row] = []
    for name in dataset_names(results):
        for each in results:
            record = each.plotted(name)
            if record is None:
                continue
            scores = record.accuracy is not None
            quality = detail_table.accuracy(record) if scores else fields.wer(record)
            rows.append(
                (
                    Field(each.model.title, words=True),
                    Field(dataset_title(name), words=True),
                    _linked(fields.latency(record), record, folder),
                    _linked(quality, record, folder),
                    Field("accuracy" if scores else "WER", words=True),
                    _linked(fields.record_key(record), record, folder),
                )
            )
    busy = any(r.batches_under_load for each in results for r in each.records.values())
    caption = say("pareto", "points", reported=of_reports(results), chance=chance(results), disturbed=busy)
    heads = ("Model", "Data set", "Latency, s per batch", "Quality", "Which", "Record")
    return Table(caption, heads, tuple(rows))


def chance(results: Sequence[BaseResult]) -> str:
    """Return which accuracy a random choice would have, by data set."""
    return chance_level.sentence(
        (dataset_title(name), chance_level.level([answer.choices for answer in record.answers]))
        for each in results
        for name, record in each.records.items()
        if record.accuracy is not None
    )


def model_link(result: BaseResult, folder: str) -> Field:
    """Return a model's name with a link to its chapter, which lies in ``folder`` as seen from the page."""
    return Field(result.model.title, words=True, href=f"{folder}{result.model.name}.html")


def _table(caption: str, results: Sequence[BaseResult], columns: Sequence[Column], folder: str) -> Table:
    """Make a table with a row for each model, whose numbers link to the files of their records."""
    rows: list[Row] = []
    for each in results:
        row = [model_link(each, folder)]
        for _, name, show in columns:
            record = each.records.get(name) if name else each.speed
            row.append(_linked(show(record), record, folder) if record else missing(None))
        rows.append(tuple(row))
    return Table(caption, ("Model", *(head for head, _, _ in columns)), tuple(rows))


def _linked(field: Field, record: Record, folder: str) -> Field:
    """Link a number to the file of its record; ``folder`` as for :func:`model_link`."""
    if field == UNPRINTED:
        return without("the report prints no such figure", record.key)
    if field.text == MISSING:
        return field
    root = Path("..") if folder else Path("../..")
    file = paths.record(root / "downloads" / "records", record.hardware, record.cell.model, record.key)
    return replace(field, href=file.as_posix())


def _flops(record: Record) -> Field:
    shown, count = fields.flops(record), record.flops_per_batch
    if record.reported or not count:
        return shown
    return replace(shown, text=format_si(count, "FLOP"), sort=count)


def _peak(record: Record) -> Field:
    return _memory(record, record.memory.peak_bytes if record.memory else None, "has no such figure")


def _over_model(record: Record) -> Field:
    """Show the peak less what was held before; not for a process, whose memory does not shrink."""
    memory = record.memory
    over = memory.over_model_bytes if memory and memory.reserved_peak_bytes else None
    return _memory(record, over, PROCESS_MEMORY if memory else "has no such figure", digits=3)


def _memory(record: Record, size: int | None, why: str, digits: int = 4) -> Field:
    if size is None:
        return missing(record, why)
    return Field(format_si(size, "B", digits), ONE_READING, record.key, sort=size)


def _cost_caption(results: Sequence[BaseResult], answers: Sequence[int] = ()) -> str:
    shown = [each.speed for each in results]
    summaries = [record.latency for record in shown if record.latency]
    names = {record.cell.dataset for record in shown}
    return say(
        "pareto", "cost", size=BASE_BATCH_SIZE, reported=of_reports(results), answers=answers,
        dataset=dataset_title(names.pop()) if len(names) == 1 else "",
        covers=min((summary.confidence for summary in summaries), default=0.0),
        batches=[summary.n for summary in summaries],
        modelled=any(record.energy_method == "model" for record in shown),
        disturbed=any(record.window_under_load for record in shown),
    )  # fmt: skip
