"""What the notebooks call: check the parameters, get the records, show the table and the plot."""

from __future__ import annotations

import ast
import contextlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmnb import axes, paths
from vlmnb.axes import Plan
from vlmnb.record import Record
from vlmnb.spec import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUIET = "VLMNB_QUIET"
"""Set to ``1`` by a sweep, which shows the progress itself."""


def begin(axis: str, namespace: Mapping[str, Any]) -> Plan:
    """Read the notebook's parameters and expand them into cells.

    Args:
        axis: Name of the notebook.
        namespace: The notebook's ``globals()``.

    Raises:
        UserError: A parameter is unknown, of the wrong type, or has a value no cell can have. Also when
            papermill was given a name the notebook does not have, of which papermill itself only warns.
    """
    # Threads that spin while they wait ruin every time on a machine shared with anybody else. OpenMP
    # reads this when torch is first imported, so it is set here, before anything that measures.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    known = axes.get(axis).parameters
    given = {name: namespace[name] for name in known if name in namespace}
    extra = {name: namespace.get(name) for name in sorted(_assigned(namespace)) if name not in known}
    return axes.plan(axis, given | extra)


def records(plan: Plan) -> list[Record]:
    """The records of a plan's cells; missing ones are measured and written at once."""
    from tqdm import tqdm

    from vlmnb import measure

    # Raised by tqdm.auto within datasets where ipywidgets is not installed; nothing is missing.
    warnings.filterwarnings("ignore", message="IProgress not found")
    quiet = os.environ.get(QUIET) == "1"
    with tqdm(total=len(plan.cells), unit="cell", disable=quiet, leave=False) as bar:

        def advance(cell: Cell, record: Record) -> None:
            bar.set_postfix_str(f"{describe(cell)}: {record.status}", refresh=False)
            bar.update()

        return measure.cells(plan.cells, results_folder(plan), on_cell=advance)


def results_folder(plan: Plan) -> Path:
    """Folder of the records that a plan reads and writes."""
    return paths.resolve(str(plan.parameters["results"]))


def describe(cell: Cell) -> str:
    """A cell in a few words, for progress lines."""
    return (
        f"{cell.model} {cell.dataset} {cell.device} {cell.optimization} "
        f"batch {cell.batch_size} image {cell.image_size} prompt {cell.seq_len}"
    )


def show_table(plan: Plan, found: list[Record]) -> None:
    """Display the axis's table and, beneath it, why cells are ``-``."""
    from IPython.display import HTML, Markdown, display

    from vlmnb import tables

    display(HTML(tables.html(tables.axis_table(plan.axis.name, plan.cells, found))))
    notes = tables.notes(found)
    if notes:
        display(Markdown(notes))


def show_plot(plan: Plan, found: list[Record]) -> None:
    """Display the axis's plot with a caption that states the finding."""
    from IPython.display import Markdown, display

    from vlmnb import findings, plots

    if not any(record.status == "ok" for record in found):
        display(Markdown("*No cell of this page could be measured here; the reasons stand above.*"))
        return
    caption = findings.caption(plan.axis.name, plan.cells, found)
    figure = plots.axis_plot(plan.axis.name, plan.cells, found)
    _display_figure(figure, caption)
    display(Markdown(f"*{caption}*"))


def show_findings(plan: Plan, found: list[Record]) -> None:
    """Display what the table says, sentence by sentence, computed from the records."""
    from IPython.display import Markdown, display

    from vlmnb import findings

    display(Markdown(findings.text(plan.axis.name, plan.cells, found)))


def show_details(plan: Plan, found: list[Record]) -> None:
    """Display one row per cell: intervals, tokens, memory, both FLOP counters."""
    from IPython.display import HTML, display

    from vlmnb import tables

    display(HTML(tables.html(tables.detail_table(plan.axis.name, plan.cells, found))))


def _display_figure(figure: Figure, alt: str) -> None:
    import io

    from IPython.display import display
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight", transparent=True)
    pyplot.close(figure)
    display(
        {"image/png": buffer.getvalue(), "text/plain": alt}, raw=True, metadata={"image/png": {"alt": alt}}
    )


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
            elif {"model", "samples", "results"} <= found:
                names["parameters"] = found
    return set().union(*names.values())
