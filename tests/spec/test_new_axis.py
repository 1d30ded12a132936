"""A new axis is one entry of ``axes.yaml`` and one notebook, as ARCHITECTURE.md says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from vlmnb import paths
from vlmnb.records import record_file

NAME = "max_new_tokens"
ENTRY = f"""
{NAME}:
  title: Answer limit
  question: What does a longer answer cost?
  varies: max_new_tokens
  values: token_limits
  default: [2, 8]
  row_title: New tokens, at most
  noun: answer limit
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
    f"from vlmnb import experiment\nplan = experiment.begin({NAME!r}, globals())\n"
    "records = experiment.records(plan)",
    "experiment.show_table(plan, records)",
    "experiment.show_plot(plan, records)",
    "experiment.show_findings(plan, records)",
)
PLANNED = f"""
import json
from vlmnb.spec import planning
from vlmnb.spec.sweep_file import Sweep
asked = {{"token_limits": [1, 4], "samples": 4}}
sweep = Sweep(title="T", models=("llava-tiny",), axes={{"{NAME}": asked}})
plans = [planning.runs(sweep)[0].plan, planning.plan("{NAME}", {{}})]
print(json.dumps([[cell.max_new_tokens for cell in plan.cells] for plan in plans]))
"""
PUBLISHED = """
from pathlib import Path
from vlmnb.book import build
print(build.assemble(Path("results"), Path("runs")))
"""


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """A copy of the project with the entry and the notebook, and no other notebook."""
    shutil.copytree(project / "vlmnb", tmp_path / "vlmnb", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(project / "book", tmp_path / "book", ignore=shutil.ignore_patterns("generated"))
    shutil.copy(project / "_config.yml", tmp_path)
    for name in ("models", "data"):
        (tmp_path / name).symlink_to(project / name)
    with (tmp_path / "vlmnb/spec/axes.yaml").open("a") as file:
        file.write(ENTRY)
    cells = [nbformat.v4.new_markdown_cell("# Answer limit")]
    cells += [nbformat.v4.new_code_cell(code) for code in (PARAMETERS, *CODE)]
    cells[1].metadata["tags"] = ["parameters"]
    cells[2].metadata["tags"] = ["hide-input", "remove-output"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    paths.write_atomic(tmp_path / "notebooks" / f"{NAME}.ipynb", nbformat.writes(notebook))
    return tmp_path


def run(copy: Path, *command: str) -> str:
    """Run Python in the copy, with its package."""
    env = {**os.environ, "PYTHONPATH": str(copy), "VLMNB_ROOT": str(copy)}
    return subprocess.run(
        [sys.executable, *command], cwd=copy, env=env, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_a_new_axis_is_planned(copy: Path) -> None:
    assert json.loads(run(copy, "-c", PLANNED)) == [[1, 4], [2, 8]]


@pytest.mark.slow
def test_a_new_axis_is_measured_drawn_and_published(copy: Path) -> None:
    given = {"samples": 4, "batch_size": 2, "device": "cpu", "results": str(copy / "results")}
    out = copy / "runs" / "llava-tiny" / f"{NAME}.ipynb"
    out.parent.mkdir(parents=True)
    options = [word for name, value in given.items() for word in ("-p", name, str(value))]
    run(copy, "-m", "papermill", f"notebooks/{NAME}.ipynb", str(out), "--no-progress-bar", *options)
    records = record_file.read_all(copy / "results")[0]
    assert sorted((r.status, r.cell.max_new_tokens) for r in records) == [("ok", 2), ("ok", 8)]

    displayed = out.read_text()
    assert all(record.key in displayed for record in records), "the table names its records"
    assert "image/png" in displayed or "image/svg" in displayed
    assert "New tokens, at most" in displayed
    assert "answer limit 2 to 8" in displayed, "the finding names the axis"

    assert run(copy, "-c", PUBLISHED).strip() == "[]"
    assert "Answer limit" in (copy / "book" / "runs" / "llava-tiny" / f"{NAME}.ipynb").read_text()
    assert f"llava-tiny/{NAME}" in (copy / "book" / "generated" / "_toc.yml").read_text()
