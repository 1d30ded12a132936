"""The one-way flow: who may import what, read from the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import loaded
import pytest

import vlmnb

PACKAGE = Path(vlmnb.__file__).parent
DRIVER = (
    "cli", "spec", "yamlfile", "axes", "launch", "execute", "supervise", "notebook_run", "sweeping", "slots",
    "locks", "desk", "store", "paths", "record", "identity", "progress", "status", "sweep_command", "slurm",
    "scratch", "ray_cluster", "ray_head", "papermill_engine", "machine", "checkpoints",
)  # fmt: skip
MEASURING = (
    "measure",
    "desk",
    "slots",
    "store",
    "meters",
    "energy",
    "sensors",
    "sensorcard",
    "carbon",
    "nvml",
    "memory",
    "conditions",
    "flops",
    "loading",
    "random_weights",
    "kernels",
    "compiling",
    "quantized",
    "encoding",
    "quality",
    "data",
    "optimizations",
    "hub",
    "formula",
    "metaflops",
)
READING = (
    "tables",
    "plots",
    "findings",
    "middles",
    "exporting",
    "book",
    "pages",
    "compare",
    "tradeoff",
    "disturbance",
    "outdated",
    "repeats",
    "guessing",
    "chapters",
    "markup",
    "postprocess",
    "stats",
    "differences",
    "scores",
    "captions",
    "agreement",
    "drift",
    "roofline",
    "rates",
    "bounds",
    "support",
    "record",
    "readings",
    "layerprofile",
    *(f"audit.{name}" for name in ("registry", "command", "page")),
    *(f"fit.{name}" for name in ("report", "command", "show", "page", "predict", "snippets")),
)


def imported(module: str) -> set[str]:
    """Everything a module imports, anywhere in it, with what its own imports at the top bring along."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        file = PACKAGE / f"{name.replace('.', '/')}.py"
        if not file.exists():
            continue
        for found in _imports(ast.parse(file.read_text(encoding="utf-8")), top=name != module):
            if found.startswith("vlmnb."):
                inner = found.removeprefix("vlmnb.")
                if inner not in seen:
                    todo.append(inner)
                found = inner
            seen.add(found)
    return seen


def _imports(tree: ast.Module, top: bool) -> set[str]:
    nodes = tree.body if top else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] if not alias.name.startswith("vlmnb") else alias.name
                      for alias in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and node.module == "vlmnb":
            found |= {f"vlmnb.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module if node.module.startswith("vlmnb") else node.module.split(".")[0])
            if node.module in ("vlmnb.fit", "vlmnb.audit"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("module", DRIVER)
def test_the_driver_never_imports_torch_or_what_measures(module: str) -> None:
    assert not imported(module) & {"torch", "transformers", "measure", "meters", "flops", "loading"}


@pytest.mark.parametrize("module", MEASURING)
def test_measuring_never_imports_papermill_pandas_or_plots(module: str) -> None:
    assert not imported(module) & {"papermill", "pandas", "matplotlib", "seaborn", "tables", "plots"}


@pytest.mark.parametrize("module", READING)
def test_reading_never_imports_torch(module: str) -> None:
    assert not imported(module) & {"torch", "transformers", "measure", "meters", "flops", "loading"}


def test_no_module_is_longer_than_400_lines() -> None:
    long = [path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 400]
    assert long == []


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["models"], ["sweep", "sweeps/quickstart.yaml", "--dry-run"], ["fit", "fuyu-8b"]],
)
def test_the_command_line_answers_without_torch(arguments: list[str], project: Path) -> None:
    assert loaded.by_command(*arguments, cwd=project) == set()


def test_the_check_finds_what_is_loaded(project: Path) -> None:
    assert loaded.by_code("import pandas", cwd=project) == {"pandas"}
