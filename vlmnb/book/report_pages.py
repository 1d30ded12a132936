"""Execute the notebooks that show the reports, all in one Jupyter kernel, when what they show has changed.

They only read records. A book has fifteen of them, and starting a kernel for each would take longer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from vlmnb import paths
from vlmnb.book import postprocess
from vlmnb.errors import UserError
from vlmnb.files import code_fingerprint, hashing
from vlmnb.records import content_key
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.sweep import notebook_template, page_stamp

if TYPE_CHECKING:
    from nbclient import NotebookClient

AXES = tuple(axis.name for axis in axes.AXES.values() if axis.in_reports)
"""Tables of every report, in the reports' order."""

DRAWN_BY = (*content_key.SHOWING, "book/report_pages", "book/postprocess")
"""Folders and modules whose code can change a page."""

DRAWING = ("matplotlib", "seaborn", "ipython")
"""Packages whose version can change a page."""


def execute(results: Path, runs: Path, records: Sequence[Record]) -> tuple[list[Path], list[str]]:
    """Execute the notebooks of reports whose inputs have changed; return all, and why some are missing."""
    stamps: dict[Path, str] = {}
    usable, unusable = [], []
    reported = sorted({record.cell.model for record in records if record.source == "reports"})
    for axis in AXES if reported else ():
        try:
            notebook_template.require(paths.notebook(axis))
            usable.append(axis)
        except UserError as error:
            unusable.append(f"the pages of the reports on {axis}: {error}")
    for model in reported:
        shown = sorted(record.model_dump_json() for record in records if record.cell.model == model)
        own = [axis for axis in usable if _has_numbers(axis, model, records)]
        stamps |= {paths.executed_report(runs, model, axis): _stamp(axis, shown) for axis in own}
    problems: dict[Path, str] = {}
    outdated = [path for path, stamp in stamps.items() if page_stamp.state(path, stamp) != "current"]
    if outdated:
        # The notebooks' default is the project's own folder; its path is not to appear on pages.
        given = {} if results == paths.resolve("results") else {"results": str(results)}
        with kernel() as client:
            for path in outdated:
                model, axis = path.parent.name, path.stem
                try:
                    text = executed(client, axis, {"model": model, "source": "reports", **given})
                except UserError as error:
                    problems[path] = f"the page of the report on {model}, {axis}: {error}"
                    continue
                paths.write_atomic(path, text)
                page_stamp.mark(path, stamps[path])
    return [path for path in stamps if path not in problems], [*unusable, *problems.values()]


@contextmanager
def kernel() -> Iterator[NotebookClient]:
    """Start a Jupyter kernel; it ends with the block."""
    from nbclient import NotebookClient
    from nbformat import NotebookNode
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="vlmnb-") as sockets:
        # Socket files instead of TCP ports, which other processes of the machine could listen to.
        own = {"transport": "ipc", "ip": f"{sockets}/k", "connection_file": f"{sockets}/kernel.json"}
        config, quiet = Config(KernelManager=own), ["--HistoryManager.enabled=False"]
        client = NotebookClient(
            NotebookNode(), kernel_name="python3", config=config, record_timing=False, extra_arguments=quiet
        )
        with client.setup_kernel():
            yield client


def executed(client: NotebookClient, axis: str, parameters: Mapping[str, object]) -> str:
    """Execute an axis's notebook and return it as text; a user's mistake in a cell is raised again."""
    from nbclient.exceptions import CellExecutionError
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = parameterize_notebook(load_notebook_node(str(paths.notebook(axis))), parameters)
    notebook.metadata["papermill"] = {"parameters": parameters}
    client.nb = notebook
    client.reset_execution_trackers()
    assert client.kc is not None
    client.kc.execute("get_ipython().reset()", silent=True)
    try:
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    except CellExecutionError as error:
        if error.ename != "UserError":
            raise
        raise UserError(error.evalue) from None
    return postprocess.dumps(notebook)


def _has_numbers(axis: str, model: str, records: Sequence[Record]) -> bool:
    """Return whether a report prints a number in its table of an axis."""
    own = (r.reported for r in records if r.cell.model == model and r.reported)
    return any(figure.axis == axis and figure.value is not None for each in own for figure in each.figures)


def _stamp(axis: str, shown: Sequence[str]) -> str:
    inputs = [paths.notebook(axis).read_text(encoding="utf-8"), code_fingerprint.of(DRAWN_BY)]
    inputs += [f"{name} {version(name)}" for name in DRAWING]
    return hashing.digest([*inputs, *shown]) + "\n"
