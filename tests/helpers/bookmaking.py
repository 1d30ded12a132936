"""A small project to build a book of: synthetic records and executed notebooks, made without a model."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import factory
import pytest

from vlmnb import experiment, paths
from vlmnb.analysis import base_configuration
from vlmnb.analysis.base_configuration import BaseResult
from vlmnb.book import build
from vlmnb.book.pages import finder
from vlmnb.files import hashing
from vlmnb.fit import page as card
from vlmnb.meters.readings import EnergyReading
from vlmnb.models import registry
from vlmnb.records import record_file
from vlmnb.records.parts import Provenance
from vlmnb.records.record import Record
from vlmnb.spec import axes, planning
from vlmnb.spec.cell import Cell

PROJECT = Path(__file__).resolve().parents[2]
MODELS = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny")
REPORTED = ("llava-1.5-7b", "qwen2.5-vl-3b", "fuyu-8b")
SPEED = {"llava-tiny": 0.4, "qwen2.5-vl-tiny": 0.7, "fuyu-tiny": 0.5}
WRONG = {"llava-tiny": 40, "qwen2.5-vl-tiny": 20, "fuyu-tiny": 55}
MACHINE = {
    "slug": "test-cpu-2c", "cpu_model": "Test CPU", "physical_cores": 2, "logical_cores": 2,
    "memory_bytes": 8 * 2**30, "gpus": [], "os": "Linux", "python": "3.11.7", "packages": {},
    "fingerprint": "f" * 16,
}  # fmt: skip


def project(folder: Path) -> Path:
    """The hand-written half of the book, in a project folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("_config.yml", "CITATION.cff"):
        shutil.copy(PROJECT / name, folder)
    ignored = shutil.ignore_patterns("generated", "runs", "reports", ".ipynb_checkpoints")
    shutil.copytree(PROJECT / "book", folder / "book", ignore=ignored)
    shutil.copytree(PROJECT / "notebooks", folder / "notebooks", ignore=ignored)
    shutil.copytree(PROJECT / "reports", folder / "reports", ignore=ignored)
    shutil.copytree(
        PROJECT / "data", folder / "data", ignore=shutil.ignore_patterns("*-mini*", "*.md", "*.py")
    )
    for name in (entry.name for entry in registry().values() if entry.bundled):
        ignored = shutil.ignore_patterns("*.safetensors", "*.md")  # the finder of GPUs needs the geometry
        shutil.copytree(PROJECT / "models" / name, folder / "models" / name, ignore=ignored)
    (folder / ".pytest_cache").mkdir()
    for litter in (".pytest_cache/README.md", "out.ipynb", "notes.md"):  # of tools and of experiments
        (folder / litter).write_text("# No page", encoding="utf-8")
    model = folder / "models" / "llava-tiny"
    shutil.copy(Path(__file__).parent / "model_card.md", model / "README.md")
    header = json.dumps({"__metadata__": {}, "w": {"shape": [1500, 1400]}, "b": {"shape": []}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


def records(
    results: Path, *, models: tuple[str, ...] = MODELS, axis_names: tuple[str, ...] = tuple(axes.AXES)
) -> None:
    """A record for every cell of the quickstart."""
    for model in models:
        for axis in axis_names:
            for cell in planning.plan(axis, parameters(model, axis)).cells:
                record_file.write(measured(cell), results)


def beside_reports(results: Path) -> None:
    """Own measurements of a reported model as a GPU without a network gives them: random weights."""
    given = {"model": "fuyu-8b", "weights": "random", "dataset": "textvqa-mini", "device": "cuda",
             "length": "fixed", "samples": 96, "max_new_tokens": 16}  # fmt: skip
    for cell in planning.plan("batch_size", given).cells:
        energy = EnergyReading(source="gpu", method="nvml_counter", energy_j=960.0, detail="synthetic")
        made = factory.record(
            cell, hardware="test-gpu", energy=(energy,), key=hashing.digest(cell.model_dump())
        )
        record_file.write(made, results)


def parameters(model: str, axis: str = "device") -> dict[str, Any]:
    samples = {"samples": 96} if "samples" in axes.AXES[axis].parameters else {}
    return {"model": model, **samples}


def measured(cell: Cell) -> Record:
    """A record of a cell: numbers that depend on the cell and on nothing else."""
    common: dict[str, Any] = {
        "key": hashing.digest(cell.model_dump()), "hardware": "test-cpu-2c",
        "provenance": Provenance(
            code="0" * 16, machine=MACHINE, threads=1, other_load=0.25, packages={"torch": "2.13.0"},
            started_at="2026-01-01T10:00:00+00:00",
        ),
    }  # fmt: skip
    if cell.device == "cuda":
        reason = "this machine has no GPU that torch can use"
        return factory.absent(cell, "unsupported", reason).model_copy(update=common)
    if cell.model == "llava-tiny" and cell.image_size != 64:
        reason = "the vision tower takes images of 64 pixels a side and no other"
        return factory.absent(cell, "not_applicable", reason).model_copy(update=common)
    captions = cell.dataset == "coco-mini"
    answers = factory.answers(cell.samples, WRONG[cell.model] + 10 * captions)
    if captions:
        answers = tuple(answer.model_copy(update={"score": None}) for answer in answers)
    second = SPEED[cell.model] * cell.batch_size / 16 * (cell.image_size / 64) ** 2
    return factory.record(
        cell, latencies=tuple(second * (1 + 0.01 * (i % 3)) for i in range(cell.samples // cell.batch_size)),
        energy=(EnergyReading(source="cpu", method="model", energy_j=40.0 * second, detail="synthetic"),),
        answers=answers, **common,
    )  # fmt: skip


def executed(runs: Path, model: str, axis: str, **changes: Any) -> Path:
    """An executed notebook as papermill leaves it, in its place."""
    path = runs / model / f"{axis}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook(model, axis, **changes)), encoding="utf-8")
    return path


def notebook(model: str, axis: str, *, end_time: str | None = "2026-01-01T11:00:00+00:00") -> dict[str, Any]:
    """An executed notebook with the template's cells, its outputs typed in."""
    template = PROJECT / "notebooks" / f"{axis}.ipynb"
    made: dict[str, Any] = json.loads(template.read_text(encoding="utf-8"))
    for number, cell in enumerate(made["cells"]):
        if cell["cell_type"] != "code":
            continue
        cell["execution_count"] = number + 1
        cell["metadata"]["papermill"] = {"duration": 0.123, "exception": False, "status": "completed"}
        cell["outputs"] = json.loads(_outputs("".join(cell["source"]), model, axis, json.dumps(MACHINE)))
    given = "".join(f"{name} = {value!r}\n" for name, value in parameters(model, axis).items())
    injected = code(f"# Parameters\n{given}", tags=["injected-parameters"])
    made["cells"].insert(3, injected)
    made["metadata"]["papermill"] = {
        "parameters": {**parameters(model, axis), "results": "/somewhere/results"}, "end_time": end_time,
        "start_time": "2026-01-01T10:59:00+00:00", "duration": 60.1, "exception": None,
        "input_path": f"/somewhere/notebooks/{axis}.ipynb", "output_path": "/tmp/x/out.ipynb",
        "version": "2.7.0", "environment_variables": {},
    }  # fmt: skip
    return made


def code(source: str, outputs: list[Any] | None = None, tags: list[str] | None = None) -> dict[str, Any]:
    return {
        "cell_type": "code", "execution_count": 1, "id": "x", "metadata": {"tags": tags or []},
        "outputs": outputs or [], "source": source,
    }  # fmt: skip


def display(metadata: dict[str, Any] | None = None, **data: str) -> dict[str, Any]:
    """A display output; kinds are written with an underscore for the slash."""
    kinds = {name.replace("_", "/"): value for name, value in data.items()}
    return {"output_type": "display_data", "data": kinds, "metadata": metadata or {}}


def markdown(text: str) -> dict[str, Any]:
    return display(text_markdown=text, text_plain="<IPython.core.display.Markdown object>")


@functools.cache
def _outputs(source: str, model: str, axis: str, machine: str) -> str:
    """What the functions of ``experiment`` that a cell calls would display, as JSON.

    Figures are drawn once for all tests of a session; ``machine`` is the one that the records are of.
    """
    plan = planning.plan(axis, parameters(model, axis))
    found = [measured(cell) for cell in plan.cells]
    shown: list[Any] = []

    def keep(*objects: Any, raw: bool = False, metadata: Any = None) -> None:
        for item in objects:
            if raw:
                shown.append({"output_type": "display_data", "data": item, "metadata": metadata or {}})
            elif type(item).__name__ == "Markdown":
                shown.append(markdown(item.data))
            else:
                shown.append(display(text_html=item.data, text_plain="<IPython.core.display.HTML object>"))

    if "experiment.records" in source:
        return json.dumps([{"output_type": "stream", "name": "stderr", "text": "100%|####|\r"}])
    with pytest.MonkeyPatch.context() as patch:
        for module in ("IPython.display", "vlmnb.views.show"):
            patch.setattr(f"{module}.display", keep)
        for name in ("show_table", "show_plot", "show_findings", "show_details"):
            if f"experiment.{name}(" in source:
                getattr(experiment, name)(plan, found)
        if "page.show(" in source:
            fit = card.begin({**plan.parameters, "results": "no-such-folder"})
            exec(source.partition("page.begin(plan.parameters)\n")[2] or source, {"page": card, "fit": fit})
    return json.dumps(shown)


class Small(NamedTuple):
    """A project with two pages of one model."""

    root: Path
    results: Path
    runs: Path

    def assemble(self, say: Callable[[str], object] = print) -> list[str]:
        """Assemble the book; return what was left out."""
        finder.loads()  # once: the process that assembling forks keeps the shapes of all models
        return build.assemble(self.results, self.runs, say)

    def read(self, name: str) -> str:
        """Return the text of an assembled file below ``book/``."""
        return (self.root / "book" / name).read_text(encoding="utf-8")


def small(folder: Path) -> Small:
    """A project with records of one model and its pages on image size and device."""
    made = Small(project(folder / "project"), folder / "results", folder / "runs")
    records(made.results, models=("llava-tiny",), axis_names=("image_size", "device"))
    for axis in ("image_size", "device"):
        executed(made.runs, "llava-tiny", axis)
    return made


def fail(runs: Path, model: str, axis: str, **changes: str) -> Path:
    """File a failed run, as a sweep does."""
    path = paths.failure(runs, model, axis)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"model": model, "axis": axis, "error": "boom", "at": "2026-02-01T00:00:00+00:00", **changes}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@functools.cache
def built() -> Path:
    """The built site of a quickstart, made once; one run failed anew and another never went well."""
    folder = Path(tempfile.mkdtemp(prefix="vlmnb-book-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    results, runs, last = folder / "results", folder / "runs", MODELS[-1]
    records(results)
    for model in REPORTED:  # the committed records of what the reports say
        shutil.copytree(PROJECT / "results" / "reports" / model, results / "reports" / model)
    beside_reports(results)
    for model in MODELS:
        for axis in axes.AXES:
            executed(runs, model, axis)
    (runs / last / "optimization.ipynb").unlink()
    for axis, error in (("optimization", "RuntimeError: it *broke* in <stdin>"), ("device", "exit code -9")):
        tail, command = "\x1b[31mTraceback\x1b[0m\n```\nit broke", f"papermill notebooks/{axis}.ipynb"
        fail(runs, last, axis, error=error, stderr_tail=tail, command=command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLMNB_ROOT", str(project(folder / "project")))
        return build.build(results, runs, folder / "_build").parent


def of_models(*models: str) -> list[Record]:
    """Records of the image sizes of models."""
    plans = (planning.plan("image_size", parameters(model)) for model in models)
    return [measured(cell) for plan in plans for cell in plan.cells]


def results(*records: Record) -> tuple[BaseResult, ...]:
    """The base results of records of one set-up."""
    (found,) = base_configuration.base_results(records).values()
    return found
