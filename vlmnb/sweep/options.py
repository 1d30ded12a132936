"""The options of ``vlmnb sweep``, which of them contradict each other, and the runs they ask for."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from pathlib import Path
from typing import Literal

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.errors import UserError, nearest
from vlmnb.spec.planning import Run
from vlmnb.sweep import inventory
from vlmnb.sweep.execute import ExecutionOptions
from vlmnb.sweep.inventory import Remeasure

MOST_THREADS = 4096
"""More than any node of a cluster has processors; a larger number is a typing mistake."""


class Asked(ExecutionOptions):
    """The options of ``vlmnb sweep``.

    Attributes:
        others: Sweep files beside ``spec``.
        only: Names of the runs to execute; empty means all.
        hardware: On a cluster: slug of the machines to measure on; empty if there is one kind.
        threads: Threads that torch computes with; 0 means one per physical core.
    """

    spec: Path
    others: tuple[Path, ...] = ()
    only: tuple[str, ...] = ()
    remeasure: Remeasure = inventory.NOTHING_AGAIN
    on: Literal["local", "ray"] = "local"
    hardware: str = ""
    threads: int = 0
    as_json: bool = False

    @property
    def command(self) -> str:
        """Return the command that continues this sweep."""
        words = ["vlmnb", "sweep", *map(named, (self.spec, *self.others))]
        words += [word for name in self.only for word in ("--only", name)]
        words += ["--stale"] * self.remeasure.stale + ["--retry-failed"] * self.remeasure.retry_failed
        usual = Asked(spec=self.spec, results=Path("results"), runs=Path("runs"))
        for name in ("on", "hardware", "threads", "cell_limit_s", "run_limit_s", "results", "runs"):
            value = getattr(self, name)
            if value != getattr(usual, name):
                option = name.removesuffix("_s").replace("_", "-")
                words += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join(words)


def require_options(asked: Asked, *, slurm: bool, dry_run: bool) -> None:
    """Refuse options that contradict each other, and limits under which nothing can be measured.

    Sweep files that make the same page contradict each other, too.
    """
    refused = (
        (slurm and dry_run, "--slurm prints a script and measures nothing: give it without --dry-run"),
        (slurm and asked.as_json, "--slurm prints a script: give it without --json"),
        (slurm and asked.on == "ray", "--slurm and --on ray are two ways to a cluster: give one of them"),
        (
            bool(asked.hardware) and asked.on != "ray",
            "--hardware names machines of a Ray cluster: give it with --on ray",
        ),
        (not asked.cell_limit_s > 0, "--cell-limit takes seconds above 0"),
        (not asked.run_limit_s > 0, "--run-limit takes seconds above 0"),
        (asked.threads < 0, "--threads takes a number of threads, or 0 for one per physical core"),
    )
    for wrong, message in refused:
        if wrong:
            raise UserError(message)
    elsewhere = slurm or asked.on == "ray"
    most = MOST_THREADS if elsewhere else os.cpu_count() or 1
    if asked.threads > most:
        who = "a node" if elsewhere else "this machine"
        raise UserError(f"--threads {asked.threads} is more than {who} has processors: at most {most}")
    files = (asked.spec, *asked.others) if asked.others else ()
    asking = Counter(run.name for spec in files for run in inventory.load(spec_path(spec)))
    if twice := [name for name, times in asking.items() if times > 1]:
        raise UserError(f"two of the sweep files make the page {twice[0]}: sweep one after the other")


def spec_path(given: Path) -> Path:
    """Find a sweep file in the working folder, else in the project's folder."""
    if given.exists() or given.is_absolute():
        return given
    there, here = paths.resolve(given), Path.cwd()
    if not there.exists():
        elsewhere = "" if here.samefile(paths.root()) else f", nor in the project's folder {paths.root()}"
        known = (f"sweeps/{each.name}" for each in paths.resolve(Path("sweeps")).glob("*.yaml"))
        raise UserError(f"there is no file {given} in {here}{elsewhere}; {nearest(str(given), known)}")
    return there


def named(spec: Path) -> str:
    """Return a name of a sweep file that works from whatever folder the next command is given in."""
    file, root = spec_path(spec).resolve(), paths.root().resolve()
    short = file.relative_to(root) if file.is_relative_to(root) else file
    # The working folder may hold another file of the same name.
    return str(short if spec_path(short).samefile(file) else file)


def planned(asked: Asked) -> tuple[tuple[Run, ...], ExecutionOptions]:
    """Return the runs that were asked for, and how to execute them."""
    if asked.threads:
        os.environ[slots.THREADS] = str(asked.threads)
    runs = [run for spec in (asked.spec, *asked.others) for run in inventory.load(spec_path(spec))]
    names = {run.name for run in runs}
    for name in asked.only:
        if name not in names:
            raise UserError(f"the sweep has no run {name!r}; {nearest(name, names)}")
    execution = ExecutionOptions(
        results=paths.resolve(asked.results), runs=paths.resolve(asked.runs), threads=slots.threads(),
        run_limit_s=asked.run_limit_s, cell_limit_s=asked.cell_limit_s,
    )  # fmt: skip
    return tuple(run for run in runs if run.name in (asked.only or names)), execution
