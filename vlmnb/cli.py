"""The command line. Heavy imports wait until a command needs them; torch is never imported here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vlmnb.errors import UserError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="What vision-language models cost to run: measure, and read what was measured.",
)  # fmt: skip

ResultsOption = Annotated[Path, typer.Option(help="Folder of the records.", metavar="DIR")]
RunsOption = Annotated[Path, typer.Option(help="Folder of the executed notebooks.", metavar="DIR")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
SpecArgument = Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/quickstart.yaml.")]
RESULTS, RUNS = Path("results"), Path("runs")
QUICKSTART = Path("sweeps/quickstart.yaml")


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2, Ctrl-C one line and 130."""
    try:
        app()
    except UserError as error:
        print(f"vlmnb: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nvlmnb: stopped; the same command continues where it stopped", file=sys.stderr)
        raise SystemExit(130) from None


@app.command()
def sweep(
    spec: SpecArgument,
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    dry_run: Annotated[bool, typer.Option(help="List the cells and measure nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what a sweep asks for and is not recorded yet; execute its notebooks.

    Exit code 0: all is well; 1: a run or a cell failed; 2: the sweep file is wrong.
    """
    from rich.console import Console

    from vlmnb import launch
    from vlmnb.progress import SweepProgress

    todo, folder, pages = _jobs(spec, results, runs)
    if dry_run:
        _print_status(todo, pages, as_json, cells=True)
        return
    console = Console(stderr=as_json, soft_wrap=True)
    with SweepProgress(todo, console) as progress:
        before = progress.done
        outcomes = launch.sweep(todo, folder, pages, on_progress=progress)
        measured, total = progress.done - before, progress.total
    failed_runs = [outcome for outcome in outcomes if outcome.error]
    failed_cells = _failed_cells(todo)
    if as_json:
        report = {
            "cells": total,
            "measured": measured,
            "runs_executed": len(outcomes),
            "failed_runs": {outcome.run.name: outcome.error for outcome in failed_runs},
            "failed_cells": failed_cells,
        }
        print(json.dumps(report, indent=1))
    else:
        summary = f"{total} cells, {measured} measured now, {len(outcomes)} notebooks executed"
        console.print(summary, markup=False)
        for outcome in failed_runs:
            console.print(f"failed: {outcome.run.name}: {outcome.error}", markup=False)
        for line in failed_cells:
            console.print(f"failed cell: {line}", markup=False)
    if failed_runs or failed_cells:
        raise typer.Exit(1)


@app.command()
def status(
    spec: SpecArgument = QUICKSTART,
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Show how far a sweep is: cells recorded and missing, pages made and failed."""
    todo, _, pages = _jobs(spec, results, runs)
    _print_status(todo, pages, as_json, cells=False)


@app.command()
def book(
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    output: Annotated[Path, typer.Option(help="Folder of the built book.", metavar="DIR")] = Path("_build"),
) -> None:
    """Build the book from the records and the executed notebooks."""
    from vlmnb import book as publishing
    from vlmnb import paths

    print("Building the book; this takes a minute when something has changed.", flush=True)
    index = publishing.build(paths.resolve(results), paths.resolve(runs), paths.resolve(output))
    print(f"The book is built. Open {index.resolve().as_uri()}")


@app.command()
def export(
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.", metavar="FILE")],
    file_format: Annotated[str, typer.Option("--format", help="csv, json or parquet.")] = "csv",
    results: ResultsOption = RESULTS,
) -> None:
    """Write one row per record."""
    from vlmnb import paths
    from vlmnb.exporting import FORMATS, export_records

    if file_format not in FORMATS:
        raise UserError(f"unknown format {file_format!r}; known: {', '.join(FORMATS)}")
    rows, problems = export_records(paths.resolve(results), output, file_format)
    for problem in problems:
        print(f"vlmnb: left out: {problem}", file=sys.stderr)
    print(f"{rows} records written to {output}")


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models."""
    from vlmnb import models as registry

    entries = registry.registry().values()
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1))
        return
    for entry in entries:
        where = "bundled" if entry.bundled else entry.source
        print(f"{entry.name:18} {entry.family:12} {where:10} {entry.summary}")


def _jobs(spec: Path, results: Path, runs: Path) -> tuple[list[Any], Path, Path]:
    from vlmnb import launch, paths
    from vlmnb.spec import load_sweep

    path = spec if spec.exists() or spec.is_absolute() else paths.resolve(spec)
    folder = paths.resolve(results)
    try:
        return launch.jobs(load_sweep(path), folder), folder, paths.resolve(runs)
    except UserError as error:
        message = str(error)
        raise UserError(message if str(path) in message else f"{path}: {message}") from None


def _print_status(jobs: list[Any], runs: Path, as_json: bool, *, cells: bool) -> None:
    from vlmnb import paths
    from vlmnb.progress import words

    report = []
    for job in jobs:
        failed = paths.failure(runs, job.run.model, job.run.axis).exists()
        page = "failed" if failed else "current" if job.page_is_current(runs) else "missing"
        report.append(
            {
                "run": job.run.name,
                "cells": len(job.cells),
                "recorded": len(job.cells) - len(job.missing()),
                "page": page,
                "missing": [words(state.cell) for state in job.missing()],
            }
        )
    distinct = {state.path: state for job in jobs for state in job.cells}
    recorded = sum(state.recorded for state in distinct.values())
    if as_json:
        total = {"cells": len(distinct), "recorded": recorded, "missing": len(distinct) - recorded}
        print(json.dumps({**total, "runs": report}, indent=1))
        return
    for line in report:
        print(f"{line['run']:32} {line['recorded']:3}/{line['cells']:<3} cells  page {line['page']}")
        for missing in line["missing"] if cells else []:
            print(f"    to measure: {missing}")
    shared = sum(len(job.cells) for job in jobs) - len(distinct)
    print(
        f"{len(distinct)} cells ({shared} shared between tables): {recorded} recorded, "
        f"{len(distinct) - recorded} to measure"
    )


def _failed_cells(jobs: list[Any]) -> list[str]:
    """Cells of a sweep whose record says ``failed``."""
    from vlmnb import record
    from vlmnb.progress import words

    lines = []
    for path, state in {state.path: state for job in jobs for state in job.cells}.items():
        try:
            found = record.read(path) if path.exists() else None
        except ValueError as error:
            lines.append(str(error))
            continue
        if found is not None and found.status == "failed":
            lines.append(f"{state.cell.model}, {words(state.cell)}: {found.reason}")
    return lines
