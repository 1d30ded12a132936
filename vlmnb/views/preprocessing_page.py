"""The page on preprocessing: what each step takes, by backend and threads, and when the model waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlmnb.analysis import preparation
from vlmnb.meters.readings import headline
from vlmnb.records.parts import STEPS, Prepared
from vlmnb.records.record import Record
from vlmnb.stats import intervals
from vlmnb.stats.formatting import digits
from vlmnb.views import fields, figure_style, marks
from vlmnb.views.marks import marked
from vlmnb.views.table import MISSING, Field, Row, Table, missing, without
from vlmnb.views.templates import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADS = (
    "Batch size", "Pixels by", "Threads", "Preprocessing, s per batch", "Model, s per batch", "% of both",
    "Model waits", "Energy, J per sample", *(f"{step.capitalize()}, ms" for step in STEPS),
)  # fmt: skip
MODEL = "model"
TITLES = {"pil": "PIL", "torchvision": "torchvision", "cached": "kept pixels"}


def table(records: Sequence[Record], noise_floor: float) -> Table:
    """Make a table with a row for each batch size, backend and number of threads."""
    rows: list[Row] = []
    for record in records:
        size = Field(str(record.cell.batch_size))
        if record.preprocessing is None:
            rows.append((size, *[missing(record)] * (len(HEADS) - 1)))
            continue
        for way in record.preprocessing.ways:
            names = size, Field(TITLES[way.backend], way.processor, words=True), Field(str(way.threads))
            numbers = (
                _numbers(record, way, noise_floor) if way.round_s else [without(way.reason, record.key)] * 10
            )
            rows.append((*names, *numbers))
    return Table(say("preprocessing", "table", intervals=intervals_of(records)), HEADS, tuple(rows))


def figure(records: Sequence[Record]) -> Figure:
    """Draw the seconds per sample of the model and of each way, by batch size."""
    from matplotlib import pyplot

    with figure_style.themed():
        drawing, panel = pyplot.subplots(figsize=(6.5, 4), layout="constrained")
        drawn = _series(records)
        counts = [label.partition(", ")[2] for label in drawn]
        for label, found in drawn.items():
            backend, _, threads = label.partition(", ")
            color = figure_style.look(backend, (MODEL, *TITLES.values())).color
            marker = figure_style.look(threads, dict.fromkeys(counts)).marker
            panel.errorbar(
                [record.cell.batch_size for record, _ in found], [each.median for _, each in found],
                yerr=[[x.median - x.low for _, x in found], [x.high - x.median for _, x in found]],
                label=label, color=color, marker=marker, markersize=5, capsize=2,
                linestyle="--" if label == MODEL else "-",
            )  # fmt: skip
            for record, each in found:
                sign = marks.of_load(record, record.window_under_load).sign
                figure_style.signed(panel, record.cell.batch_size, each.high, sign)
        sizes = sorted({record.cell.batch_size for record in records})
        panel.set_xscale("log", base=2)
        panel.set_xticks(sizes, [str(size) for size in sizes])
        figure_style.plain_log(panel.yaxis)
        panel.set_xlabel("Batch size")
        panel.set_ylabel("Time per batch, s")
        handles, names = panel.get_legend_handles_labels()
        drawing.legend(handles, names, loc="outside upper center", ncols=4, fontsize="small")
    return drawing


def points(records: Sequence[Record]) -> Table:
    """Make the table of the figure's points."""
    rows = [
        (
            Field(str(record.cell.batch_size)),
            Field(label, words=True),
            marked(
                fields.seconds(found, record.key, "batches" if label == MODEL else "rounds"),
                marks.of_load(record, record.window_under_load),
            ),
            fields.record_key(record),
        )
        for label, drawn in _series(records).items()
        for record, found in drawn
    ]
    return Table(
        say("preprocessing", "points", intervals=intervals_of(records)),
        ("Batch size", "What", "Time per batch, s", "Record"),
        tuple(rows),
    )


def text(records: Sequence[Record], noise_floor: float) -> str:
    """Return a Markdown list: the largest step, when the model waits, and what is missing.

    Nothing is concluded from batch sizes that background load disturbed.
    """
    every = [record for record in records if record.preprocessing]
    if not every:
        return say("findings", "nothing", reported=False)
    measured = [record for record in every if not record.window_under_load]
    busy = sorted(record.cell.batch_size for record in every if record.window_under_load)
    if not measured:
        return f"- {say('preprocessing', 'disturbed', sizes=busy, all=True)}"
    last = max(measured, key=lambda record: record.cell.batch_size)
    assert last.preprocessing is not None
    here = [way for way in last.preprocessing.ways if way.round_s]
    lines = []
    if first := next((way for way in here if way.backend == "pil" and way.threads == 1), None):
        steps = {step: preparation.step_s(last, first, step) for step in STEPS}
        largest = max(steps, key=lambda step: steps[step])
        lines.append(
            say("preprocessing", "steps", size=last.cell.batch_size, step=largest,
                part=steps[largest] / sum(steps.values()), share=preparation.share(last, first))
        )  # fmt: skip
    sizes = sorted(record.cell.batch_size for record in measured)
    verdicts: dict[tuple[int | None, bool], dict[str, list[str]]] = {}
    for way in here:
        found = preparation.waits_from(measured, way.backend, way.threads, noise_floor)
        most = preparation.against_model(last, way, noise_floor)
        close = most is not None and most.differ != "yes"
        verdicts.setdefault((found, close), {}).setdefault(TITLES[way.backend], []).append(str(way.threads))
    for (found, close), ways in verdicts.items():
        lines.append(say("preprocessing", "waits", ways=ways, found=found, size=sizes[-1], close=close))
    absent = {way.reason: TITLES[way.backend] for way in last.preprocessing.ways if way.reason}
    lines += [say("preprocessing", "absent", title=title, reason=why) for why, title in absent.items()]
    if busy:
        lines.append(say("preprocessing", "disturbed", sizes=busy, all=False))
    return "\n".join(f"- {line}" for line in lines)


def caption(records: Sequence[Record]) -> str:
    """Return the caption of the figure."""
    busy = any(record.window_under_load for record in records if record.preprocessing)
    return say("preprocessing", "figure", intervals=intervals_of(records), busy=busy)


def intervals_of(records: Sequence[Record]) -> str:
    """Return which confidence the intervals of the figure have, for a caption."""
    return fields.covering(summary for found in _series(records).values() for _, summary in found)


def _series(records: Sequence[Record]) -> dict[str, list[tuple[Record, intervals.Summary]]]:
    found: dict[str, list[tuple[Record, intervals.Summary]]] = {}
    for record in records:
        if record.preprocessing is None or (model := preparation.model_s(record)) is None:
            continue
        found.setdefault(MODEL, []).append((record, model))
        for way in record.preprocessing.ways:
            if way.round_s:
                seconds = intervals.median_interval(preparation.batch_s(record, way))
                found.setdefault(_label(way), []).append((record, seconds))
    return found


def _label(way: Prepared) -> str:
    return f"{TITLES[way.backend]}, {way.threads} thread{'s' * (way.threads > 1)}"


def _numbers(record: Record, way: Prepared, noise_floor: float) -> list[Field]:
    key, model = record.key, preparation.model_s(record)
    assert model is not None
    own = intervals.median_interval(preparation.batch_s(record, way))
    reading = headline(way.energy, "cpu", way.energy_refused)
    energy = fields.of_part(reading, way.samples, way.energy_refused, key)
    title = "preprocessing divided by preprocessing and model, of medians, without an interval"
    found = preparation.against_model(record, way, noise_floor)
    assert found is not None
    said = {"yes": "yes" if found.ratio > 1 else "no", "within": "too close"}.get(found.differ, "-")
    overlapped = (
        f"if the next batch is prepared while the model works: {found.ratio:.3g} times as long as the "
        f"model takes, {found.low:.3g} to {found.high:.3g} with the noise floor"
    )
    mark = marks.of_load(record, record.window_under_load)
    steps = [
        Field(
            digits(1000 * preparation.step_s(record, way, step)),
            "median, of all threads, without an interval",
            key,
        )
        for step in STEPS
    ]
    numbers = [
        fields.seconds(own, key, "rounds"),
        fields.seconds(model, key, "batches"),
        Field(f"{100 * (preparation.share(record, way) or 0):.1f}", title, key),
        Field(said, overlapped, key, words=True),
        energy,
        *steps,
    ]
    return [each if each.text == MISSING else marked(each, mark) for each in numbers]
