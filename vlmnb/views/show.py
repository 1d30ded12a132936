"""Display records in a notebook: the tables of a plan, its figures with their captions, and its findings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.display import HTML, Markdown, display

from vlmnb import models, paths
from vlmnb.analysis import agreement, rates, repeatability
from vlmnb.analysis.repeatability import NoiseFloor
from vlmnb.records import record, record_file
from vlmnb.records.record import Record
from vlmnb.spec import optimizations, planning
from vlmnb.spec.cell import Cell
from vlmnb.spec.planning import Plan
from vlmnb.types import Dtype
from vlmnb.views import (
    answer_tables,
    axis_figure,
    axis_table,
    detail_table,
    fields,
    findings,
    footnotes,
    layer_figure,
    layer_tables,
    phase_table,
    repeat_table,
    report_tables,
    roofline_figure,
    roofline_tables,
    table,
)
from vlmnb.views.table import Table
from vlmnb.views.templates import foreign, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show_table(plan: Plan, found: list[Record]) -> None:
    """Display the axis's table and, below it, why cells are ``-``."""
    cells = _shown(plan, found)
    if plan.axis.against_original and plan.source != "reports":
        _show_optimizations(plan, cells, found)
    else:
        _tables(axis_table.axis_table(plan.axis.name, cells, found))
    shown = [one.on(plan.axis.name) for one in found if one.cell in cells]
    _text(footnotes.notes(shown))
    _text(footnotes.compiled(shown))
    _show_comparison(plan, found)


def show_speed(plan: Plan, found: list[Record]) -> None:
    """Display the times of answers of fixed length by phase, and why cells are ``-``.

    On a page of optimizations without answers of fixed length, display those of natural answers.
    """
    if plan.source == "reports":
        return
    cells = plan.of_length("fixed")
    natural = plan.axis.against_original and not cells
    _text("## Time by phase" if natural else "## Speed at fixed length")
    if cells:
        _tables(phase_table.table(plan.axis.name, cells, found))
        _text(footnotes.notes([one for one in found if one.cell in cells]))
        return
    how = "; `vlmnb sweep sweeps/full.yaml` measures them" if models.get(plan.model).bundled else ""
    _text(f"Answers of fixed length were not requested (parameter `length`{how}).")
    if natural:
        _tables(phase_table.table(plan.axis.name, plan.cells, found))


def show_roofline(plan: Plan, found: list[Record]) -> None:
    """Display which share of the device's peak rates each cell reaches, and its memory.

    Cells of fixed length are shown if there are any: with them every row of a batch decodes to the end.
    """
    if plan.source == "reports":
        return
    cells = plan.of_length("fixed") or plan.cells
    _text("## Against the roofline")
    _tables(roofline_tables.table(cells, found), roofline_tables.peaks_table(cells, found))
    if drawn := roofline_tables.bars(cells, found):
        limits = rates.bottleneck(cells, found, _noise_floor(plan, found).value)
        label = partial(fields.label, "optimization", cells=cells)
        n = [len(bar.record.full_batches_s) for bar in drawn]
        widest = roofline_figure.WIDEST
        caption = say("roofline", "figure", found=limits, label=label, n=n, widest=widest)
        _text(say("roofline", "text", found=limits, label=label))
        _figure(roofline_figure.figure(drawn), caption, roofline_tables.points(drawn))
    _tables(roofline_tables.memory_table(cells, found))


def show_plot(plan: Plan, found: list[Record]) -> None:
    """Display the axis's figure with a caption that states the finding."""
    cells = every = _shown(plan, found)
    if plan.axis.against_original:
        cells = optimizations.groups(cells)[0]  # seconds of batches of one size; the others are in the tables
    if not findings.measured(plan.axis.name, cells, found):
        where = "in the report" if plan.source == "reports" else "here"
        _text(f"*No cell of this page could be measured {where}; the reasons are given above.*")
        return
    caption = findings.caption(plan.axis.name, cells, found, _noise_floor(plan, found).value)
    if len(cells) < len(every):
        caption += " Other batch sizes: in the tables."
    figure = axis_figure.axis_plot(plan.axis.name, cells, found)
    _figure(figure, caption, axis_figure.points(plan.axis.name, cells, found))


def show_findings(plan: Plan, found: list[Record]) -> None:
    """Display what the table shows, sentence by sentence, computed from the records."""
    floor = _noise_floor(plan, found)
    _text(findings.text(plan.axis.name, _shown(plan, found), found, floor.value))
    if plan.source != "reports":
        _text(repeat_table.noise_floor(floor))


def show_repeats(plan: Plan, found: list[Record]) -> None:
    """Display the repeats of each cell, and which difference between cells they can show."""
    _tables(repeat_table.table(found))
    _text(footnotes.notes(found, energy=False))
    _text(f"## What it says\n\n{repeat_table.text(found)}")


def show_flips(plan: Plan, found: list[Record]) -> None:
    """Display how many answers are those of the reference run, by batch size and precision."""
    _tables(*map(answer_tables.agreement_table, agreement.matrices(found, ())))
    _text(footnotes.notes(found, energy=False))
    text = say("answers", "by_batch", found=agreement.by_batch(found))
    _text(f"## What it says\n\n{text}")


def show_agreement(plan: Plan, found: list[Record]) -> None:
    """Display the share of identical answers by batch size and precision, with cells of other pages."""
    others, _ = record_file.read_all(results_folder(plan), plan.model)
    _tables(*map(answer_tables.agreement_table, agreement.matrices(found, others)))


def show_details(plan: Plan, found: list[Record]) -> None:
    """Display one row per cell, natural and fixed answer length apart; of a report every figure."""
    if plan.source != "reports":
        _tables(*detail_table.detail_tables(plan.axis.name, plan.cells, found))
        return
    cells = _shown(plan, found)
    printed = report_tables.figures(plan.axis.name, cells, found)
    if printed.rows:
        _tables(printed)
    else:
        _text("The report prints no figure of these cells, in this table or another.")
    conflicts = report_tables.conflicts(cells, found)
    _text("\n".join(f"- {foreign(line)}" for line in conflicts))


def show_layers(plan: Plan, found: list[Record]) -> None:
    """Display where the time of a prompt goes: by component, as a figure, in words, and every part."""
    _tables(layer_tables.component_table(found))
    _text(footnotes.notes(found))
    if not any(one.layers for one in found):
        return
    _text("## Plot")
    _figure(layer_figure.figure(found), layer_tables.caption(found), layer_figure.points(found))
    _text(f"## What it says\n\n{layer_tables.text(found)}")
    _text("## Every part")
    _tables(*map(layer_tables.part_table, found))


def omitted(cells: Sequence[Cell], base: Dtype) -> list[str]:
    """Return the optimizations of the preset that none of the cells has."""
    shown = {cell.optimization for cell in cells}
    return [name for name in optimizations.defaults(base) if name not in shown]


def results_folder(plan: Plan) -> Path:
    """Return the folder of the records that a plan reads and writes."""
    return paths.resolve(str(plan.parameters["results"]))


def of_reports(plan: Plan) -> list[Record]:
    """Return the reports' records on a plan's model."""
    return record_file.read_all(results_folder(plan), model=plan.model, hardware=record.REPORTS)[0]


def _show_optimizations(plan: Plan, cells: Sequence[Cell], found: list[Record]) -> None:
    """Display the tables of each batch size: times and energy, and what became of the answers."""
    others, _ = record_file.read_all(results_folder(plan), plan.model)
    for number, part in enumerate(optimizations.groups(cells)):
        if number:
            said = say("answers", "other_batch_size", cells=part)
            _text(f"### At batch {part[0].batch_size}\n\n{said}")
        changes = agreement.changes(part, found, others)
        made = axis_table.axis_table(plan.axis.name, part, found)
        _tables(answer_tables.flagged(made, changes), answer_tables.changes_table(changes, part, found))
    entry = models.get(plan.model)
    if rest := omitted(cells, optimizations.base_dtype(entry.base_dtype, cells[0].device)):
        all_of_it = "`vlmnb sweep sweeps/quickstart.yaml` measures all"
        how = all_of_it if entry.bundled else "parameter `optimizations`"
        names = ", ".join(f"`{name}`" for name in rest)
        _text(f"Settings of the preset that were not requested on this page: {names} ({how}).")


def _show_comparison(plan: Plan, found: list[Record]) -> None:
    """Display a report's figures and our own measurements, if there is a report on the model."""
    reported = of_reports(plan)
    if not reported:
        return
    cells = planning.plan(plan.axis.name, {"model": plan.model, "source": "reports"}).cells
    # A page of reports shows every machine's measurements, a measured page its own.
    measured = found
    if plan.source == "reports":
        measured = record_file.read_all(results_folder(plan), model=plan.model)[0]
    made = report_tables.table(plan.axis.name, cells, reported, measured)
    if made.rows:
        _text("## Compared with our own measurements")
        _tables(made)
        _text(report_tables.notes(made))
    elif plan.source == "reports":
        _text("None of these cells has been measured here yet.")


def _shown(plan: Plan, found: list[Record]) -> tuple[Cell, ...]:
    """Return the cells of the axis's own table: of natural length, if there are any, else of fixed length."""
    if plan.source == "reports":
        return tuple(one.cell for one in found)
    return plan.of_length("natural") or plan.cells


def _noise_floor(plan: Plan, found: Sequence[Record]) -> NoiseFloor:
    """Return the noise floor of the machines and devices that measured the records."""
    places = {(one.hardware, one.cell.device) for one in found if one.status == "ok"}
    return repeatability.noise_floor([*repeatability.read(results_folder(plan)), *found], places)


def _tables(*made: Table | None) -> None:
    for each in made:
        if each is not None:
            display(HTML(table.render(each)))


def _text(markdown: str) -> None:
    if markdown:
        display(Markdown(markdown))


def _figure(figure: Figure, caption: str, drawn: Table) -> None:
    """Display a figure, its caption, and the table of its points, whose numbers link to records."""
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight", transparent=True)
    pyplot.close(figure)
    display(
        {"image/png": buffer.getvalue(), "text/plain": caption},
        raw=True,
        metadata={"image/png": {"alt": caption}},
    )
    _text(f"*{caption}*")
    display(HTML(table.points(drawn)))
