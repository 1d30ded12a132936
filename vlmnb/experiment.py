"""The functions that notebooks call: check the parameters, get the records, show tables and figures.

The functions ``show_...`` are those of ``vlmnb.views.show``.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.records import record, record_file, turns
from vlmnb.records.record import Record
from vlmnb.spec import axes, planning
from vlmnb.spec.cell import Cell, words
from vlmnb.spec.planning import Plan

QUIET = "VLMNB_QUIET"
"""Set to ``1`` by a sweep, which shows the progress itself."""


def begin(axis: str, namespace: Mapping[str, Any]) -> Plan:
    """Read the notebook's parameters and expand them into cells.

    Args:
        axis: Name of the notebook.
        namespace: The notebook's ``globals()``; or parameters alone, of which each must be one.

    Raises:
        UserError: A parameter is unknown, of the wrong type, or has a value no cell can have. Also if
            papermill was given a name the notebook does not have; papermill itself only warns.
    """
    slots.spin_briefly()
    known = axes.get(axis).parameters
    given = {name: namespace[name] for name in known if name in namespace}
    cells = _assigned(namespace) if "__name__" in namespace else {"injected": set(namespace)}
    for name in sorted(cells.get("injected", set()) & given.keys()):
        if isinstance(known[name], tuple) and given[name] in ([], (), "", "[]"):
            raise UserError(f"{name} is empty; leave it out for the model's own")
        if name == "model" and not given[name]:
            raise UserError("model is empty; name one, or leave it out; `vlmnb models` lists names")
    assigned = set().union(*cells.values())
    extra = {name: namespace.get(name) for name in sorted(assigned) if name not in known}
    return planning.plan(axis, given | extra)


def records(plan: Plan) -> list[Record]:
    """Return the records of a plan's cells; missing ones are measured and written at once.

    They come with the times of the turns that the cells took with one another, where they took any.

    A plan of source ``reports`` measures nothing: it returns the records of the reports' figures.

    Raises:
        UserError: The source is ``reports``, and there is no report on the model.
    """
    if plan.source == "reports":
        return _reported(plan)
    from tqdm import tqdm

    # Raised by tqdm.auto, which transformers imports, where ipywidgets is not installed; nothing is missing.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from vlmnb.measure import process_state

    with process_state.importing():
        from vlmnb.measure.cells import measure_cells

    quiet = os.environ.get(QUIET) == "1"
    results = paths.resolve(str(plan.parameters["results"]))
    with tqdm(total=len(plan.cells), unit="cell", disable=quiet, leave=False) as bar:

        def advance(cell: Cell, record: Record) -> None:
            bar.set_postfix_str(f"{words(cell)}: {record.status}", refresh=False)
            bar.update()

        with _past_jupyter():
            found = measure_cells(plan.cells, results, on_cell=advance)
    return turns.shown(found, turns.read(results, plan.model))


@contextlib.contextmanager
def _past_jupyter() -> Iterator[None]:
    """Let what compiled libraries print go where the Jupyter kernel's own output went, within the block.

    A Jupyter kernel reads its descriptors 1 and 2 in a thread of Python. A library that prints more than a
    pipe holds, and lets no other thread of Python run meanwhile, would wait for ever.
    """
    kept: list[tuple[int, int]] = []
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            original = stream.fileno()
            if original != number:
                kept.append((number, os.dup(number)))
                os.dup2(original, number)
    try:
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


def __getattr__(name: str) -> Any:
    """Return a function of ``vlmnb.views.show``, imported after measuring: plots would add to the memory."""
    if not name.startswith("show_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vlmnb.views import show

    return getattr(show, name)


def _reported(plan: Plan) -> list[Record]:
    """Return the reports' records of a plan's cells that have a figure in its table, or a reason for none."""
    results = paths.resolve(str(plan.parameters["results"]))
    own, _ = record_file.read_all(results, model=plan.model, hardware=record.REPORTS)
    if not own:
        raise UserError(
            f"no report on {plan.model} is on record in {results}; `vlmnb reports` writes the "
            "records of all there are"
        )
    found, axis = {made.cell: made for made in own}, plan.axis.name
    return [
        made for cell in plan.cells
        if (made := found.get(cell))
        and (made.status != "ok" or (made.reported and made.reported.on(axis).figures))
    ]  # fmt: skip


def _assigned(namespace: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the names assigned in the parameters cell, and in the one that papermill injects after it.

    They are read from the Jupyter kernel's history, latest version of each cell: an unknown name is a typo.
    """
    names: dict[str, set[str]] = {}
    for source in namespace.get("_ih", ()):
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
    return names
