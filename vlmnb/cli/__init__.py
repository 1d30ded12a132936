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


def _from_here(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    """A folder that was given counts from the working folder; the default is the project's."""
    from vlmnb import paths

    source = context.get_parameter_source(str(parameter.name))
    return value if source is None or source.name == "DEFAULT" else paths.from_here(value)


def _folder(what: str, default: str) -> Any:
    return typer.Option(
        help=what, metavar="DIR", callback=_from_here, show_default=f"{default}, the project's"
    )


ResultsOption = Annotated[Path, _folder("Folder of the records.", "results")]
RunsOption = Annotated[Path, _folder("Folder of the executed notebooks.", "runs")]
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
    only: Annotated[
        list[str] | None, typer.Option(help="Execute this run alone; may be given again.", metavar="RUN")
    ] = None,
    stale: Annotated[bool, typer.Option(help="Measure stale cells again.")] = False,
    retry_failed: Annotated[bool, typer.Option(help="Try failed and out-of-memory cells again.")] = False,
    on: Annotated[
        str, typer.Option(help="local, or ray: the Ray cluster this machine is part of.")
    ] = "local",
    hardware: Annotated[
        str, typer.Option(help="With --on ray: measure on these machines.", metavar="SLUG")
    ] = "",
    slurm: Annotated[bool, typer.Option(help="Print a SLURM array script over what is missing.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch; 0: one per physical core.")] = 0,
    cell_limit: Annotated[float, typer.Option(help="Seconds a cell may take.")] = 2 * 3600,
    run_limit: Annotated[float, typer.Option(help="Seconds a notebook may take.")] = 12 * 3600,
    as_json: JsonOption = False,
) -> None:
    """Measure what a sweep asks for and is not recorded yet; execute its notebooks.

    Exit code 0: all is well; 1: a run or a cell failed; 2: the sweep file or an option is wrong; 3: the
    disk, a kernel's start or a node failed; 130: stopped.
    """
    from vlmnb.cli import sweep_command
    from vlmnb.sweep import options
    from vlmnb.sweep.execute import Limits

    if on not in ("local", "ray"):
        raise UserError(f"--on takes local or ray, got {on!r}")
    asked = options.Asked(
        spec=spec, results=results, runs=runs, only=tuple(only or ()), stale=stale, retry_failed=retry_failed,
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
        Path | None, typer.Argument(help="A sweep file; left out: the sweep at work, or interrupted last.")
    ] = None,
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Show how far a sweep is, also one at work in another terminal: cells, failures, pages, time left."""
    from vlmnb import paths
    from vlmnb.cli import sweep_command
    from vlmnb.sweep import options, progress

    threads = progress.assume_threads(paths.resolve(results))
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
    """Build the book from the records and the executed notebooks."""
    from vlmnb import paths
    from vlmnb.book import build as publishing
    from vlmnb.sweep import progress

    progress.assume_threads(paths.resolve(results))
    print("Building the book; this takes a minute when something has changed.", flush=True)
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
    """Write one row per record."""
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
    """Write the records of what the transcribed reports say."""
    from vlmnb import paths
    from vlmnb.records import report_transcripts

    written = report_transcripts.write(paths.resolve(results))
    print(f"{len(written)} records written to {paths.resolve(results) / 'reports'}")


@app.command()
def audit(
    source: Annotated[str, typer.Option(help="measured or reports; left out: both.")] = "",
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Check every record against rules that must hold.

    Exit code 0: no finding of level error; 1: there is one, in the records of --source, or of either source
    where that is left out; 2: an option is wrong or nothing can be read. The figures of the reports have
    errors, so that --source measured alone tells whether yours have any.
    """
    from vlmnb import paths
    from vlmnb.cli import audit_command

    raise typer.Exit(audit_command.run(paths.resolve(results), source, as_json=as_json))


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
        print(f"{entry.name:18} {entry.family:12} {where:28} {entry.summary}")


@app.command()
def flops(
    model: Annotated[str, typer.Argument(help="A model of `vlmnb models`.", metavar="MODEL")],
    text_tokens: Annotated[int, typer.Option(min=1, help="Text tokens of a prompt.", metavar="N")] = 200,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of the image in pixels; default: the model's own.", metavar="S"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts in the batch.", metavar="B")] = 1,
    as_json: JsonOption = False,
) -> None:
    """FLOPs of a model's geometry, by formula and by counting; needs neither weights nor a GPU."""
    from vlmnb.flops import estimate

    found = estimate.estimate(model, text_tokens, image_size, batch_size)
    if as_json:
        print(json.dumps(estimate.document(found), indent=1))
    else:
        estimate.show(found)


@app.command()
def fit(
    model: Annotated[str, typer.Argument(help="A model of `vlmnb models`.", metavar="MODEL")],
    quantization: Annotated[str, typer.Option(help="fp16, int8, Q8_0, Q6_K, Q4_K_M or nf4.")] = "fp16",
    batch_size: Annotated[int, typer.Option(help="Samples at one time.")] = 1,
    image_size: Annotated[int, typer.Option(help="Side in pixels; 0: the model's base size.")] = 0,
    text_tokens: Annotated[int, typer.Option(help="Text prompt in tokens; 0: the base budget.")] = 0,
    new_tokens: Annotated[int, typer.Option(help="Tokens of an answer; 0: the model's own limit.")] = 0,
    gpu: Annotated[str | None, typer.Option(help="One GPU of data/gpus.csv.", metavar="NAME")] = None,
    vram: Annotated[
        float | None, typer.Option(help="Does it fit a memory of so many GiB?", metavar="GIB")
    ] = None,
    max_price: Annotated[float | None, typer.Option(help="Most that a GPU may cost.", metavar="USD")] = None,
    max_power: Annotated[
        float | None, typer.Option(help="Highest power limit of a GPU.", metavar="W")
    ] = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Tell which GPUs a model fits, and what it takes there."""
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
