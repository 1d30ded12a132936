"""A new axis is one notebook and one entry of ``axes.AXES``."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from vlmnb import paths
from vlmnb.book import build
from vlmnb.measure.cells import measure_cells
from vlmnb.spec import axes, planning
from vlmnb.spec.sweep_file import Sweep

PROJECT = Path(__file__).resolve().parents[2]
NAME = "max_new_tokens"
ENTRY = """
from vlmnb.spec import axes

axes.AXES["max_new_tokens"] = axes.Axis(
    name="max_new_tokens",
    varies="max_new_tokens",
    values="token_limits",
    default=(2, 8),
    title="Answer limit",
    question="What does a longer answer cost?",
    row_title="New tokens, at most",
    noun="answer limit",
)
"""
PARAMETERS = """
model: str = "llava-tiny"  # registry entry
dataset: str = ""  # data set
samples: int = 0  # samples
token_limits: list[int] = []  # rows of the table
device: str = ""  # cpu or cuda
batch_size: int = 0  # samples in a batch
results: str = "results"  # folder of the records
"""
CODE = (
    "from vlmnb import experiment\n"
    f"plan = experiment.begin({NAME!r}, globals())\n"
    "records = experiment.records(plan)",
    "experiment.show_table(plan, records)",
    "experiment.show_plot(plan, records)",
    "experiment.show_findings(plan, records)",
)
GIVEN = {"model": "llava-tiny", "samples": 4, "batch_size": 2, "device": "cpu"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one notebook, that of the new axis."""
    for name in ("models", "data"):
        (tmp_path / name).symlink_to(PROJECT / name)
    shutil.copy(PROJECT / "_config.yml", tmp_path)
    shutil.copytree(PROJECT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("generated"))
    cells = [nbformat.v4.new_markdown_cell("# Answer limit"), nbformat.v4.new_code_cell(PARAMETERS)]
    cells[1].metadata["tags"] = ["parameters"]
    cells += [nbformat.v4.new_code_cell(code) for code in CODE]
    cells[2].metadata["tags"] = ["hide-input", "remove-output"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / f"{NAME}.ipynb")
    monkeypatch.setenv("VLMNB_ROOT", str(tmp_path))
    monkeypatch.setattr(axes, "AXES", dict(axes.AXES))
    exec(ENTRY, {})
    return tmp_path


def executed(project: Path, given: dict[str, object]) -> nbformat.NotebookNode:
    """Execute the notebook in a kernel that knows the entry, with parameters as papermill gives them."""
    notebook = nbformat.read(project / "notebooks" / f"{NAME}.ipynb", as_version=4)
    injected = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in given.items()))
    injected.metadata["tags"] = ["injected-parameters"]
    notebook.cells[2:2] = [injected]
    notebook.cells[:0] = [nbformat.v4.new_code_cell(ENTRY)]
    NotebookClient(notebook, timeout=300).execute()
    del notebook.cells[0]
    notebook.metadata["papermill"] = {"parameters": given}
    return notebook


@pytest.mark.usefixtures("project")
def test_a_new_axis_is_planned() -> None:
    (run,) = planning.runs(
        Sweep(
            title="T",
            models=("llava-tiny",),
            parameters={"samples": 4},
            axes={NAME: {"token_limits": [1, 4]}},
        )
    )
    assert [(cell.max_new_tokens, cell.samples) for cell in run.plan.cells] == [(1, 4), (4, 4)]
    assert [axes.get(NAME).value(cell) for cell in planning.plan(NAME, GIVEN).cells] == [2, 8]


@pytest.mark.slow
def test_a_new_axis_is_measured_drawn_and_published(project: Path) -> None:
    results, runs = project / "results", project / "runs"
    records = measure_cells(planning.plan(NAME, GIVEN).cells, results)
    assert [(found.status, found.cell.max_new_tokens) for found in records] == [("ok", 2), ("ok", 8)]

    displayed = nbformat.writes(executed(project, GIVEN | {"results": str(results)}))
    assert all(found.key in displayed for found in records), "the table names its records"
    assert "image/png" in displayed or "image/svg" in displayed
    assert "New tokens, at most" in displayed
    assert "answer limit 2 to 8" in displayed, "the finding names the axis"

    paths.write_atomic(paths.executed(runs, "llava-tiny", NAME), displayed)
    assert build.assemble(results, runs) == []
    assert "Answer limit" in (project / "book" / "runs" / "llava-tiny" / f"{NAME}.ipynb").read_text()
    assert f"llava-tiny/{NAME}" in (project / "book" / "generated" / "_toc.yml").read_text()
