"""The shape of the package: short modules, short chains of imports, complete wheels, light commands."""

from __future__ import annotations

import ast
import functools
import tomllib
from pathlib import Path

import grimp
import loaded
import pytest
import setuptools

LONGEST_CHAIN = 16
"""Modules that import each other in a row, imports within functions included."""

MOST_LINES = 400
MOST_AT_THE_TOP = 8


def test_no_chain_of_imports_is_longer_than_sixteen_modules() -> None:
    graph = grimp.build_graph("vlmnb", exclude_type_checking_imports=True, cache_dir=None)

    @functools.cache
    def longest(module: str) -> tuple[str, ...]:
        behind = [longest(each) for each in sorted(graph.find_modules_directly_imported_by(module))]
        return (module, *max(behind, key=len, default=()))

    chain = max(map(longest, sorted(graph.modules)), key=len)
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)


def test_no_module_is_longer_than_400_lines(project: Path) -> None:
    lines = {path: len(path.read_text().splitlines()) for path in (project / "vlmnb").rglob("*.py")}
    assert [str(path) for path, count in lines.items() if count > MOST_LINES] == []


def test_few_modules_lie_at_the_top(project: Path) -> None:
    assert len(list((project / "vlmnb").glob("*.py"))) <= MOST_AT_THE_TOP


def test_every_folder_says_what_it_holds(project: Path) -> None:
    folders = (project / "vlmnb").rglob("__init__.py")
    assert [str(f.parent) for f in folders if not ast.get_docstring(ast.parse(f.read_text()))] == []


def test_a_wheel_holds_every_module_and_data_file(project: Path) -> None:
    settings = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = setuptools.find_packages(str(project), include=settings["packages"]["find"]["include"])
    folders = [project / name.replace(".", "/") for name in packages]
    packed = {file for folder in folders for file in folder.glob("*.py")}
    for name, patterns in settings["package-data"].items():
        packed |= {file for pattern in patterns for file in (project / name.replace(".", "/")).glob(pattern)}
    files = {file for file in (project / "vlmnb").rglob("*.*") if "__pycache__" not in file.parts}
    assert files - packed == set()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["models"], ["sweep", "sweeps/quickstart.yaml", "--dry-run"], ["fit", "fuyu-8b"]],
)
def test_the_command_line_answers_without_torch(arguments: list[str], project: Path) -> None:
    assert loaded.by_command(*arguments, cwd=project) == set()


def test_status_answers_at_once(project: Path) -> None:
    assert loaded.by_command("status", cwd=project, among={*loaded.HEAVY, "numpy", "rich.console"}) == set()


def test_an_export_loads_only_what_a_table_needs(tmp_path: Path, project: Path) -> None:
    (tmp_path / "results").mkdir()
    arguments = ("export", "--results", str(tmp_path / "results"), "-o", str(tmp_path / "table.csv"))
    among = {*loaded.HEAVY, "pandas", "pyarrow", "vlmnb.data.catalogue"}
    assert loaded.by_command(*arguments, cwd=project, among=among) == set()


def test_the_check_finds_what_is_loaded(project: Path) -> None:
    assert loaded.by_code("import pandas", cwd=project) == {"pandas"}
