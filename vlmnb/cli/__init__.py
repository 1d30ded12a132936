"""The command ``vlmnb``: options, help and exit codes; the work of larger commands is in ``*_command.py``.

May import every folder, but imports lazily, so that each command starts fast; torch is never imported here.
Start with `main`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vlmnb.errors import UserError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def _about() -> None:
    """Measure what vision-language models cost to run, and read what was measured.

    A sweep file lists models and questions. `vlmnb sweep` measures what it asks for: each result is one JSON
    file (a record) in results/, each question one executed notebook in runs/. `vlmnb book` builds pages from
    both. A sweep that was stopped or killed continues with the same command; nothing is measured twice.

    \b
    vlmnb sweep sweeps/quickstart.yaml --dry-run    what would be measured
    vlmnb sweep sweeps/quickstart.yaml              measure it
    vlmnb status                                    how far it is, from another terminal
    vlmnb book                                      build _build/html/index.html
    vlmnb export -o all.csv                         one table row per record
    vlmnb fit llava-1.5-7b --vram 24                does the model fit that much GPU memory?
    """


def _from_here(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    """Resolve a folder from the command line against the working folder; the default is the project's."""
    from vlmnb import paths

    source = context.get_parameter_source(str(parameter.name))
    return value if source is None or source.name == "DEFAULT" else paths.from_here(value)


def _folder(what: str, default: str) -> Any:
    return typer.Option(
        help=what, metavar="DIR", callback=_from_here, show_default=f"{default}, in the project's folder"
    )


ResultsOption = Annotated[Path, _folder("Folder of the records.", "results")]
RunsOption = Annotated[Path, _folder("Folder of the executed notebooks.", "runs")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SpecArgument = Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/quickstart.yaml.")]
RESULTS, RUNS = Path("results"), Path("runs")
QUICKSTART = Path("sweeps/quickstart.yaml")


def main() -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2, Ctrl-C one line and 130."""
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
    dry_run: Annotated[bool, typer.Option(help="List the cells, measure nothing.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Execute only this run, such as fuyu-tiny/device; repeatable.", metavar="RUN"),
    ] = None,
    stale: Annotated[
        bool, typer.Option(help="Also measure stale cells again: those of other code, packages or settings.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option(help="Also measure failed and out-of-memory cells again.")
    ] = False,
    on: Annotated[
        str, typer.Option(help="local, or ray: the Ray cluster that this machine is part of.")
    ] = "local",
    hardware: Annotated[
        str, typer.Option(help="With --on ray: measure on machines of this kind only.", metavar="SLUG")
    ] = "",
    slurm: Annotated[
        bool, typer.Option(help="Print a SLURM array script for what is missing, measure nothing.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch; 0: one per physical core.")] = 0,
    cell_limit: Annotated[float, typer.Option(help="Seconds a cell may take.")] = 2 * 3600,
    run_limit: Annotated[float, typer.Option(help="Seconds a notebook may take.")] = 12 * 3600,
    as_json: JsonOption = False,
) -> None:
    """Measure the missing cells of a sweep file and make its pages.

    A run is one notebook for one model; a cell is one point of its tables. Each cell is written as soon as it
    is measured, so a sweep can be stopped or killed at any time: the same command continues it. Runs on
    different GPUs go on side by side; a run on the CPU has the machine to itself, and sweeps of several users
    take turns. A cell whose Jupyter kernel dies twice, or that exceeds its limit, is recorded as failed and
    the rest goes on. The error of a failed run is kept in runs/failures/.

    A sweep file names a title, the models, and under axes each notebook with its parameters, such as
    "batch_size: {batch_sizes: [1, 4]}" or "{}". "parameters" apply to every notebook that has them,
    "overrides" to single models, such as "fuyu-tiny: {samples: 32}"; the parameters under an axis win. The
    file is searched in the working folder, then in the project's folder.

    A run replaces the page of the same model and notebook; use --runs DIR to keep your pages apart.

    \b
    Examples:
      vlmnb sweep sweeps/quickstart.yaml
      vlmnb sweep sweeps/full.yaml --only llava-tiny/layers
      vlmnb sweep sweeps/full.yaml --stale --results elsewhere
      vlmnb sweep sweeps/h200.yaml --slurm | sbatch
      vlmnb sweep sweeps/reports.yaml --on ray

    Exit code 0: success; 1: a run or a cell failed; 2: the sweep file or an option is wrong, or a needed
    package is missing; 3: the disk, the start of a Jupyter kernel, or a node failed; 130: stopped.
    """
    from vlmnb.cli import sweep_command
    from vlmnb.sweep import inventory, options
    from vlmnb.sweep.execute import Limits

    if on not in ("local", "ray"):
        raise UserError(f"--on takes local or ray, got {on!r}")
    asked = options.Asked(
        spec=spec, results=results, runs=runs, only=tuple(only or ()),
        remeasure=inventory.Remeasure(stale=stale, retry_failed=retry_failed),
        on=on, hardware=hardware, threads=threads, limits=Limits(run_s=run_limit, cell_s=cell_limit),
        as_json=as_json,
    )  # fmt: skip
    options.require_options(asked, slurm=slurm, dry_run=dry_run)
    if slurm:
        from vlmnb.sweep import slurm as array

        print(array.script(asked), end="")
    elif dry_run:
        sweep_command.show(asked, cells=True)
    else:
        raise typer.Exit(sweep_command.run(asked))


@app.command()
def status(
    spec: Annotated[
        Path | None,
        typer.Argument(help="A sweep file. Default: the sweep at work here, or the last one."),
    ] = None,
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Show how far a sweep is, also one in another terminal.

    Lists recorded, missing and failed cells, pages, what is being measured, and the time left.

    A record's key is a hash of its cell, weights, data, measuring code, package versions and machine. A stale
    cell has a record of this machine under another key, so one of these has changed; pages show and mark it.
    A damaged file should be a record but is not valid; it is ignored, and the next sweep measures its cell
    again and keeps the file as KEY.damaged.

    \b
    Examples:
      vlmnb status
      vlmnb status sweeps/full.yaml --json
    """
    from vlmnb import paths
    from vlmnb.cli import sweep_command
    from vlmnb.sweep import heartbeat, options

    threads = heartbeat.assume_threads(paths.resolve(results))
    latest = None if spec else sweep_command.latest_spec(results)
    asked = options.Asked(spec=spec or latest or QUICKSTART, results=results, runs=runs, as_json=as_json)
    if not spec and not as_json:
        why = "the latest sweep here is" if latest else "none is on record here; this is"
        print(f"No sweep file named: {why} {options.named(asked.spec)}\n")
    if threads and not as_json:
        print(f"{threads}\n")
    sweep_command.show(asked, cells=False)


@app.command()
def book(
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    output: Annotated[Path, _folder("Folder of the built book.", "_build")] = Path("_build"),
) -> None:
    """Build the book of all results; open DIR/html/index.html.

    A book that is up to date is not built again. With --runs and --output you can build a book of a sweep of
    your own.
    """
    from vlmnb import paths
    from vlmnb.book import build as publishing
    from vlmnb.sweep import heartbeat

    heartbeat.assume_threads(paths.resolve(results))
    print("Building the book; this takes a minute if something has changed.", flush=True)
    index = publishing.build(paths.resolve(results), paths.resolve(runs), paths.resolve(output), say=print)
    print(f"The book is built. Open {index.resolve().as_uri()}")


@app.command()
def export(
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.", metavar="FILE")],
    file_format: Annotated[
        str, typer.Option("--format", help="csv, json, parquet, or codecarbon (its emissions.csv).")
    ] = "csv",
    results: ResultsOption = RESULTS,
) -> None:
    """Write a table with one row per record.

    Units are in the column names: latency_s is per batch, energy_j_per_sample per sample. Stale records are
    included; the column code shows which code measured them. results/.index.sqlite only makes this fast: you
    can delete it, the next command rebuilds it.

    \b
    Examples:
      vlmnb export -o all.csv
      vlmnb export --format parquet -o all.parquet
    """
    from vlmnb import paths
    from vlmnb.records.export import FORMATS, export_records

    if file_format not in FORMATS:
        raise UserError(f"unknown format {file_format!r}; known: {', '.join(FORMATS)}")
    rows, problems = export_records(paths.resolve(results), output, file_format)
    for problem in problems:
        print(f"vlmnb: left out: {problem}", file=sys.stderr)
    print(f"{rows} records written to {output}")


@app.command()
def reports(results: ResultsOption = RESULTS) -> None:
    """Write the transcribed reports' figures as records (source: reports)."""
    from vlmnb import paths
    from vlmnb.records import report_transcripts

    written = report_transcripts.write(paths.resolve(results))
    print(f"{len(written)} records written to {paths.resolve(results) / 'reports'}")


@app.command()
def audit(
    source: Annotated[str, typer.Option(help="measured or reports. Default: both.")] = "",
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Check every record against rules that must hold.

    The figures of the reports contain errors; --source measured checks your own records alone.

    Exit code 0: no finding of level error; 1: at least one in the chosen sources; 2: an option is wrong or
    nothing can be read.
    """
    from vlmnb import paths
    from vlmnb.cli import audit_command

    raise typer.Exit(audit_command.run(paths.resolve(results), source, as_json=as_json))


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models: name, family, source of the weights, summary."""
    from vlmnb import models as registry

    entries = registry.registry().values()
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1))
        return
    for entry in entries:
        where = "bundled" if entry.bundled else entry.source
        print(f"{entry.name:18} {entry.family:12} {where:28} {entry.summary}")


@app.command()
def flops(
    model: Annotated[str, typer.Argument(help="A name from `vlmnb models`.", metavar="MODEL")],
    text_tokens: Annotated[int, typer.Option(min=1, help="Text tokens of a prompt.", metavar="N")] = 200,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of the image in pixels. Default: the model's own.", metavar="S"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts in the batch.", metavar="B")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Compute the FLOPs of a model, by formula and by counting. Needs neither weights nor a GPU.

    \b
    Examples:
      vlmnb flops llava-1.5-7b --text-tokens 50 --batch-size 4
    """
    from vlmnb.cli import flops_command
    from vlmnb.flops import estimate

    found = estimate.estimate(model, text_tokens, image_size, batch_size)
    if as_json:
        print(json.dumps(estimate.document(found), indent=1))
    else:
        flops_command.show(found)


@app.command()
def fit(
    model: Annotated[str, typer.Argument(help="A name from `vlmnb models`.", metavar="MODEL")],
    quantization: Annotated[str, typer.Option(help="fp16, int8, Q8_0, Q6_K, Q4_K_M or nf4.")] = "fp16",
    batch_size: Annotated[int, typer.Option(help="Samples processed together.")] = 1,
    image_size: Annotated[int, typer.Option(help="Side in pixels; 0: the model's base size.")] = 0,
    text_tokens: Annotated[int, typer.Option(help="Text tokens of a prompt; 0: the model's base.")] = 0,
    new_tokens: Annotated[int, typer.Option(help="Tokens of an answer; 0: the model's own limit.")] = 0,
    gpu: Annotated[str | None, typer.Option(help="Only this GPU of data/gpus.csv.", metavar="NAME")] = None,
    vram: Annotated[
        float | None, typer.Option(help="Check whether the model fits this much GPU memory.", metavar="GIB")
    ] = None,
    max_price: Annotated[
        float | None, typer.Option(help="Only GPUs up to this price.", metavar="USD")
    ] = None,
    max_power: Annotated[
        float | None, typer.Option(help="Only GPUs up to this power limit.", metavar="W")
    ] = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Show which GPUs a model fits, and how fast it is there.

    Predictions use your own records where there are any.

    \b
    Examples:
      vlmnb fit llava-1.5-7b --quantization Q4_K_M
      vlmnb fit qwen2.5-vl-3b --vram 12 --batch-size 4
      vlmnb fit fuyu-8b --max-price 2000 --max-power 350
    """
    from vlmnb import paths
    from vlmnb.cli import fit_command

    folder = paths.resolve(results)
    if results != RESULTS and not folder.is_dir():
        raise UserError(f"no folder {folder}; leave --results out to do without records of your own")
    fit_command.run(
        model, quantization, folder, batch_size=batch_size, image_size=image_size,
        text_tokens=text_tokens, new_tokens=new_tokens, gpu=gpu, vram=vram, max_price=max_price,
        max_power=max_power, as_json=as_json,
    )  # fmt: skip
