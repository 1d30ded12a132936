"""The commands ``sweep`` and ``status``, from what was asked for to the exit code."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.files.temporary import remove_left
from vlmnb.records import store
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Run
from vlmnb.stats import formatting
from vlmnb.sweep import inventory, options, preflight, progress, scheduler, status, supervisor
from vlmnb.sweep.execute import Outcome, Setting
from vlmnb.sweep.inventory import Job

OK, FAILED, BAD_INPUT, INFRASTRUCTURE, INTERRUPTED = 0, 1, 2, 3, 130


@store.uncollected()
def show(asked: options.Asked, *, cells: bool) -> None:
    """Print what is there and what is missing; measures nothing and writes nothing.

    Args:
        asked: What was asked for.
        cells: Name every cell that is to be measured, as a sweep would: what that refuses is refused.

    Raises:
        UserError: What was asked for cannot be.
    """
    runs, setting = options.planned(asked)
    jobs, left_out = inventory.look(runs, setting.results, setting.runs)
    if cells and asked.on == "local":
        _require_packages(jobs, asked)
    standings = [] if cells else progress.standings(setting.results)
    nowhere = "" if setting.results.is_dir() else f"There is no folder {setting.results} yet."
    if asked.as_json:
        told = status.report(jobs, standings, wish=asked.wish, left_out=left_out)
        print(json.dumps({"spec": options.named(asked.spec), **told}, indent=1))
        return
    said = status.lines(jobs, standings, cells=cells, wish=asked.wish, left_out=left_out)
    for line in [nowhere, ""] * bool(nowhere) + said:
        print(line)


def latest_spec(results: Path) -> Path | None:
    """The sweep file of the sweep that is at work, or was last; None where no sweep has written here."""
    said = [standing.spec for standing, _ in progress.standings(paths.resolve(results))]
    with contextlib.suppress(UserError):
        return options.spec_path(Path(said[-1])) if said else None
    return None


def run(asked: options.Asked) -> int:
    """Execute a sweep.

    Returns:
        The exit code: 0 all is well, 1 a run or a cell failed, 3 something failed by no fault of the
        notebooks, 130 stopped.

    Raises:
        UserError: What was asked for cannot be; nothing has been changed.
    """
    runs, setting = options.planned(asked)
    if asked.on == "local":
        _require_packages(inventory.jobs(runs, setting.results, setting.runs), asked)
    require_writable(setting.results, setting.runs)
    supervisor.end_marked()
    remove_left()
    if asked.on == "ray":
        from vlmnb.sweep.ray import cluster

        launcher: Any = cluster.Cluster(asked.hardware, setting)
        setting = launcher.setting
        runs = inventory.only(inventory.load(options.spec_path(asked.spec)), asked.only)
    else:
        launcher = contextlib.nullcontext(scheduler.local)
    console = Console(stderr=asked.as_json, soft_wrap=True)
    with _terminated_is_interrupted(), launcher as execute:
        jobs = inventory.jobs(runs, setting.results, setting.runs)
        wanted = {cell.path: cell for job in jobs for cell in job.wanted(**asked.wish.model_dump())}
        _require_clock(asked, jobs)
        shown = progress.Progress(
            jobs, list(wanted.values()), console,
            results=setting.results, spec=options.named(asked.spec), command=asked.command,
        )  # fmt: skip
        for line in status.kept(wanted.values()):
            shown.tell(line)
        sweep = scheduler.Sweep(setting, asked.wish, shown)
        try:
            with shown:
                outcomes = execute(sweep, [job for job in jobs if sweep.needs(job)])
        except KeyboardInterrupt:
            done = f"stopped after {shown.done} of {shown.total} cells"
            print(f"\nvlmnb: {done}; continue with: {asked.command}", file=sys.stderr)
            return INTERRUPTED
        except OSError as error:
            print(f"vlmnb: {scheduler.said(error)}; continue with: {asked.command}", file=sys.stderr)
            return INFRASTRUCTURE
    return _tell(asked, runs, setting, shown, outcomes, console)


def _tell(
    asked: options.Asked, runs: Sequence[Run], setting: Setting, shown: progress.Progress,
    outcomes: Sequence[Outcome], console: Console,
) -> int:  # fmt: skip
    jobs = inventory.jobs(runs, setting.results, setting.runs)
    states = status.distinct(jobs)
    failed_runs = [outcome for outcome in outcomes if outcome.kind != "ok"]
    failed_cells = status.failed(states)
    damaged_cells = status.damaged(states)  # of a run that failed before it came to them
    stale = sum(state.state == "stale" for state in states)
    if asked.as_json:
        report = {
            "cells": len(states),
            "measured": shown.measured,
            "without_number": shown.without_number,
            "stale": stale,
            "runs_executed": len(outcomes),
            "failed_runs": {outcome.run.name: outcome.error for outcome in failed_runs},
            "failed_cells": failed_cells,
        }
        print(json.dumps(report, indent=1))
    else:
        executed = len(outcomes) - len(failed_runs)
        without = f" ({shown.without_number} of them without a number)" if shown.without_number else ""
        summary = (
            f"{formatting.counted(len(states), 'cell')}, {shown.measured} recorded now{without}, "
            f"{formatting.counted(executed, 'notebook')} executed"
        )
        console.print(summary, markup=False, highlight=False)
        for outcome in failed_runs:
            console.print(f"failed: {outcome.run.name}: {outcome.error}", markup=False, highlight=False)
        for line in failed_cells:
            console.print(f"failed cell: {line}", markup=False, highlight=False)
        for line in damaged_cells:
            console.print(f"damaged record: {line}", markup=False, highlight=False)
        if stale and not asked.stale:
            line = f"{stale} stale cells were not measured again; do so with: {asked.command} --stale"
            console.print(line, markup=False, highlight=False)
    if any(outcome.kind in scheduler.INCOMPLETE for outcome in failed_runs):
        print(f"vlmnb: the sweep is not complete; continue with: {asked.command}", file=sys.stderr)
        return INFRASTRUCTURE
    return FAILED if failed_runs or failed_cells or damaged_cells else OK


def require_writable(*folders: Path) -> None:
    """Make folders where they are missing, and try to write to them.

    Raises:
        UserError: A folder cannot be made or written to.
    """
    made: list[Path] = []
    try:
        for folder in folders:
            made += [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(prefix=".writable", dir=folder):  # a name of its own: others try too
                pass
    except OSError as error:
        for each in made:
            with contextlib.suppress(OSError):  # what others have put something into stays
                each.rmdir()
        if isinstance(error, FileExistsError):
            raise UserError(f"{folder} is a file; name a folder") from None
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None


def _require_packages(jobs: Sequence[Job], asked: options.Asked) -> None:
    """Look for the packages that the cells to be measured on this machine need, before anything is begun.

    Raises:
        UserError: A package is not installed.
    """
    for cell in dict.fromkeys(state.cell for job in jobs for state in job.wanted(**asked.wish.model_dump())):
        if preflight.verdict(cell) is None:
            optimizations.require(cell.optimization, cell.dtype)


def _require_clock(asked: options.Asked, jobs: Sequence[Job]) -> None:
    """Refuse to measure anew what a clock that went backwards would file as older than the stale record.

    Raises:
        UserError: A stale record is from the future.
    """
    if not asked.stale:
        return
    from datetime import UTC, datetime

    now = datetime.now(UTC).isoformat(timespec="seconds")
    for state in (state for job in jobs for state in job.cells if state.state == "stale"):
        if state.started_at > now:
            raise UserError(
                f"this machine's clock says {now}, but a record to be replaced was measured at "
                f"{state.started_at}; set the clock, or delete {state.answer}"
            )


@contextlib.contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """A polite kill (SIGTERM, as schedulers send it) stops a sweep as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
