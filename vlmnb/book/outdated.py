"""Find published pages that are older than what they are made from, and the sweep that draws them again."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlmnb import paths
from vlmnb.book import postprocess
from vlmnb.book.postprocess import Notebook
from vlmnb.device import machine
from vlmnb.errors import UserError
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.spec.planning import Run
from vlmnb.sweep import inventory

Name = tuple[str, str]
"""Model and notebook of a page."""

ANY_SPEC = "SPEC"
"""Name of the sweep file in a command if no sweep file of the project asks for the page."""


def commands(executed: Mapping[Name, Notebook], results: Path, runs: Path) -> dict[Name, str]:
    """Return the outdated pages, each with the command that draws it again.

    A page is outdated if a sweep would draw it anew without measuring, because its template, the code that
    shows records, its records or the machine's A/A repeats have changed. A page without a stamp, which no
    sweep made, is never called outdated; ``executed`` are the notebooks that show measurements.
    """
    stale, plannable = [], []
    for (model, axis), notebook in executed.items():
        if axis in axes.AXES and paths.executed(runs, model, axis).with_suffix(".stamp").exists():
            parameters = postprocess.papermill(notebook).get("parameters", {})
            run = Run(model=model, axis=axis, parameters=parameters)
            try:
                _ = run.plan
                plannable.append(run)
            except UserError:  # the model or a value is gone
                stale.append(run)
    stale += [job.run for job in inventory.jobs(plannable, results, runs) if job.page == "outdated"]
    return {name: f"vlmnb sweep {spec}" for name, spec in _specs(stale).items()} if stale else {}


def of_this_machine(records: Sequence[Record]) -> bool:
    """Check whether records are of this machine; a sweep would measure those of another machine anew."""
    prints = {record.provenance.machine.get("fingerprint") for record in records}
    return not prints or machine.describe().fingerprint in prints


def summary(commands: Sequence[str], pages: int, results: Path, runs: Path) -> str:
    """Return a line for the terminal: how many of all pages are outdated, and the commands that draw them."""
    given = {"results": results, "runs": runs}
    # The folders are of this machine, so only the terminal shows them.
    folders = "".join(
        f" --{name} {shlex.quote(str(path))}" for name, path in given.items() if path != paths.resolve(name)
    )
    listed = "; ".join(f"{command}{folders}" for command in dict.fromkeys(commands))
    return (
        f"{len(commands)} of {pages} pages {'is' if len(commands) == 1 else 'are'} older than the records, "
        f"A/A repeats, templates or code that they show. To draw them again, run: {listed}; then build the "
        "book once more."
    )


def _specs(wanted: Sequence[Run]) -> dict[Name, str]:
    """Return a sweep file that asks for each run with the same parameters, as few files as possible."""
    asks: dict[str, list[Run]] = {}
    for file in sorted((paths.root() / "sweeps").glob("*.yaml")):
        with contextlib.suppress(UserError):
            asked = [(run.name, _asked(run)) for run in inventory.load(file)]
            name = file.relative_to(paths.root()).as_posix()
            asks[name] = [run for run in wanted if (run.name, _asked(run)) in asked]
    found = {(run.model, run.axis): ANY_SPEC for run in wanted}
    for name in sorted(asks, key=lambda name: len(asks[name])):  # the file with most runs comes last and wins
        found |= {(run.model, run.axis): name for run in asks[name]}
    return found


def _asked(run: Run) -> dict[str, object]:
    return {name: value for name, value in run.parameters.items() if name not in ("results", "model")}
