"""Find published pages that are older than what they are made from, and the sweep that draws them again."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlmnb import paths
from vlmnb.book import postprocess
from vlmnb.book.postprocess import Refused
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


def commands(results: Path, runs: Path) -> dict[Name, str]:
    """Return the outdated pages, each with the command that draws it again.

    A page is outdated if a sweep would draw it anew without measuring, because its template, the code that
    shows records, its records or the machine's A/A repeats have changed. A page without a stamp, which no
    sweep made, is never called outdated.

    Args:
        results: Folder of the records.
        runs: Folder of the executed notebooks.
    """
    made = _made(runs)
    plannable = [run for run in made if _plannable(run)]
    jobs = inventory.jobs(plannable, results, runs)
    stale = [run for run in made if run not in plannable]
    stale += [job.run for job in jobs if job.page == "outdated"]
    if not stale:
        return {}
    return {name: f"vlmnb sweep {spec}" for name, spec in sorted(_specs(stale).items())}


def of_this_machine(records: Sequence[Record]) -> bool:
    """Check whether records are of this machine; a sweep would measure those of another machine anew."""
    prints = {record.provenance.machine.get("fingerprint") for record in records}
    return not prints or machine.describe().fingerprint in prints


def summary(commands: Sequence[str], pages: int, results: Path, runs: Path) -> str:
    """Return a line for the terminal on how many pages are outdated; empty if none is.

    Args:
        commands: The command that draws each outdated page again.
        pages: Number of all pages.
        results: Folder of the records.
        runs: Folder of the executed notebooks.
    """
    if not commands:
        return ""
    folders = _options(results, runs)  # they are of this machine, so no page shows them
    listed = "; ".join(f"{command}{folders}" for command in dict.fromkeys(commands))
    subject = f"{len(commands)} of {pages} pages {'is' if len(commands) == 1 else 'are'}"
    return (
        f"{subject} older than the records, A/A repeats, templates or code that they show. To draw them "
        f"again, run: {listed}; then build the book once more."
    )


def _made(runs: Path) -> list[Run]:
    """Return the runs whose pages a sweep has made."""
    found = []
    for stamp in sorted(runs.glob("*/[!.]*.stamp")):
        page, axis = stamp.with_suffix(".ipynb"), stamp.stem
        if page.exists() and axis in axes.AXES:
            try:
                notebook = postprocess.read(page.read_text(encoding="utf-8"))
            except (Refused, UnicodeDecodeError):
                continue  # the book lists it as left out
            parameters = postprocess.papermill(notebook).get("parameters", {})
            found.append(Run(model=page.parent.name, axis=axis, parameters=parameters))
    return found


def _plannable(run: Run) -> bool:
    try:
        _ = run.plan
    except UserError:
        return False
    return True


def _specs(wanted: Sequence[Run]) -> Mapping[Name, str]:
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


def _options(results: Path, runs: Path) -> str:
    given = {"results": results, "runs": runs}
    other = {name: path for name, path in given.items() if path != paths.resolve(name)}
    return "".join(f" --{name} {shlex.quote(str(path))}" for name, path in other.items())
