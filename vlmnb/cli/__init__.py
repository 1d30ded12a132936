"""The command ``vlmnb``: options, help and exit codes; the work of larger commands is in ``*_command.py``.

Imports the folders above it in ARCHITECTURE.md, except measure and experiment, and within functions, so that
each command starts fast. Read `main` first. The long help of a command is in ``templates/``.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from vlmnb.device import slots
from vlmnb.errors import UserError


def _help(name: str, summary: str | None) -> str:
    r"""Return a help text: a summary, then a text of ``templates/`` with ``\b`` above lines not to wrap."""
    text = (Path(__file__).parent / "templates" / f"{name}.txt").read_text(encoding="utf-8")
    return f"{summary}\n\n{text}".replace(r"\b", "\b")


app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help=_help("vlmnb", "Measure what vision-language models cost to run, and read what was measured."),
)  # fmt: skip


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose help is its docstring and the text of its name."""
    return app.command(help=_help(function.__name__, function.__doc__))(function)


def _from_here(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    """Resolve a folder from the command line against the working folder; the default is the project's."""
    from vlmnb import paths

    source = context.get_parameter_source(str(parameter.name))
    return value if source is None or source.name == "DEFAULT" else paths.from_here(value)


def _folder(what: str, default: str) -> Any:
    shown = f"{default}, in the project's folder"
    return Option(help=what, metavar="DIR", callback=_from_here, show_default=shown)


ResultsOption = Annotated[Path, _folder("Folder of the records.", "results")]
RunsOption = Annotated[Path, _folder("Folder of the executed notebooks.", "runs")]
JsonOption = Annotated[bool, Option("--json", help="Print JSON, for programs.")]
ModelArgument = Annotated[
    str, Argument(help="A name from `vlmnb models`, OWNER/NAME on the Hub, or a folder.", metavar="MODEL")
]
RESULTS, RUNS = Path("results"), Path("runs")
QUICKSTART = Path("sweeps/quickstart.yaml")


def main() -> None:
    """Run a command; a user's mistake is one line and exit code 2, a disk that fails 3, Ctrl-C 130."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8
    slots.spin_briefly()  # before anything imports torch: what records are compared with is how notebooks run
    try:
        app()
    except UserError as error:
        print(f"vlmnb: {error}{_outside()}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if not error.filename:
            raise
        print(f"vlmnb: {error.filename}: {error.strerror}{_outside()}", file=sys.stderr)
        raise SystemExit(3) from None
    except KeyboardInterrupt:
        print("\nvlmnb: stopped; the same command continues where it stopped", file=sys.stderr)
        raise SystemExit(130) from None


def _outside() -> str:
    """Say that a package installed by itself needs a checkout; empty if it has one."""
    from vlmnb import paths

    root = paths.root()
    known = paths.notebook("").parent.is_dir()
    return "" if known else f"; {root} is not a checkout of the project: set VLMNB_ROOT to one"


@_command
def sweep(
    specs: Annotated[
        list[Path], Argument(help="Sweep files, such as sweeps/quickstart.yaml.", metavar="SPEC...")
    ],
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    dry_run: Annotated[bool, Option(help="List the cells, measure nothing.")] = False,
    only: Annotated[
        list[str] | None,
        Option(help="Execute only this run, such as fuyu-tiny/device; repeatable.", metavar="RUN"),
    ] = None,
    stale: Annotated[
        bool, Option(help="Also measure stale cells again: those of other code, packages or settings.")
    ] = False,
    retry_failed: Annotated[
        bool, Option(help="Also measure failed, out-of-memory and unsupported cells again.")
    ] = False,
    on: Annotated[str, Option(help="local, or ray: the Ray cluster that this machine is part of.")] = "local",
    hardware: Annotated[
        str, Option(help="With --on ray: measure on machines of this kind only.", metavar="SLUG")
    ] = "",
    slurm: Annotated[
        bool, Option(help="Print a SLURM array script for what is missing, measure nothing.")
    ] = False,
    threads: Annotated[int, Option(help="Threads of torch; 0: one per physical core.")] = 0,
    cell_limit: Annotated[float, Option(help="Seconds a cell may take.")] = 2 * 3600,
    run_limit: Annotated[float, Option(help="Seconds a notebook may take.")] = 12 * 3600,
    as_json: JsonOption = False,
) -> None:
    """Measure the missing cells of sweep files and make their pages."""
    from vlmnb.cli import sweep_command
    from vlmnb.sweep import inventory, options

    if on not in ("local", "ray"):
        raise UserError(f"--on takes local or ray, got {on!r}")
    asked = options.Asked(
        spec=specs[0], others=specs[1:], results=results, runs=runs, only=tuple(only or ()),
        remeasure=inventory.Remeasure(stale=stale, retry_failed=retry_failed),
        on=on, hardware=hardware, threads=threads, run_limit_s=run_limit, cell_limit_s=cell_limit,
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


@_command
def status(
    spec: Annotated[
        Path | None, Argument(help="A sweep file. Default: the sweeps at work here, or all that were.")
    ] = None,
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    profile: Annotated[bool, Option("--profile", help="Show where the notebooks' time went.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how far a sweep is, also one in another terminal."""
    from vlmnb import paths
    from vlmnb.cli import sweep_command
    from vlmnb.sweep import heartbeat, options

    if profile:
        from vlmnb.sweep import profile as profiles

        found = profiles.of(paths.resolve(results), paths.resolve(runs))
        print(found.model_dump_json(indent=1) if as_json else "\n".join(profiles.lines(found)))
        return
    threads = heartbeat.assume_threads(paths.resolve(results))
    here = () if spec else sweep_command.specs_here(results)
    first, *others = (spec,) if spec else here or (QUICKSTART,)
    asked = options.Asked(spec=first, others=others, results=results, runs=runs, as_json=as_json)
    if not spec and not as_json:
        why = "the sweeps here:" if here else "none is on record here; this is"
        print(f"No sweep file named: {why} {', '.join(map(options.named, (first, *others)))}\n")
    if threads and not as_json:
        print(f"{threads}\n")
    sweep_command.show(asked, cells=False)


@_command
def book(
    results: ResultsOption = RESULTS,
    runs: RunsOption = RUNS,
    output: Annotated[Path, _folder("Folder of the built book.", "_build")] = Path("_build"),
) -> None:
    """Build the book of all results; open DIR/html/index.html."""
    from vlmnb import paths
    from vlmnb.book import build as publishing
    from vlmnb.sweep import heartbeat

    for name, folder in (("results", results), ("runs", runs)):
        if folder.is_absolute() and not folder.is_dir():  # given on the command line
            raise UserError(f"--{name}: there is no folder {folder}")
    heartbeat.assume_threads(paths.resolve(results))
    print("Building the book; this takes a minute if something has changed.", flush=True)
    index = publishing.build(paths.resolve(results), paths.resolve(runs), paths.resolve(output), say=print)
    print(f"The book is built. Open {index.resolve().as_uri()}")


@_command
def export(
    output: Annotated[Path, Option("-o", "--output", help="File to write.", metavar="FILE")],
    file_format: Annotated[
        str,
        Option(
            "--format",
            help="csv, json, parquet, codecarbon (its emissions.csv), croissant or model-index. "
            "Default: by the file's ending, else csv.",
            show_default=False,
        ),
    ] = "",
    results: ResultsOption = RESULTS,
) -> None:
    """Write a table with one row per record."""
    from vlmnb import paths
    from vlmnb.records import export as exporting

    wanted = exporting.format_of(output, file_format)
    rows, problems = exporting.export_records(paths.resolve(results), output, wanted)
    for problem in problems:
        print(f"vlmnb: left out: {problem}", file=sys.stderr)
    print(f"{rows} records written to {output}")


@app.command()
def reports(results: ResultsOption = RESULTS) -> None:
    """Write the transcribed reports' figures as records (source: reports)."""
    from vlmnb import paths
    from vlmnb.records import report_transcripts

    number = report_transcripts.write(paths.resolve(results))
    print(f"{number} records are at {paths.resolve(results) / 'reports'}")


@_command
def audit(
    source: Annotated[str, Option(help="measured or reports. Default: both.")] = "",
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Check every record against rules that must hold."""
    from vlmnb import paths
    from vlmnb.cli import audit_command

    raise typer.Exit(audit_command.run(paths.resolve(results), source, as_json=as_json))


@_command
def models(
    model: Annotated[
        str, Argument(help="Describe this model: a name of the list, OWNER/NAME of the Hub, or ./FOLDER.")
    ] = "",
    every: Annotated[bool, Option("--all", help="Show which families of transformers were tried.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the models, or describe one: parameters, image tokens by size, memory. Loads no weights."""
    from vlmnb import models as registry

    if model and every:
        raise UserError("--all shows every family that was tried; leave out --all or the model's name")
    if model or every:
        from vlmnb.cli import models_command

        models_command.show(model, as_json=as_json) if model else models_command.show_all(as_json=as_json)
        return

    entries = registry.registry().values()
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1))
        return
    for entry in entries:
        where = "bundled" if entry.bundled else entry.source
        print(f"{entry.name:18} {entry.family:12} {where:28} {entry.summary}")


@_command
def flops(
    model: ModelArgument,
    text_tokens: Annotated[int, Option(min=1, help="Text tokens of a prompt.", metavar="N")] = 200,
    image_size: Annotated[
        int | None, Option(min=1, help="Side of the image in pixels. Default: the model's own.", metavar="S")
    ] = None,
    batch_size: Annotated[int, Option(min=1, help="Prompts in the batch.", metavar="B")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Compute the FLOPs of a model, by formula and by counting. Needs neither weights nor a GPU."""
    from vlmnb.cli import flops_command
    from vlmnb.flops import estimate

    found = estimate.estimate(model, text_tokens, image_size, batch_size)
    if as_json:
        print(json.dumps(estimate.document(found), indent=1))
    else:
        flops_command.show(found)


@_command
def fit(
    model: ModelArgument,
    quantization: Annotated[str, Option(help="fp16, int8, Q8_0, Q6_K, Q4_K_M or nf4.")] = "fp16",
    batch_size: Annotated[int, Option(help="Samples processed together.")] = 1,
    image_size: Annotated[int, Option(help="Side in pixels; 0: the model's base size.")] = 0,
    text_tokens: Annotated[int, Option(help="Text tokens of a prompt; 0: the model's base.")] = 0,
    new_tokens: Annotated[int, Option(help="Tokens of an answer; 0: the model's own limit.")] = 0,
    context: Annotated[int, Option(help="Tokens the KV cache has room for; 0: prompt and answer.")] = 0,
    attention: Annotated[str, Option(help="What transformers computes it with: sdpa or eager.")] = "sdpa",
    gpu: Annotated[str | None, Option(help="Only this GPU of data/gpus.csv.", metavar="NAME")] = None,
    vram: Annotated[
        float | None, Option(help="Check whether the model fits this much GPU memory.", metavar="GIB")
    ] = None,
    max_price: Annotated[float | None, Option(help="Only GPUs up to this price.", metavar="USD")] = None,
    max_power: Annotated[float | None, Option(help="Only GPUs up to this power limit.", metavar="W")] = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Show which GPUs a model fits, and how fast it is there."""
    from vlmnb import paths
    from vlmnb.cli import fit_command
    from vlmnb.fit import answer
    from vlmnb.fit.choice import Constraint

    folder = paths.resolve(results)
    if results != RESULTS and not folder.is_dir():
        raise UserError(f"no folder {folder}; leave --results out to do without records of your own")
    load = answer.load_of(
        model, batch_size=batch_size, image_size=image_size, text_tokens=text_tokens, new_tokens=new_tokens,
        context=context, attention=attention,
    )  # fmt: skip
    limits = Constraint(vram_gib=vram, price_usd=max_price, power_w=max_power)
    fit_command.run(model, quantization, load, limits, gpu, folder, as_json=as_json)
