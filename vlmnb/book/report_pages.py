"""Execute the notebooks that show the reports, all in one Jupyter kernel, when what they show has changed.

They only read records. A book has fifteen of them, and starting a kernel for each would take longer.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmnb import paths
from vlmnb.book import postprocess
from vlmnb.files import code_fingerprint
from vlmnb.records import content_key
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.sweep import page_stamp

if TYPE_CHECKING:
    from nbclient import NotebookClient

AXES = tuple(axis.name for axis in axes.AXES.values() if axis.in_reports)
"""Tables of every report, in the reports' order."""

DRAWN_BY = (*content_key.SHOWING, "book/report_pages", "book/postprocess")
"""Folders and modules whose code can change a page."""

DRAWING = ("matplotlib", "seaborn", "pandas", "ipython")
"""Packages whose version can change a page."""


def models(records: Sequence[Record]) -> list[str]:
    """Return the models that a report is on record for."""
    return sorted({record.cell.model for record in records if record.source == "reports"})


def execute(results: Path, runs: Path, records: Sequence[Record]) -> tuple[list[Path], list[str]]:
    """Execute the notebooks of every reported model whose inputs have changed since they last were.

    Args:
        results: Folder of the records.
        runs: Folder of the executed notebooks.
        records: The records of ``results``.

    Returns:
        The executed notebooks, and a line for each that could not be made.
    """
    made: list[Path] = []
    outdated: list[tuple[Path, str]] = []
    for model in models(records):
        own = [record for record in records if record.cell.model == model]
        for axis in AXES:
            path, stamp = paths.executed_report(runs, model, axis), _stamp(axis, own)
            made.append(path)
            if page_stamp.state(path, stamp) != "current":
                outdated.append((path, stamp))
    problems: list[str] = []
    if outdated:
        with _kernel() as client:
            for path, stamp in outdated:
                if problem := _execute(client, path, results):
                    made.remove(path)
                    problems.append(problem)
                else:
                    page_stamp.mark(path, stamp)
    return made, problems


@contextmanager
def _kernel() -> Iterator[NotebookClient]:
    """Start a Jupyter kernel; it ends with the block."""
    from nbclient import NotebookClient
    from nbformat import NotebookNode
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="vlmnb-") as sockets:
        # Socket files instead of TCP ports, which other processes of the machine could listen to.
        own = {"transport": "ipc", "ip": f"{sockets}/k", "connection_file": f"{sockets}/kernel.json"}
        client = NotebookClient(
            NotebookNode(),
            kernel_name="python3",
            config=Config(KernelManager=own),
            record_timing=False,
            extra_arguments=["--HistoryManager.enabled=False"],
        )
        with client.setup_kernel():
            yield client


def _execute(client: NotebookClient, path: Path, results: Path) -> str:
    """Execute the notebook of one report page and write it; return why if it could not be made."""
    from nbclient.exceptions import CellExecutionError
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    model, axis = path.parent.name, path.stem
    parameters = {"model": model, "source": "reports", **_folder(results)}
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
        return f"the page of the report on {model}, {axis}: {error.evalue}"
    paths.write_atomic(path, postprocess.dumps(notebook))
    return ""


def _folder(results: Path) -> Mapping[str, str]:
    """Return the notebook's parameter for a folder of records other than the project's own."""
    return {} if results == paths.resolve("results") else {"results": str(results)}


def _stamp(axis: str, records: Sequence[Record]) -> str:
    """Hash all that a page depends on: template, code, packages that draw, and the model's records."""
    seen = hashlib.sha256(paths.notebook(axis).read_bytes())
    seen.update(code_fingerprint.of(DRAWN_BY).encode())
    seen.update(repr([(name, version(name)) for name in DRAWING]).encode())
    for record in sorted(records, key=lambda record: (record.hardware, record.key)):
        shown: dict[str, Any] | None = record.reported.model_dump(mode="json") if record.reported else None
        named = [record.hardware, record.key, record.status, record.provenance.started_at, shown]
        seen.update(json.dumps(named).encode())
    return seen.hexdigest() + "\n"
