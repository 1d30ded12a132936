"""The options of a sweep: what they are, which contradict one another, and the runs they ask for."""

from __future__ import annotations

import difflib
import os
import shlex
from pathlib import Path
from typing import Literal

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.spec.cell import Run
from vlmnb.sweep import inventory
from vlmnb.sweep.execute import Limits, Setting
from vlmnb.sweep.scheduler import Wish
from vlmnb.types import Frozen

MOST_THREADS = 4096
"""More than any node of a cluster has processors: a slip of the keyboard."""


class Asked(Frozen):
    """The options of ``vlmnb sweep``.

    Attributes:
        only: Names of the runs to execute; empty means all.
        threads: Threads that torch computes with; 0 means as many as there are physical cores.
        hardware: On a cluster: slug of the machines to measure on; empty where there is one kind.
    """

    spec: Path
    results: Path
    runs: Path
    only: tuple[str, ...] = ()
    stale: bool = False
    retry_failed: bool = False
    on: Literal["local", "ray"] = "local"
    hardware: str = ""
    threads: int = 0
    limits: Limits = Limits()
    as_json: bool = False

    @property
    def wish(self) -> Wish:
        """What is measured beyond what is missing."""
        return Wish(stale=self.stale, retry_failed=self.retry_failed)

    @property
    def command(self) -> str:
        """The command that continues this sweep."""
        words = ["vlmnb", "sweep", named(self.spec)]
        words += [word for name in self.only for word in ("--only", name)]
        words += ["--stale"] * self.stale + ["--retry-failed"] * self.retry_failed
        words += ["--on", self.on] if self.on != "local" else []
        words += ["--hardware", self.hardware] if self.hardware else []
        words += ["--threads", str(self.threads)] if self.threads else []
        usual = Limits()
        words += ["--cell-limit", f"{self.limits.cell_s:g}"] if self.limits.cell_s != usual.cell_s else []
        words += ["--run-limit", f"{self.limits.run_s:g}"] if self.limits.run_s != usual.run_s else []
        words += ["--results", str(self.results)] if self.results != Path("results") else []
        words += ["--runs", str(self.runs)] if self.runs != Path("runs") else []
        return shlex.join(words)


def require_options(asked: Asked, *, slurm: bool, dry_run: bool) -> None:
    """Refuse options that say nothing together, and limits under which nothing can be measured.

    Raises:
        UserError: There is such an option.
    """
    refused = (
        (slurm and dry_run, "--slurm prints a script and measures nothing: give it without --dry-run"),
        (slurm and asked.as_json, "--slurm prints a script: give it without --json"),
        (slurm and asked.on == "ray", "--slurm and --on ray are two ways to a cluster: give one of them"),
        (
            bool(asked.hardware) and asked.on != "ray",
            "--hardware names machines of a Ray cluster: give it with --on ray",
        ),
        (not asked.limits.cell_s > 0, "--cell-limit takes seconds above 0"),
        (not asked.limits.run_s > 0, "--run-limit takes seconds above 0"),
        (asked.threads < 0, "--threads takes a number of threads, or 0 for one per physical core"),
    )
    for is_so, said in refused:
        if is_so:
            raise UserError(said)
    elsewhere = slurm or asked.on == "ray"
    most = MOST_THREADS if elsewhere else os.cpu_count() or 1
    if asked.threads > most:
        who = "a node" if elsewhere else "this machine"
        raise UserError(f"--threads {asked.threads} is more than {who} has processors: at most {most}")


def spec_path(given: Path) -> Path:
    """A sweep file as named: from the working folder, else from the project's.

    Raises:
        UserError: There is none in either.
    """
    if given.exists() or given.is_absolute():
        return given
    there, here = paths.resolve(given), Path.cwd()
    if not there.exists():
        elsewhere = "" if here.samefile(paths.root()) else f", nor in the project's folder {paths.root()}"
        known = [f"sweeps/{each.name}" for each in paths.resolve(Path("sweeps")).glob("*.yaml")]
        close = difflib.get_close_matches(str(given), known, n=1, cutoff=0.7)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"there is no file {given} in {here}{elsewhere}{hint}")
    return there


def named(spec: Path) -> str:
    """A sweep file by a name that leads to it from wherever the next command is given."""
    file, root = spec_path(spec).resolve(), paths.root().resolve()
    short = file.relative_to(root) if file.is_relative_to(root) else file
    # A file of the same name may lie below the working folder.
    return str(short if spec_path(short).samefile(file) else file)


def planned(asked: Asked) -> tuple[tuple[Run, ...], Setting]:
    """The runs that were asked for, and how they are to be executed.

    Raises:
        UserError: The sweep file, or an option, asks for something that cannot be.
    """
    if asked.threads:
        os.environ[slots.THREADS] = str(asked.threads)
    runs = inventory.only(inventory.load(spec_path(asked.spec)), asked.only)
    setting = Setting(
        results=paths.resolve(asked.results), runs=paths.resolve(asked.runs),
        threads=slots.threads(), limits=asked.limits,
    )  # fmt: skip
    return runs, setting
