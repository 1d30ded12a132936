"""Published pages that are older than what they are made from, and the sweep that draws them again."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
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
"""Stands for the sweep file where no file of the project asks for a page."""


def commands(results: Path, runs: Path) -> dict[Name, str]:
    """The outdated pages, each with the command that draws it again.

    A page is outdated if a sweep that asks for it would draw it anew without measuring: its template, the
    code that shows records, its records or the machine's A/A repeats have changed. Of a page without a stamp,
    which no sweep made, nothing is known.

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
    """Whether a page can be drawn again here: a sweep would measure the cells of another machine's anew."""
    prints = {record.provenance.machine.get("fingerprint") for record in records}
    return not prints or machine.describe().fingerprint in prints


def told(found: Iterable[str], pages: int, results: Path, runs: Path) -> str:
    """A line for whoever builds the book; empty where no page is outdated.

    Args:
        found: The command of each outdated page.
        pages: How many pages there are.
        results: Folder of the records.
        runs: Folder of the executed notebooks.
    """
    folders = _options(results, runs)  # of this machine, and so on no page
    count, ways = len(listed := list(found)), [f"{command}{folders}" for command in dict.fromkeys(listed)]
    if not count:
        return ""
    subject = f"{count} of {pages} pages {'is' if count == 1 else 'are'}"
    return (
        f"{subject} older than the records, A/A repeats, templates or code that they show. Draw them again "
        f"with: {'; '.join(ways)}; then build the book once more."
    )


def note(command: str) -> str:
    """The warning on an outdated page."""
    return (
        ":::{warning}\nThis page is outdated: its records, the A/A repeats of the machine, its template or "
        f"the code that shows them have changed since it was drawn. `{command}` draws it again.\n:::"
    )


def _made(runs: Path) -> list[Run]:
    """The runs of the pages that a sweep has made."""
    found = []
    for stamp in sorted(runs.glob("*/[!.]*.stamp")):
        page, axis = stamp.with_suffix(".ipynb"), stamp.stem
        if page.exists() and axis in axes.AXES:
            try:
                notebook = postprocess.read(page.read_text(encoding="utf-8"))
            except (Refused, UnicodeDecodeError):
                continue  # the book tells of it
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
    """A sweep file of the project that asks for each run with these very parameters, as few as will do."""
    asks: dict[str, list[Run]] = {}
    for file in sorted((paths.root() / "sweeps").glob("*.yaml")):
        with contextlib.suppress(UserError):
            asked = [(run.name, _asked(run)) for run in inventory.load(file)]
            name = file.relative_to(paths.root()).as_posix()
            asks[name] = [run for run in wanted if (run.name, _asked(run)) in asked]
    found = {(run.model, run.axis): ANY_SPEC for run in wanted}
    for name in sorted(asks, key=lambda name: len(asks[name])):  # that of most runs has the last word
        found |= {(run.model, run.axis): name for run in asks[name]}
    return found


def _asked(run: Run) -> dict[str, object]:
    return {name: value for name, value in run.parameters.items() if name not in ("results", "model")}


def _options(results: Path, runs: Path) -> str:
    given = {"results": results, "runs": runs}
    other = {name: path for name, path in given.items() if path != paths.resolve(name)}
    return "".join(f" --{name} {shlex.quote(str(path))}" for name, path in other.items())
