"""What the notebooks call: check the parameters, get the records, show the table and the plot."""

from __future__ import annotations

import ast
import contextlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.records import record
from vlmnb.records.record import Record
from vlmnb.spec import axes, planning
from vlmnb.spec.cell import Cell, words
from vlmnb.spec.planning import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vlmnb.analysis.repeatability import Allowance
    from vlmnb.views.axis_table import Table

QUIET = "VLMNB_QUIET"
"""Set to ``1`` by a sweep, which shows the progress itself."""


def begin(axis: str, namespace: Mapping[str, Any]) -> Plan:
    """Read the notebook's parameters and expand them into cells.

    Args:
        axis: Name of the notebook.
        namespace: The notebook's ``globals()``; or parameters alone, of which each must be one.

    Raises:
        UserError: A parameter is unknown, of the wrong type, or has a value no cell can have. Also when
            papermill was given a name the notebook does not have, of which papermill itself only warns.
    """
    # Threads that spin while they wait ruin every time on a machine shared with anybody else. OpenMP
    # reads this when torch is first imported, so it is set here, before anything that measures.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    known = axes.get(axis).parameters
    given = {name: namespace[name] for name in known if name in namespace}
    assigned = _assigned(namespace) if "__name__" in namespace else namespace
    extra = {name: namespace.get(name) for name in sorted(assigned) if name not in known}
    return planning.plan(axis, given | extra)


def records(plan: Plan) -> list[Record]:
    """The records of a plan's cells; missing ones are measured and written at once.

    A plan of source ``reports`` measures nothing: it gets the records of what the reports say.

    Raises:
        UserError: The source is ``reports``, which say nothing of the model.
    """
    if plan.source == "reports":
        return _reported(plan)
    from tqdm import tqdm

    from vlmnb.measure.cells import measure_cells

    # Raised by tqdm.auto within datasets where ipywidgets is not installed; nothing is missing.
    warnings.filterwarnings("ignore", message="IProgress not found")
    quiet = os.environ.get(QUIET) == "1"
    with tqdm(total=len(plan.cells), unit="cell", disable=quiet, leave=False) as bar:

        def advance(cell: Cell, record: Record) -> None:
            bar.set_postfix_str(f"{words(cell)}: {record.status}", refresh=False)
            bar.update()

        return measure_cells(plan.cells, results_folder(plan), on_cell=advance)


def _reported(plan: Plan) -> list[Record]:
    """The reports' records of a plan's cells, those that its table has figures or a reason for."""
    own = _of_reports(plan)
    if not own:
        raise UserError(
            f"no report on {plan.model} is on record in {results_folder(plan)}; `vlmnb reports` writes the "
            "records of all there are"
        )
    found = {made.cell: made for made in own}
    seen = [found[cell] for cell in plan.cells if cell in found]
    axis = plan.axis.name
    return [
        made for made in seen if made.status != "ok" or (made.reported and made.reported.on(axis).figures)
    ]


def _of_reports(plan: Plan) -> list[Record]:
    return record.read_all(results_folder(plan), model=plan.model, hardware=record.REPORTS)[0]


def results_folder(plan: Plan) -> Path:
    """Folder of the records that a plan reads and writes."""
    return paths.resolve(str(plan.parameters["results"]))


def show_table(plan: Plan, found: list[Record]) -> None:
    """Display the axis's table and, beneath it, why cells are ``-``."""
    from IPython.display import HTML, Markdown, display

    from vlmnb.analysis import answer_changes
    from vlmnb.spec import optimizations
    from vlmnb.views import axis_table, footnotes, optimization_text

    cells = _shown(plan, found)
    if plan.axis.name == "optimization" and plan.source != "reports":
        others, _ = record.read_all(results_folder(plan), plan.model)
        for number, part in enumerate(optimizations.groups(cells)):
            if number:
                display(Markdown(optimization_text.aside(part)))
            made = axis_table.axis_table("optimization", part, found)
            made = answer_changes.flagged(made, answer_changes.of_cells(part, found, others), part)
            drifted = answer_changes.table(part, found, others)
            display(*(HTML(axis_table.html(each)) for each in (made, drifted) if each))
        _show_omitted(plan, cells)
    else:
        display(HTML(axis_table.html(axis_table.axis_table(plan.axis.name, cells, found))))
    shown = [record.on(plan.axis.name) for record in found if record.cell in cells]
    _show_notes(shown)
    if compiled := footnotes.compiled(shown):
        display(Markdown(compiled))
    _show_beside(plan, found)


def _show_omitted(plan: Plan, cells: Sequence[Cell]) -> None:
    """Display which settings of the preset were not asked for, and how to have them measured."""
    from IPython.display import Markdown, display

    from vlmnb import models
    from vlmnb.spec import optimizations
    from vlmnb.views import optimization_text

    entry = models.get(plan.model)
    rest = optimization_text.omitted(cells, optimizations.base_dtype(entry.base_dtype, cells[0].device))
    if rest:
        all_of_it = "`vlmnb sweep sweeps/quickstart.yaml` measures all"
        how = all_of_it if entry.bundled else "parameter `optimizations`"
        names = ", ".join(f"`{name}`" for name in rest)
        display(Markdown(f"Not asked for on this page, of the preset: {names} ({how})."))


def _show_beside(plan: Plan, found: list[Record]) -> None:
    """Display a report's figures beside our own measurements, where there is a report on the model."""
    from IPython.display import HTML, Markdown, display

    from vlmnb.analysis import report_match
    from vlmnb.views import axis_table

    reported = _of_reports(plan)
    if not reported:
        return
    given = {"model": plan.model, "source": "reports"}
    cells = planning.plan(plan.axis.name, given).cells
    # A page of reports shows every machine's measurements, a measured page its own.
    measured = found
    if plan.source == "reports":
        measured = record.read_all(results_folder(plan), model=plan.model)[0]
    made = report_match.table(plan.axis.name, cells, reported, measured)
    if made.rows:
        display(Markdown("## Beside our own measurements"))
        display(HTML(axis_table.html(made)))
        display(Markdown(report_match.beneath(made)))
    elif plan.source == "reports":
        display(Markdown("None of these cells has been measured here yet."))


def show_speed(plan: Plan, found: list[Record]) -> None:
    """Display the times of answers of fixed length by phase, and why cells are ``-``.

    On a page of optimizations those of natural answers, where no others were asked for.
    """
    from IPython.display import HTML, Markdown, display

    from vlmnb import models
    from vlmnb.views import axis_table, phase_table

    if plan.source == "reports":
        return
    cells = plan.of_length("fixed")
    natural = plan.axis.name == "optimization" and not cells
    display(Markdown("## Time by phase" if natural else "## Speed at fixed length"))
    if not cells:
        how = "; `vlmnb sweep sweeps/full.yaml` measures them" if models.get(plan.model).bundled else ""
        display(Markdown(f"Answers of fixed length were not asked for (parameter `length`{how})."))
        if natural:
            display(HTML(axis_table.html(phase_table.table(plan.axis.name, plan.cells, found))))
        return
    display(HTML(axis_table.html(phase_table.table(plan.axis.name, cells, found))))
    _show_notes([record for record in found if record.cell in cells])


def show_roofline(plan: Plan, found: list[Record]) -> None:
    """Display what share of the device's measured ceilings each cell reaches, and its memory.

    Cells of fixed length where there are any, in which every row of a batch decodes to the end.
    """
    from IPython.display import HTML, Markdown, display

    from vlmnb.analysis import bottleneck
    from vlmnb.views import axis_table, roofline_tables

    if plan.source == "reports":
        return
    cells = plan.of_length("fixed") or plan.cells
    display(Markdown("## Against the roofline"))
    made = (roofline_tables.table(cells, found), roofline_tables.ceilings_table(cells, found))
    display(*(HTML(axis_table.html(each)) for each in made if each))
    figure = roofline_tables.figure(cells, found)
    if figure is not None:
        caption = (
            f"{bottleneck.text(cells, found, _allowance(plan, found).drift)} Bars: shares of the ceilings, "
            f"with 95 % intervals; dashed: the ceiling; †: other processes used the machine. A bar beyond "
            f"{roofline_tables.WIDEST} % is cut."
        )
        _display_figure(figure, caption, roofline_tables.points(cells, found))
    display(HTML(axis_table.html(roofline_tables.memory_table(cells, found))))


def _shown(plan: Plan, found: list[Record]) -> tuple[Cell, ...]:
    """Cells of the axis's own table: of natural length, and of fixed length only where asked for alone."""
    if plan.source == "reports":
        return tuple(record.cell for record in found)
    return plan.of_length("natural") or plan.cells


def _show_notes(found: Sequence[Record], energy: bool = True) -> None:
    """Display why cells are ``-``, and which of them are stale; ``energy``: whether joules are shown."""
    from IPython.display import Markdown, display

    from vlmnb.records import background_load
    from vlmnb.views import footnotes

    parts = (footnotes.beneath(found, energy), background_load.note(found, energy), footnotes.stale(found))
    told = "\n".join(filter(None, parts))
    if told:
        display(Markdown(told))


def show_plot(plan: Plan, found: list[Record]) -> None:
    """Display the axis's plot with a caption that states the finding."""
    from IPython.display import Markdown, display

    from vlmnb.spec import optimizations
    from vlmnb.views import axis_figure, axis_points, findings

    cells = _shown(plan, found)
    if plan.axis.name == "optimization":
        cells = optimizations.groups(cells)[0]  # seconds of batches of one size; the others are in the tables
    if not findings.measured(plan.axis.name, cells, found):
        where = "in the report" if plan.source == "reports" else "here"
        display(Markdown(f"*No cell of this page could be measured {where}; the reasons stand above.*"))
        return
    caption = findings.caption(plan.axis.name, cells, found, _allowance(plan, found).drift)
    if len(cells) < len(_shown(plan, found)):
        caption += f" Rows at another batch size than {cells[0].batch_size} stand in the tables alone."
    figure = axis_figure.axis_plot(plan.axis.name, cells, found)
    _display_figure(figure, caption, axis_points.axis_points(plan.axis.name, cells, found))


def show_findings(plan: Plan, found: list[Record]) -> None:
    """Display what the table says, sentence by sentence, computed from the records."""
    from IPython.display import Markdown, display

    from vlmnb.stats import formatting
    from vlmnb.views import findings

    allowed = _allowance(plan, found)
    display(Markdown(findings.text(plan.axis.name, _shown(plan, found), found, allowed.drift)))
    if plan.source != "reports":
        share = formatting.percent(allowed.drift)
        display(
            Markdown(f"Two windows of one cell are taken to differ by up to {share} % ({allowed.origin}).")
        )


def _allowance(plan: Plan, found: Sequence[Record]) -> Allowance:
    """How far two windows of one cell may differ where the records were measured."""
    from vlmnb.analysis import repeatability

    places = {(record.hardware, record.cell.device) for record in found if record.status == "ok"}
    return repeatability.allowance([*repeatability.read(results_folder(plan)), *found], places)


def show_repeats(plan: Plan, found: list[Record]) -> None:
    """Display the windows of each repeated cell, and which difference between cells they allow to tell."""
    from IPython.display import HTML, Markdown, display

    from vlmnb.analysis import repeatability
    from vlmnb.views import axis_table

    display(HTML(axis_table.html(repeatability.table(found))))
    _show_notes(found, energy=False)
    display(Markdown(f"## What it says\n\n{repeatability.text(found)}"))


def show_flips(plan: Plan, found: list[Record]) -> None:
    """Display how many answers are those of the reference run, by batch size and precision."""
    from IPython.display import HTML, Markdown, display

    from vlmnb.analysis import agreement
    from vlmnb.views import axis_table

    for table in agreement.matrices(found, ()):
        display(HTML(axis_table.html(table)))
    _show_notes(found, energy=False)
    display(Markdown(f"## What it says\n\n{agreement.text(found)}"))


def show_agreement(plan: Plan, found: list[Record]) -> None:
    """Display which share of the answers is that of the reference run, by batch size and precision.

    Cells of other pages with the same questions are taken along.
    """
    from IPython.display import HTML, display

    from vlmnb.analysis import agreement
    from vlmnb.records import record
    from vlmnb.views import axis_table

    others, _ = record.read_all(results_folder(plan), plan.model)
    for table in agreement.matrices(found, others):
        display(HTML(axis_table.html(table)))


def show_details(plan: Plan, found: list[Record]) -> None:
    """Display one row per cell, natural and fixed answer length apart. Of a report: every figure."""
    from IPython.display import HTML, Markdown, display

    from vlmnb.analysis import report_match
    from vlmnb.views import axis_table, detail_table, footnotes

    if plan.source == "reports":
        cells = _shown(plan, found)
        printed = report_match.figures(plan.axis.name, cells, found)
        if printed.rows:
            display(HTML(axis_table.html(printed)))
        else:
            display(Markdown("The report prints no figure of these cells, in this table or another."))
        told = report_match.conflicts(cells, found)
        if told:
            display(Markdown("\n".join(f"- {footnotes.escape(line)}" for line in told)))
        return
    for made in detail_table.detail_tables(plan.axis.name, plan.cells, found):
        display(HTML(axis_table.html(made)))


def show_layers(plan: Plan, found: list[Record]) -> None:
    """Display where the time of a prompt goes: by component, as a figure, in words, and every part."""
    from IPython.display import HTML, Markdown, display

    from vlmnb.views import axis_table, layer_figure, layer_tables

    display(HTML(axis_table.html(layer_tables.component_table(found))))
    _show_notes(found)
    if not any(record.layers for record in found):
        return
    said = layer_tables.text(found)
    display(Markdown("## Plot"))
    caption = (
        f"{said.splitlines()[0].removeprefix('- ')} Left: shares of the pass by component; middle: time of "
        "each layer over depth, with 95 % intervals; right: rates of parts called alone under the measured "
        "ceilings (roofline)."
    )
    _display_figure(layer_figure.figure(found), caption, layer_figure.points(found))
    display(Markdown(f"## What it says\n\n{said}"))
    display(Markdown("## Every part"))
    for one in found:
        display(HTML(axis_table.html(layer_tables.part_table(one))))


def _display_figure(figure: Figure, caption: str, drawn: Table) -> None:
    """Display a figure, its caption, and what it is drawn from: a picture can carry no links to records."""
    import io

    from IPython.display import HTML, Markdown, display
    from matplotlib import pyplot

    from vlmnb.views import axis_points, axis_table

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight", transparent=True)
    pyplot.close(figure)
    display(
        {"image/png": buffer.getvalue(), "text/plain": caption},
        raw=True,
        metadata={"image/png": {"alt": caption}},
    )
    display(Markdown(f"*{caption}*"))
    display(HTML(axis_table.folded(drawn, axis_points.SUMMARY)))


def _assigned(namespace: Mapping[str, Any]) -> set[str]:
    """Names assigned in the parameters cell, and in the one that papermill injects after it.

    Read from the kernel's history, latest version of each cell: a name that nobody asks for is a typo.
    """
    names: dict[str, set[str]] = {}
    for source in namespace.get("In", ()):
        with contextlib.suppress(SyntaxError):
            found = {
                target.id
                for node in ast.parse(source).body
                if isinstance(node, (ast.Assign, ast.AnnAssign))
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                if isinstance(target, ast.Name)
            }
            if source.startswith("# Parameters"):
                names["injected"] = found
            elif {"model", "results"} <= found:
                names["parameters"] = found
    return set().union(*names.values())
