"""The work of the commands ``sweep`` and ``status``, from their options to the exit code."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vlmnb import models, paths
from vlmnb.errors import UserError, with_name
from vlmnb.files import templates
from vlmnb.files.temporary import remove_left
from vlmnb.models import checkpoints, folders, named
from vlmnb.spec import optimizations
from vlmnb.stats.formatting import counted
from vlmnb.sweep import heartbeat, inventory, options, status
from vlmnb.sweep.inventory import Job, Remeasure

if TYPE_CHECKING:
    from rich.console import Console

    from vlmnb.sweep import warm
    from vlmnb.sweep.execute import ExecutionOptions, RunResult
    from vlmnb.sweep.progress import Progress

QUIET_S = 1.0
"""Seconds after a sweep in which the machine must be quiet for a second try of what was disturbed."""

OK, FAILED, INFRASTRUCTURE, INTERRUPTED = 0, 1, 3, 130


def show(asked: options.Asked, *, cells: bool) -> None:
    """Print what is recorded and what is missing. Measures nothing and writes nothing.

    With ``cells`` it names every cell that will be measured, and refuses what a sweep would refuse.
    """
    runs, execution = options.planned(asked)
    jobs, left_out, others = inventory.look(runs, execution.results, execution.runs, others=not cells)
    if cells and asked.on == "local":
        _require_models(jobs, asked)
        _require_packages(jobs, asked)
    sweeps = [] if cells else heartbeat.read_all(execution.results)
    if asked.as_json:
        found = status.report(jobs, sweeps, remeasure=asked.remeasure, left_out=left_out, others=others)
        print(json.dumps({"spec": options.named(asked.spec), **found}, indent=1))
        return
    if not execution.results.is_dir():
        print(f"There is no folder {execution.results} yet.\n")
    how: dict[str, Any] = {
        "cells": cells,
        "remeasure": asked.remeasure,
        "left_out": left_out,
        "others": others,
    }
    print(*status.lines(jobs, sweeps, **how), sep="\n")


def specs_here(results: Path) -> tuple[Path, ...]:
    """Return the sweep files of the sweeps at work here; if there are none, of all that have written here."""
    found = heartbeat.read_all(paths.resolve(results))
    specs: dict[str, Path] = {}
    for progress, alive in found:
        if alive or not found[-1][1]:  # those at work come last
            for spec in (progress.spec, *progress.others):
                with contextlib.suppress(UserError):
                    specs[spec] = options.spec_path(Path(spec))
    return tuple(specs.values())


def run(asked: options.Asked) -> int:
    """Execute a sweep.

    Returns:
        The exit code: 1 if a run or a cell failed, 3 after a failure that is not the notebooks' fault.
    """
    from rich.console import Console

    from vlmnb.sweep import local, scheduler, supervisor, warm

    runs, execution = options.planned(asked)
    jobs = inventory.jobs(runs, execution.results, execution.runs)
    if asked.on == "local":
        _require_models(jobs, asked)
        _require_packages(jobs, asked)
    require_writable(execution.results, execution.runs)
    supervisor.end_marked()
    remove_left()
    launcher: Any = contextlib.nullcontext(local.local)
    if asked.on == "ray":
        from vlmnb.sweep.ray import cluster

        launcher = cluster.Cluster(asked.hardware, execution)
        execution = launcher.options
        # Plans depend on the machine that measures, which is another one now.
        runs, _ = options.planned(asked)
        jobs = inventory.jobs(runs, execution.results, execution.runs)
    console = Console(stderr=asked.as_json, soft_wrap=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers send it; it stops as Ctrl-C does
    with launcher as execute, contextlib.closing(warm.Parents()) as parents:
        wanted = {cell.path: cell for job in jobs for cell in job.wanted(asked.remeasure)}
        if asked.remeasure.stale:
            _require_clock(jobs)
        progress = _progress(jobs, asked.remeasure, execution, console, asked)
        for line in status.kept(wanted.values()):
            progress.announce(line)
        sweep = scheduler.Sweep(execution, asked.remeasure, progress, parents)
        todo = [job for job in jobs if job.needs_work(asked.remeasure)]
        left: AbstractSet[Path] = set(wanted)
        results: list[RunResult] = []
        again = Again(execution, progress, console, asked, parents)
        try:
            here = asked.on == "local"
            if repeats := [job for job in todo if here and job.of_repeats and job.wanted(asked.remeasure)]:
                # Half of the A/A repeats minutes before the others; all before a page shows the noise floor.
                between = [j for j in todo if not (j.of_repeats or j.run.plan.axis.noise_floor)]
                with progress:
                    for stage in (again.early(repeats), between, repeats):
                        results = replaced(results, execute(sweep, stage))
                todo = [job for job in todo if job not in between and job not in repeats]
                results, left = again.without_load(again.now([*between, *repeats]), left, results, last=False)
            with progress:
                results = replaced(results, execute(sweep, todo))
            if here:
                results, _ = again.without_load(again.now(jobs), left, results)
                results = again.drawn(again.now(jobs), results)
        except KeyboardInterrupt:
            done = f"stopped after {progress.done} of {progress.total} cells"
            print(f"\nvlmnb: {done}; continue with: {asked.command}", file=sys.stderr)
            return INTERRUPTED
        except OSError as error:
            print(f"vlmnb: {with_name(error)}; continue with: {asked.command}", file=sys.stderr)
            return INFRASTRUCTURE
    return _report(asked, inventory.jobs(runs, execution.results, execution.runs), progress, results, console)


class Again(NamedTuple):
    """What a sweep on this machine does once its runs have ended: it executes some of them again."""

    execution: ExecutionOptions
    progress: Progress
    console: Console
    asked: options.Asked
    parents: warm.Parents | None = None

    def now(self, jobs: Sequence[Job]) -> list[Job]:
        """Return jobs as the records are now."""
        return inventory.jobs([job.run for job in jobs], self.execution.results, self.execution.runs)

    def early(self, repeats: Sequence[Job]) -> list[Job]:
        """Return jobs of the first half of A/A repeats, where there are any to measure."""
        runs = [early for job in repeats if (early := job.early).parameters["repeats"]]
        found = inventory.jobs(runs, self.execution.results, self.execution.runs)
        return [job for job in found if job.wanted(self.asked.remeasure)]

    def without_load(
        self, jobs: Sequence[Job], measured: AbstractSet[Path], results: list[RunResult], *, last: bool = True
    ) -> tuple[list[RunResult], AbstractSet[Path]]:
        """Measure once more, on a machine that is quiet now, what other processes disturbed in this sweep.

        Args:
            jobs: Those of which cells are measured again.
            measured: Files of the cells that this sweep measured once.
            last: Whether what cannot be measured again now will not be later either.

        Returns:
            The results of all runs, and the files of the cells that were not measured again.
        """
        from vlmnb.device import clock, load

        disturbed = inventory.disturbed(jobs, measured)
        if not disturbed or any(result.kind != "ok" for result in results):
            return results, measured
        now = load.BackgroundLoad()
        now.start()
        clock.sleep(QUIET_S)
        if load.is_high(now.share()):
            if last:
                self.progress.announce(
                    f"{counted(len(disturbed), 'cell')} measured while other processes used the machine (†), "
                    "which they still do; to measure them again, delete their records on a quiet machine"
                )
            return results, measured
        self.progress.announce(
            f"Second round: {counted(len(disturbed), 'cell')} measured again, because other processes used "
            "the machine the first time (†); the time starts at zero"
        )
        # All jobs: a page shows records of other runs, and those drawn before are drawn again.
        found = self._executed(jobs, Remeasure(disturbed=disturbed), results)
        return found, measured - {state.path for job in jobs for state in job.cells}

    def drawn(self, jobs: Sequence[Job], results: list[RunResult]) -> list[RunResult]:
        """Draw pages again that show records of runs that came after them."""
        made = {result.run.name for result in results if result.kind == "ok"}
        late = [job for job in jobs if job.run.name in made and job.page != "current" and not job.wanted()]
        if not late:
            return results
        self.console.print(
            f"{counted(len(late), 'page')} drawn again: records that they show came after them",
            markup=False, highlight=False,
        )  # fmt: skip
        return self._executed(late, inventory.NOTHING_AGAIN, results)

    def _executed(
        self, jobs: Sequence[Job], remeasure: Remeasure, results: Sequence[RunResult]
    ) -> list[RunResult]:
        """Execute jobs once more; return all results, the new ones in place of the old."""
        from vlmnb.sweep import local, scheduler

        progress = _progress(jobs, remeasure, self.execution, self.console, self.asked)
        with progress:
            again = local.local(scheduler.Sweep(self.execution, remeasure, progress, self.parents), jobs)
        return replaced(results, again)


def replaced(results: Sequence[RunResult], again: Sequence[RunResult]) -> list[RunResult]:
    """Return the results of all runs, of those executed again the later one."""
    names = {result.run.name for result in again}
    return [*(result for result in results if result.run.name not in names), *again]


def _progress(
    jobs: Sequence[Job], remeasure: Remeasure, execution: ExecutionOptions, console: Console,
    asked: options.Asked,
) -> Progress:  # fmt: skip
    """Return what shows how far the wanted cells of jobs are, each counted once."""
    from vlmnb.sweep.progress import Progress

    cells = {cell.path: cell for job in jobs for cell in job.wanted(remeasure)}
    return Progress(
        jobs, list(cells.values()), console,
        results=execution.results, spec=options.named(asked.spec),
        others=[options.named(other) for other in asked.others], command=asked.command,
    )  # fmt: skip


def _report(
    asked: options.Asked, jobs: Sequence[Job], progress: Progress, results: Sequence[RunResult],
    console: Console,
) -> int:  # fmt: skip
    """Print how a sweep ended and return its exit code."""
    found = status.report(jobs)
    failed_runs = {result.run.name: result.error for result in results if result.kind != "ok"}
    damaged_cells = found["damaged_cells"]  # of a run that failed before it came to them
    report = {
        "cells": found["cells"],
        "measured": progress.measured,
        "without_number": progress.without_number,
        "stale": found["stale"],
        "runs_executed": len(results),
        "failed_runs": failed_runs,
        "failed_cells": found["failed_cells"],
    }
    if asked.as_json:
        print(json.dumps(report, indent=1))
    else:
        text = templates.render(
            "vlmnb.cli", "sweep_ended.txt.j2", **report, asked=asked, damaged_cells=damaged_cells,
            counted=counted,
        )  # fmt: skip
        console.print(text, markup=False, highlight=False, end="")
    if any(result.kind in ("infrastructure", "stopped") for result in results):
        print(f"vlmnb: the sweep is not complete; continue with: {asked.command}", file=sys.stderr)
        return INFRASTRUCTURE
    return FAILED if failed_runs or found["failed_cells"] or damaged_cells else OK


def require_writable(*folders: Path) -> None:
    """Make missing folders, and try to write to all of them."""
    made: list[Path] = []
    try:
        for folder in folders:
            made += [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            # A name of its own, because other processes may try at the same time.
            with tempfile.TemporaryFile(prefix=".writable", dir=folder):
                pass
    except OSError as error:
        for each in made:
            with contextlib.suppress(OSError):  # a folder that others have used meanwhile stays
                each.rmdir()
        if isinstance(error, FileExistsError):
            raise UserError(f"{folder} is a file; name a folder") from None
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None


def _require_models(jobs: Sequence[Job], asked: options.Asked) -> None:
    """Check that models named by a repository or folder can be measured: their type, and what files are here.

    Raises:
        UserError: One cannot, in the words in which measuring refuses it.
    """
    wanted = {
        (state.cell.model, state.cell.weights): models.get(state.cell.model)
        for state in status.distinct(jobs)
        if state.wanted(asked.remeasure) and status.verdict(state.cell) is None
    }
    for (_, weights), entry in wanted.items():
        if not entry.generic or entry.bundled:
            continue
        if weights == "random" or folders.local(entry) is None:  # weights of the Hub are downloaded later
            named.document(entry)
        else:
            checkpoints.find(entry)


def _require_packages(jobs: Sequence[Job], asked: options.Asked) -> None:
    """Check that the packages which the cells to be measured need are installed on this machine."""
    for state in status.distinct(jobs):
        if state.wanted(asked.remeasure) and status.verdict(state.cell) is None:
            optimizations.require(state.cell.optimization, state.cell.dtype)


def _require_clock(jobs: Sequence[Job]) -> None:
    """Refuse to measure if the clock went backwards: the new record would look older than the stale one."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for state in status.distinct(jobs):
        if state.state == "stale" and state.started_at > now:
            raise UserError(
                f"this machine's clock shows {now}, but a record to be replaced was measured at "
                f"{state.started_at}; set the clock, or delete {state.answer}"
            )
