"""Collect what a book is made of: executed notebooks as pages, outdated ones, failed runs, downloads."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shlex
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from vlmnb import paths
from vlmnb.audit.rule import Finding
from vlmnb.book import disputed, postprocess
from vlmnb.book.content import Content, Failure, Page, Redraw, record_path, turns_path
from vlmnb.book.pages import run
from vlmnb.book.postprocess import Notebook, Refused
from vlmnb.device import machine
from vlmnb.errors import UserError
from vlmnb.records import turns
from vlmnb.records.export_columns import EXPORT_COLUMNS, values
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.spec import axes
from vlmnb.spec.planning import Run
from vlmnb.sweep import heartbeat, inventory
from vlmnb.views import marks

Files = dict[str, bytes]
"""Content of files by their path, relative to ``book/``."""

Name = tuple[str, str]
"""Model and notebook of a page."""

ANY_SPEC = "SPEC"
"""Name of the sweep file in a command if no sweep file of the project asks for the page."""

EXTRA = "generated/extra/"
"""Folder whose files are copied into the built site as they are."""


def notebooks(files: Iterable[Path]) -> tuple[dict[Name, Notebook], list[str]]:
    """Read executed notebooks; return them, and a line for each that must not be published.

    What a notebook is of, papermill wrote into it: a file under another name is not a page of that name.
    """
    read: dict[Name, Notebook] = {}
    problems = []
    for path in files:
        try:
            notebook = postprocess.read(path)
            written = postprocess.papermill(notebook)
            model = written.get("parameters", {}).get("model", path.parent.name)
            template = Path(str(written.get("input_path"))).stem
            axis = template if template in axes.AXES else path.stem
            if path.stem == axis or (model, axis) not in read:
                read[model, axis] = notebook
        except Refused as error:
            problems.append(f"the page {path.parent.name}/{path.name}: {error}; a sweep makes it again")
    return read, problems


def failures(runs: Path) -> tuple[list[Failure], list[str]]:
    """Read the files of failed runs; return the runs, and a line for each file that cannot be read."""
    found, problems = [], []
    for path in sorted(runs.glob("failures/*/[!.]*.json")):
        try:
            found.append(Failure.model_validate_json(path.read_bytes()))
        except ValueError:
            problems.append(f"the failed run {path.parent.name}/{path.name}: not written by a sweep")
    return found, problems


def pages(
    executed: Mapping[Name, Notebook],
    records: Iterable[Record],
    failures: Iterable[Failure],
    redraw: Mapping[Name, Redraw],
    known: Sequence[Turns] = (),
) -> list[Page]:
    """Describe the page of each executed notebook; ``redraw``: the outdated ones, ``known``: all turns."""
    by_key = {(record.cell.model, record.key): record for record in records}
    failed = {(failure.model, failure.axis): failure for failure in failures}
    made = []
    for name, notebook in executed.items():
        written = postprocess.papermill(notebook)
        executed_at = str(written.get("end_time") or "")
        keys = dict.fromkeys(re.findall(r'data-key=\\?"([0-9a-f]+)', json.dumps(notebook["cells"])))
        shown = tuple(turns.shown([by_key[name[0], key] for key in keys if (name[0], key) in by_key], known))
        failure, prints = failed.get(name), {r.provenance.machine.get("fingerprint") for r in shown}
        # A sweep would measure the records of another machine anew.
        own = not prints or machine.describe().fingerprint in prints
        page = Page(
            *name, executed_at, written.get("parameters", {}), shown,
            # Both times are UTC, to the second or finer.
            failed_rerun=failure if failure and failure.at[:19] > executed_at[:19] else None,
            redraw=redraw.get(name) if own else None,
        )  # fmt: skip
        made.append(page)
    return made


def outdated(executed: Mapping[Name, Notebook], results: Path, runs: Path) -> dict[Name, Redraw]:
    """Return the outdated pages, each with the command that draws it again and what `vlmnb status` counts.

    A page is outdated if its template, the code that shows records, its records or the A/A repeats whose
    noise floor it shows have changed. A page without a stamp, which no sweep made, is never called outdated;
    ``executed`` are the notebooks that show measurements.
    """
    gone, plannable = [], []
    for (model, axis), notebook in executed.items():
        if axis in axes.AXES and paths.executed(runs, model, axis).with_suffix(".stamp").exists():
            parameters = postprocess.papermill(notebook).get("parameters", {})
            run = Run(model=model, axis=axis, parameters=parameters)
            try:
                _ = run.plan
                plannable.append(run)
            except UserError:  # the model or a value is gone
                gone.append(run)
    jobs = [job for job in inventory.jobs(plannable, results, runs) if job.page == "outdated"]
    older = {
        (job.run.model, job.run.axis): (
            sum(state.state == "stale" for state in job.cells), sum(bool(state.older) for state in job.cells),
            ", or ".join(dict.fromkeys(state.older for state in job.cells if state.older)),
        )
        for job in jobs
    }  # fmt: skip
    wanted = gone + [job.run for job in jobs]
    swept = {spec for before, _ in heartbeat.read_all(results) for spec in (before.spec, *before.others)}
    commands = _sweeps(wanted, swept) if wanted else {}
    return {name: Redraw(f"vlmnb sweep {spec}", *older.get(name, ())) for name, spec in commands.items()}


def outdated_summary(commands: Sequence[str], pages: int, results: Path, runs: Path) -> str:
    """Return a line for the terminal: how many of all pages are outdated, and the commands that draw them."""
    # The folders are of this machine, so only the terminal shows them.
    given = [
        (name, path) for name, path in (("results", results), ("runs", runs)) if path != paths.resolve(name)
    ]
    folders = "".join(f" --{name} {shlex.quote(str(path))}" for name, path in given)
    listed = "; ".join(f"{command}{folders}" for command in dict.fromkeys(commands))
    return (
        f"{len(commands)} of {pages} pages {'is' if len(commands) == 1 else 'are'} older than the records, "
        f"A/A repeats, templates or code that they show. To draw them again, run: {listed}; then build the "
        "book once more."
    )


def processed(
    page: Page, notebook: Notebook, records: Sequence[Record], found: Sequence[Finding] = (),
    known: Sequence[Turns] = (),
) -> tuple[Files, list[str]]:  # fmt: skip
    """Return a page as a notebook of the book and as a download, and a line for each thing left out of it.

    ``found``: what the audit found about the figures of the reports; ``known``: all turns.
    """
    disputed_places = disputed.places(found, page.records) if page.from_report else set()
    lines = disputed.lines(found, page) if page.from_report else []
    targets = {record.key: f"../../../{record_path(record)}" for record in page.records}
    disputed_here = marks.DISPUTED * any(line.level != "note" for line in lines)
    opening, legend = (
        run.opening(page, records),
        marks.legend(postprocess.dumps(notebook) + disputed_here),
    )
    closing = f"{legend}\n\n{run.closing(page, known)}"
    made, left_out = postprocess.page(
        notebook, page.title, page.label, targets, opening, closing, run.disputed(lines)
    )
    marked = disputed.sentences(found, page) if page.from_report else {}
    for cell in made["cells"]:
        if marked and cell["cell_type"] == "markdown":
            cell["source"] = "\n".join(marked.get(line, line) for line in cell["source"].split("\n"))
        for output in cell.get("outputs", ()):
            if table := output.get("data", {}).get("text/html"):
                output["data"]["text/html"] = disputed.marked(table, disputed_places)
    text, name = postprocess.dumps(made).encode(), f"{page.path}.ipynb"
    files = {name: text, EXTRA + page.download("ipynb"): text}
    return files, [f"in {name}, {line}" for line in left_out]


def downloads(book: Content, results: Path) -> Files:
    """Return the records, CSV files and transcribed reports that readers can download."""
    files = {f"{EXTRA}downloads/records.csv": _csv(book.records)}
    for record in book.records:
        file = paths.record(results, record.hardware, record.cell.model, record.key)
        text = file.read_bytes() if file.exists() else record.model_dump_json(indent=1).encode()
        files[EXTRA + record_path(record)] = text
    for taken in book.turns:
        text = taken.model_dump_json(indent=1).encode()
        files[f"{EXTRA}{turns_path(taken.name)}"] = text
    if any(page.from_report for page in book.pages):
        for file in sorted((paths.root() / "reports").glob("*.yaml")):
            files[f"{EXTRA}downloads/reports/{file.name}"] = file.read_bytes()
    return files | {EXTRA + page.download("csv"): _csv(page.records) for page in book.pages if page.records}


def _csv(records: Iterable[Record]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [EXPORT_COLUMNS, *(values(record)[0] for record in records)]
    )
    return text.getvalue().encode()


def _sweeps(wanted: Sequence[Run], swept: Container[str] = ()) -> dict[Name, str]:
    """Return a sweep file that asks for each run with the same parameters, as few files as possible.

    Those that were swept here, by their names, come before others, which would measure what nobody asked for.
    """
    asks: dict[str, set[Name]] = {}
    for file in sorted((paths.root() / "sweeps").glob("*.yaml")):
        with contextlib.suppress(UserError):
            asked = [(run.name, _asked(run)) for run in inventory.load(file)]
            found = {(run.model, run.axis) for run in wanted if (run.name, _asked(run)) in asked}
            asks[file.relative_to(paths.root()).as_posix()] = found
    made = {(run.model, run.axis): ANY_SPEC for run in wanted}
    left = set(made)
    while left:
        best = max(
            asks,
            key=lambda name: (bool(asks[name] & left), name in swept, len(asks[name] & left)),
            default="",
        )
        if not (now := asks.get(best, set()) & left):
            break
        made |= dict.fromkeys(now, best)
        left -= now
    return made


def _asked(run: Run) -> dict[str, object]:
    return {name: value for name, value in run.parameters.items() if name not in ("results", "model")}
