"""Display records in a notebook: the tables of a plan, its figures with their captions, and its findings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.display import HTML, Markdown, display

from vlmnb import models, paths
from vlmnb.analysis import agreement, rates, repeatability
from vlmnb.analysis.repeatability import NoiseFloor
from vlmnb.records import record, record_file, store, turns
from vlmnb.records.record import Record
from vlmnb.spec import axes, optimizations, planning
from vlmnb.spec.cell import Cell
from vlmnb.spec.planning import Plan
from vlmnb.types import Dtype
from vlmnb.views import (
    answer_tables,
    axis_figure,
    axis_table,
    by_layers,
    detail_table,
    fields,
    figure_style,
    findings,
    footnotes,
    preprocessing_page,
    repeat_table,
    report_tables,
    reuse_page,
    roofline,
    table,
    token_figure,
    worth_table,
)
from vlmnb.views.table import Table
from vlmnb.views.templates import brief, foreign, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show_table(plan: Plan, found: list[Record]) -> None:
    """Display the axis's table and, below it, why cells are ``-``."""
    cells = _shown(plan, found)
    _show(footnotes.setup([one for one in found if one.cell in cells]))
    if plan.axis.against_original and plan.source != "reports":
        _show_optimizations(plan, cells, found)
    else:
        _show(axis_table.axis_table(plan.axis.name, cells, found))
    shown = [one.on(plan.axis.name) for one in found if one.cell in cells]
    said = footnotes.notes(shown, energy=not plan.axis.several_datasets, elsewhere=True)
    _show(said, footnotes.compiled(shown))
    _show_comparison(plan, found)


def show_speed(plan: Plan, found: list[Record]) -> None:
    """Display the times of answers of fixed length by phase, and why cells are ``-``, if any was measured.

    On a page without such answers, say how to get them; of optimizations show the times of natural ones.
    """
    cells, floor = plan.of_length("fixed"), _noise_floor(plan, found).value
    if plan.source == "reports" or not _measured(found):
        return
    if cells:
        of_cells = [one for one in found if one.cell in cells]
        timed = detail_table.phase_table(plan.axis.name, cells, found, floor)
        _show("## Speed at fixed length", footnotes.setup(of_cells), timed, footnotes.notes(of_cells))
        return
    if plan.axis.against_original:
        setup = footnotes.setup(found)
        _show("## Time by phase", setup, detail_table.phase_table(plan.axis.name, plan.cells, found, floor))
    _show(say("answers", "no_fixed_length", bundled=models.get(plan.model).bundled))


def show_roofline(plan: Plan, found: list[Record]) -> None:
    """Display which share of the device's peak rates each cell reaches, and its memory.

    Cells of fixed length are shown if there are any: with them every row of a batch decodes to the end.
    """
    cells = plan.of_length("fixed") or plan.cells
    if plan.source == "reports" or not _measured([one for one in found if one.cell in cells]):
        return
    setup = footnotes.setup([one for one in found if one.cell in cells])
    _show("## Against the roofline", setup, roofline.table(cells, found), roofline.peaks_table(cells, found))
    if drawn := roofline.bars(cells, found):
        limits = rates.bottleneck(cells, found, _noise_floor(plan, found).value)
        label = partial(fields.label, "optimization", cells=cells)
        n = [len(bar.record.full_batches_s) for bar in drawn]
        caption = say(
            "roofline", "figure", found=limits, label=label, n=n,
            signs=roofline.signs(drawn), cut=roofline.cut(drawn),
        )  # fmt: skip
        _show(say("roofline", "text", found=limits, label=label))
        alt = "Bars: the shares of both peak rates that each setting reaches."
        _figure(roofline.figure(drawn), alt, caption, roofline.points(drawn))
    _show(roofline.memory_table(cells, found))


def show_plot(plan: Plan, found: list[Record]) -> None:
    """Display the axis's figure with a caption that states the finding, if there are two numbers."""
    cells = every = _shown(plan, found)
    if plan.axis.against_original:
        cells = optimizations.groups(cells)[0]  # seconds of batches of one size; the others are in the tables
    figure = axis_figure.axis_plot(plan.axis.name, cells, found)
    if figure is None:
        return
    caption = findings.caption(plan.axis.name, cells, found, _noise_floor(plan, found).value)
    if len(cells) < len(every):
        caption += " Other batch sizes: in the tables."
    alt = axis_figure.alt(plan.axis.name, figure)
    _show("## Plot")
    _figure(figure, alt, caption, axis_figure.points(plan.axis.name, cells, found))


def show_tokens(plan: Plan, found: list[Record]) -> None:
    """Display score and time against the image tokens kept, a line for each way to choose them."""
    drawn = [token_figure.lines(part, found) for part in optimizations.groups(_shown(plan, found))]
    drawn = [lines for lines in drawn if any(points for name, points in lines.items() if name)]
    if drawn:
        _show("## Plot")
    for lines in drawn:
        alt = "Score and time to first token by image tokens kept, a line for each way to choose them."
        _figure(token_figure.figure(lines), alt, token_figure.caption(lines), token_figure.points(lines))


def show_published(plan: Plan, found: list[Record]) -> None:
    """Display what others published on fewer image tokens, with the source of each figure."""
    _show(*token_figure.published(), token_figure.contradictions())


def show_findings(plan: Plan, found: list[Record]) -> None:
    """Display what the table shows, sentence by sentence, computed from the records.

    The noise floor is displayed where the page needs it.
    """
    floor, cells = _noise_floor(plan, found), _shown(plan, found)
    _show(findings.text(plan.axis.name, cells, found, floor.value))
    _show(findings.shown_times(plan.axis.name, cells, found, floor.value))
    if plan.axis.noise_floor or findings.needs_noise_floor(plan.axis.name, cells, found):
        _show_noise_floor(floor, found)
    else:
        _show(repeat_table.noise_floor(None, found))


def show_repeats(plan: Plan, found: list[Record]) -> None:
    """Display the repeats of each cell with its first measurement, and which difference they can show."""
    repeated, places = set(map(repeatability.original, found)), {one.hardware for one in found}
    firsts = [one for one in _windows(plan) if one.cell in repeated and one.hardware in places]
    counted = [one for own in repeatability.groups([*firsts, *found]).values() for one in own]
    shown = [*(one for one in counted if not one.cell.repeat), *found]
    _show(
        repeat_table.text(shown, turns.read(_results(plan), plan.model)),
        "## Table",
        footnotes.setup(found),
        repeat_table.table(shown),
    )
    _show(footnotes.notes(shown, energy=False))


def show_flips(plan: Plan, found: list[Record]) -> None:
    """Display how many answers are those of the reference run, by batch size and precision."""
    text = say(
        "answers", "by_batch", found=agreement.by_batch(found), measured=any(r.status == "ok" for r in found)
    )
    tables = map(answer_tables.agreement_table, agreement.matrices(found, ()))
    _show(text, "## Table", footnotes.setup(found), *tables, footnotes.notes(found, energy=False))


def show_agreement(plan: Plan, found: list[Record]) -> None:
    """Display the share of identical answers by batch size and precision, with cells of other pages."""
    for each in agreement.matrices(found, _records(plan)):
        _show(footnotes.setup(list(each.runs.values())), answer_tables.agreement_table(each))


def show_details(plan: Plan, found: list[Record]) -> None:
    """Display one row per cell, natural and fixed answer length apart; of a report every figure."""
    if plan.source != "reports":
        if _measured(found):
            tables = detail_table.detail_tables(plan.axis.name, plan.cells, found)
            _show("## Every cell", footnotes.setup(found), *tables)
        return
    cells = _shown(plan, found)
    _show("## Every cell", footnotes.setup([one for one in found if one.cell in cells]))
    if (logged := report_tables.only_in_log(plan.axis.name, cells, found)).rows:
        _show(logged)
        figure = axis_figure.plot(plan.axis.name, report_tables.in_log(plan.axis.name, cells, found))
        if figure:
            alt = f"{axis_figure.alt(plan.axis.name, figure)} Only the raw log has these figures."
            _figure(figure, alt, say("captions", "log_figure"), None)  # its points are the table above
    printed = report_tables.figures(plan.axis.name, cells, found)
    _show(
        printed if printed.rows else "The report prints no figure of these cells, in this table or another."
    )
    _show("\n".join(f"- {foreign(line)}" for line in report_tables.conflicts(cells, found)))


def show_reuse(plan: Plan, found: list[Record]) -> None:
    """Display what a question costs by questions a picture, table and figure, and when keeping pays."""
    floor = _noise_floor(plan, found)
    _show(reuse_page.text(found, floor.value))
    _show_noise_floor(floor, found)
    _show("## Table", footnotes.setup(found), reuse_page.table(found, floor.value), footnotes.notes(found))
    if any(one.reused for one in found):
        _show("## Plot")
        alt = "Cost of a question over the number of questions a picture, by what is kept."
        _figure(reuse_page.figure(found), alt, reuse_page.caption(found), reuse_page.points(found))


def show_preprocessing(plan: Plan, found: list[Record]) -> None:
    """Display what preparing a batch takes, by backend, threads and step, and when the model waits for it."""
    floor = _noise_floor(plan, found)
    _show(preprocessing_page.text(found, floor.value))
    _show_noise_floor(floor, found)
    shown = preprocessing_page.table(found, floor.value)
    _show("## Table", footnotes.setup(found), shown, footnotes.notes(found))
    if any(one.preprocessing for one in found):
        _show("## Plot")
        alt = "Time per batch of the model and of preprocessing, by batch size, backend and threads."
        drawn = preprocessing_page.points(found)
        _figure(
            preprocessing_page.figure(found),
            alt,
            preprocessing_page.caption(found),
            drawn,
        )


def show_layers(plan: Plan, found: list[Record]) -> None:
    """Display where the time of a prompt goes: by component, as a figure, in words, and every part."""
    _show(by_layers.text(found), "## Table", footnotes.setup(found), by_layers.component_table(found))
    _show(footnotes.notes(found))
    if not any(one.layers for one in found):
        return
    _show("## Plot")
    alt = "Shares of components, time of each layer, and rates below the peak rates."
    _figure(by_layers.figure(found), alt, by_layers.caption(found), by_layers.points(found))
    _show("## Every part", *map(by_layers.part_table, found))


def omitted(cells: Sequence[Cell], base: Dtype) -> list[str]:
    """Return the optimizations of the preset that none of the cells has."""
    shown = {cell.optimization for cell in cells}
    return [name for name in optimizations.defaults(base) if name not in shown]


def _show_optimizations(plan: Plan, cells: Sequence[Cell], found: list[Record]) -> None:
    others, floor = _records(plan), _noise_floor(plan, found).value
    for number, part in enumerate(optimizations.groups(cells)):
        if number:
            said = say("answers", "other_batch_size", cells=part)
            _show(f"### At batch {part[0].batch_size}\n\n{said}")
        changes = agreement.changes(part, found, others)
        shown = axis_table.axis_table(plan.axis.name, part, found, floor)
        made = answer_tables.flagged(shown, changes)
        own = worth_table.rows(part, found, others, floor)
        _show(made, answer_tables.changes_table(changes, part, found))
        if any(one.record and one.record.status == "ok" for one in own[1:]):
            worthy = answer_tables.flagged(worth_table.table(own), changes)
            _show(worthy, worth_table.text(own, answer_tables.changed(changes)))
    entry = models.get(plan.model)
    if plan.axis.default:
        return
    if rest := omitted(cells, optimizations.base_dtype(entry.base_dtype, cells[0].device)):
        all_of_it = "`vlmnb sweep sweeps/quickstart.yaml` measures all"
        how = all_of_it if entry.bundled else "parameter `optimizations`"
        names = ", ".join(f"`{name}`" for name in rest)
        _show(f"Settings of the preset that were not requested on this page: {names} ({how}).")


def _show_comparison(plan: Plan, found: list[Record]) -> None:
    reported = _records(plan, record.REPORTS)
    if not reported:
        return
    cells = planning.plan(plan.axis.name, {"model": plan.model, "source": "reports"}).cells
    # A page of reports shows every machine's measurements, a measured page its own.
    measured = _records(plan) if plan.source == "reports" else found
    made = report_tables.table(plan.axis.name, cells, reported, measured)
    if made.rows:
        _show("## Compared with our own measurements", made, report_tables.notes(made))
    elif plan.source == "reports":
        _show("None of these cells has been measured here yet.")


def _shown(plan: Plan, found: list[Record]) -> tuple[Cell, ...]:
    """Return the cells of the axis's own table: of natural length, if there are any, else of fixed length."""
    if plan.source == "reports":
        return tuple(one.cell for one in found)
    return plan.of_length("natural") or plan.cells


def _measured(found: Sequence[Record]) -> bool:
    return any(one.status == "ok" for one in found)


def _results(plan: Plan) -> Path:
    return paths.resolve(str(plan.parameters["results"]))


def _records(plan: Plan, hardware: str = "*") -> list[Record]:
    return record_file.read_all(_results(plan), plan.model, hardware)[0]


def _noise_floor(plan: Plan, found: Sequence[Record]) -> NoiseFloor:
    places = {(one.hardware, one.cell.device) for one in found if one.status == "ok"}
    return repeatability.noise_floor([*_windows(plan), *found], places)


def _windows(plan: Plan) -> list[Record]:
    """Return the A/A repeats of all models on record, and the first measurements of their cells."""
    with store.Index(results := _results(plan)) as index:
        files = [results / name for name, one in index.windows().items() if not one.problem]
    return [record_file.read(file) for file in files if file.exists()]


def _show_noise_floor(floor: NoiseFloor, found: Sequence[Record]) -> None:
    """Display the sentence on the noise floor; nothing where nothing was measured that it would be of.

    The mark shows a sweep that the page depends on the noise floor.
    """
    if any(one.source == "measured" and one.status == "ok" and not one.short for one in found):
        display(Markdown(repeat_table.noise_floor(floor, found)), metadata={axes.NOISE_FLOOR: True})


def _show(*parts: Table | str | None) -> None:
    for part in parts:
        if part:
            display(Markdown(part) if isinstance(part, str) else HTML(table.render(part)))


def _figure(figure: Figure, alt: str, caption: str, drawn: Table | None) -> None:
    from matplotlib import pyplot

    image = {"image/svg+xml": figure_style.svg(figure), "text/plain": alt}
    pyplot.close(figure)
    display(image, raw=True, metadata={"image/svg+xml": {"alt": alt}})
    shown, more = brief(caption)
    _show(f"*{shown}*", more)
    if drawn:
        display(HTML(table.points(drawn)))
