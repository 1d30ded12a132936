"""Notebooks executed for real: by papermill alone, by a sweep, by a sweep that is killed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from fakes import vlmnb, wait_for
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.records import record_file
from vlmnb.spec.planning import Run
from vlmnb.sweep import execute

pytestmark = pytest.mark.slow

SWEEP = """
title: Small
models: [fuyu-tiny]
parameters: {samples: 4, max_new_tokens: 4, length: natural}
axes:
  batch_size: {batch_sizes: [1, 2, 4]}
  seq_len: {datasets: [textvqa-mini], seq_lens: [200, 30, 2], batch_size: 4}
"""


def words_apart(reference: str, answer: str) -> int:
    """Edit distance over words, written out, to check the recorded errors against."""
    left, right = reference.split(), answer.split()
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, start=1):
        above, row[0] = row[:], i
        for j, other in enumerate(right, start=1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other))
    return row[-1]


def papermill(project: Path, tmp_path: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", "notebooks/batch_size.ipynb", str(tmp_path / "out.ipynb")]
    command += ["-p", "results", str(tmp_path / "results"), "-k", "python3", "--no-progress-bar"]
    command += shlex.split(arguments)
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def by_papermill(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the records and the notebook of plain papermill."""
    folder = tmp_path_factory.mktemp("papermill")
    arguments = "-p model fuyu-tiny -p samples 6 -p max_new_tokens 5 -y '{batch_sizes: [3, 4]}'"
    done = papermill(project, folder, arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_plain_papermill_measures_records_and_shows_its_cells(by_papermill: Path) -> None:
    found, problems = record_file.read_all(by_papermill / "results")
    assert problems == []
    by_batch = {r.cell.batch_size: r for r in found if r.cell.length == "natural"}
    assert sorted(by_batch) == [3, 4]
    assert len(found) == 4
    for made in found:
        assert made.status == "ok", made.reason
        assert made.timing is not None
        assert sum(made.timing.batch_samples) == made.timing.passes * len(made.answers)
        assert len(made.answers) == 6
        phases = zip(made.timing.vision_s, made.timing.prefill_s, made.timing.decode_s, strict=True)
        assert [sum(parts) for parts in phases] == pytest.approx(made.timing.latencies_s, rel=0.02)
        if made.cell.length == "fixed":
            assert made.wer is None
            assert set(made.timing.decode_steps) == {4}
            continue
        errors = sum(words_apart(a.references[0], a.answer) for a in made.answers)
        words = sum(len(a.references[0].split()) for a in made.answers)
        assert made.wer == pytest.approx(errors / words)
        assert made.flops is not None
        assert made.flops.fvcore == made.flops.torch
        assert made.headline_energy is not None
        assert made.headline_energy.energy_j > 0
        assert all(a.output_tokens <= 5 for a in made.answers)
    assert [a.answer for a in by_batch[3].answers] == [a.answer for a in by_batch[4].answers]
    assert len(by_batch[4].full_batches_s) == 1, "the batch of two left over is no batch of four"
    notebook = nbformat.read(by_papermill / "out.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    html = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    for made in found:
        assert made.key in html
        assert made.wer is None or f"{made.wer:.3f}" in html


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-p sampels 4", "did you mean 'samples'"),
        ("-p samples four", "samples takes int, got 'four'"),
        ("-p model fuyu-tyni", "did you mean 'fuyu-tiny'"),
    ],
)
def test_a_wrong_parameter_measures_nothing(project: Path, tmp_path: Path, arguments: str, said: str) -> None:
    done = papermill(project, tmp_path, arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "results").exists()


def by_hand(project: Path, tmp_path: Path, *changes: tuple[str, str]) -> nbformat.NotebookNode:
    """Execute a notebook as JupyterLab would, its parameters cell edited."""
    notebook = nbformat.read(project / "notebooks" / "batch_size.ipynb", as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    for old, new in (('results: str = "results"', f'results: str = "{tmp_path}"'), *changes):
        assert old in parameters.source
        parameters.source = parameters.source.replace(old, new)
    return NotebookClient(notebook, timeout=300, kernel_name="python3").execute()


def written(results: Path) -> dict[Path, int]:
    """The files of records, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in record_file.all_paths(results)}


def test_a_notebook_edited_by_hand_loads_what_is_recorded(project: Path, by_papermill: Path) -> None:
    changes = {'"llava-tiny"': '"fuyu-tiny"', "samples: int = 0": "samples: int = 6",
               "[1, 4, 8, 16]": "[3, 4]", "max_new_tokens: int = 0": "max_new_tokens: int = 5"}  # fmt: skip
    before = written(by_papermill / "results")
    again = by_hand(project, by_papermill / "results", *changes.items())
    assert written(by_papermill / "results") == before
    assert all(path.stem in json.dumps(again) for path in before)


def test_a_mistyped_parameter_is_an_error_without_a_stack(project: Path, tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError) as error:
        by_hand(project, tmp_path, ("samples: int = 0", "samples: int = 4\nbatchsizes: list[int] = [2]"))
    assert "did you mean 'batch_sizes'" in str(error.value)
    assert "axes.py" not in str(error.value)
    assert written(tmp_path) == {}


def test_a_killed_sweep_continues_and_a_third_measures_nothing(project: Path, tmp_path: Path) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text(SWEEP)
    where = ("--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs"))
    command = [sys.executable, "-m", "vlmnb", "sweep", str(spec), *where]
    log = (tmp_path / "log").open("wb")
    first = subprocess.Popen(command, cwd=project, stdout=log, stderr=log, start_new_session=True)
    wait_for(lambda: first.poll() is not None or len(list(record_file.all_paths(tmp_path / "results"))) >= 2)
    assert first.poll() is None, (tmp_path / "log").read_text()
    first.kill()
    first.wait()
    # The supervisor ends after all of its run.
    wait_for(lambda: not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info)])
    kept = written(tmp_path / "results")
    assert len(kept) >= 2

    second = vlmnb(project, "sweep", str(spec), *where, "--json")
    assert second.returncode == 0, second.stderr
    report = json.loads(second.stdout)
    assert report["cells"] == 5, "the base configuration stands in both tables and is one cell"
    assert report["measured"] == 5 - len(kept)
    assert "cells" in second.stderr, "a log shows how far it is"
    after = written(tmp_path / "results")
    assert len(after) == 5
    assert {path: after[path] for path in kept} == kept
    statuses = sorted(r.status for r in record_file.read_all(tmp_path / "results")[0])
    assert statuses == ["not_enough_tokens", "ok", "ok", "ok", "ok"]

    third = json.loads(vlmnb(project, "sweep", str(spec), *where, "--json").stdout)
    assert {name for name, value in third.items() if value} == {"cells"}, "nothing is measured or executed"
    assert json.loads(vlmnb(project, "status", str(spec), *where, "--json").stdout)["missing"] == 0


def test_a_failed_run_is_filed_with_the_command_that_repeats_it(tmp_path: Path) -> None:
    results, runs = tmp_path / "results", tmp_path / "runs"
    options = execute.ExecutionOptions(results=results, runs=runs, threads=1)
    run = Run(model="fuyu-tiny", axis="batch_size", parameters={"samples": 2, "batch_sizes": [2]})
    result = execute.RunResult(run=run, kind="failed", error="an error")
    failure = runs / "failures" / "fuyu-tiny" / "batch_size.json"
    execute.file_failure(result, options)
    report = json.loads(failure.read_text())
    assert report["error"] == "an error"
    words = shlex.split(report["command"])
    assert words[:3] == ["cd", str(paths.root()), "&&"]
    assert ["VLMNB_THREADS=1", sys.executable] == words[3:5] or slots.default_threads() == 1
    assert words[words.index(sys.executable) + 1 :][:3] == ["-m", "papermill", "notebooks/batch_size.ipynb"]
    assert f"-p results {results}" in report["command"], "where its records belong"
    execute.file_failure(result, options, stale=True)
    assert "VLMNB_STALE=1 " in json.loads(failure.read_text())["command"]


PRINTS = """
import ctypes
from vlmnb import experiment
from vlmnb.measure import cells
text = b"x" * 200_000
written = []
def measure_cells(*_, **__):
    written.extend(ctypes.PyDLL(None).write(n, text, len(text)) for n in (1, 2))
    return []
cells.measure_cells = measure_cells
experiment.records(experiment.begin("batch_size", {"model": "llava-tiny"}))
written
"""


def test_a_library_that_prints_much_and_lets_no_thread_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it, ipykernel does not read descriptors
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PRINTS)])
    (cell,) = NotebookClient(notebook, timeout=30, kernel_name="python3").execute().cells
    assert cell.outputs[-1].data["text/plain"] == "[200000, 200000]"
