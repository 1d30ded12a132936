"""The book: executed notebooks and records to pages, a table of contents, downloads, and the built site."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from vlmnb import paths
from vlmnb.analysis import base_configuration, pareto
from vlmnb.book import contents, outdated, postprocess, report_pages
from vlmnb.book.contents import Content, Failure, Page
from vlmnb.book.pages import audit_page as audit
from vlmnb.book.pages import chapters, support
from vlmnb.book.postprocess import Heading, Notebook, Refused
from vlmnb.errors import UserError
from vlmnb.records import record
from vlmnb.records.export_columns import EXPORT_COLUMNS, row
from vlmnb.records.record import Record
from vlmnb.spec import (
    axes,  # fmt: skip
    planning,  # fmt: skip
)
from vlmnb.spec.cell import Cell

HAND_WRITTEN = ("methodology", "data", "reproduce")
TOOLS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "pydata-sphinx-theme")
"""Packages whose version can change the built pages."""

UNWANTED = re.compile(
    r"""<link\ rel="preload"[^>]*\ as="font"[^>]*>\n?
    |<script>const\ THEBE_JS_URL.*?</script>\n?
    |<script[^>]*\ src="[^"]*sphinx-thebe\.js[^"]*"></script>\n?
    |<script\ type="text/x-thebe-config">.*?</script>\n?""",
    re.DOTALL | re.VERBOSE,
)
"""Font preloads, which a browser refuses for pages opened as files, and Thebe, which runs code on a server
and which the theme sets up twice: that is an error in the browser's console."""

WARNINGS_SHOWN = 30
"""Lines of Sphinx's warnings that an error quotes."""

Files = dict[str, bytes]
"""Content of files by their path, relative to ``book/``."""

_log = logging.getLogger(__name__)


def assemble(results: Path, runs: Path, say: Callable[[str], object] = _log.debug) -> list[str]:
    """Write everything the build reads that is not written by hand.

    That is ``book/runs``, ``book/reports`` and ``book/generated``.

    Args:
        results: Folder of the records.
        runs: Folder of the executed notebooks.
        say: Is told how many pages are outdated, where any is.

    Returns:
        A line for each thing that was left out: unreadable records, refused notebooks, error output.
    """
    records, problems = record.read_all(results)
    failures, filed = _failures(runs)
    reported, unmade = report_pages.execute(results, runs, records)
    again = outdated.commands(results, runs)
    published, files, refused = _run_pages(runs, reported, records, failures, again)
    found = [page.redrawn_by for page in published if page.redrawn_by]
    if line := outdated.told(found, len(published), results, runs):
        say(line)
    told = [*problems, *filed, *unmade, *refused]
    content = Content(tuple(records), tuple(published), tuple(failures), tuple(told))
    files |= _generated(content) | _downloads(content, results)
    for name, file in list(files.items()):
        if name.startswith(("runs/", "reports/")):
            files[f"generated/extra/{contents.notebook_download(name)}"] = file
    _replace_folder(paths.root() / "book" / "runs", _below(files, "runs/"))
    _replace_folder(paths.root() / "book" / "reports", _below(files, "reports/"))
    _replace_folder(paths.root() / "book" / "generated", _below(files, "generated/"))
    return told


def toc(
    runs: Iterable[tuple[str, str]],
    chapter_models: Iterable[str] = (),
    reports: Iterable[tuple[str, str]] = (),
) -> str:
    """The table of contents, as YAML.

    Args:
        runs: Model and axis of each page of measurements.
        chapter_models: Models that have a chapter without having pages.
        reports: Model and axis of each page of a report.
    """
    listed: dict[str, list[str]] = {name: [] for name in chapter_models}
    for folder, entries in (("reports", reports), ("runs", runs)):
        for model, axis in sorted(entries, key=lambda entry: contents.axis_order(entry[1])):
            listed.setdefault(model, []).append(f"book/{folder}/{model}/{axis}")
    model_chapters: list[dict[str, Any]] = []
    for name in sorted(listed, key=contents.model_order):
        chapter: dict[str, Any] = {"file": f"book/generated/{name}"}
        if listed[name]:
            chapter["sections"] = [{"file": file} for file in listed[name]]
        model_chapters.append(chapter)
    results = [{"file": f"book/generated/{name}"} for name in ("comparison", "support")]
    results += model_chapters
    about = [{"file": f"book/{name}"} for name in HAND_WRITTEN]
    about[1:1] = [{"file": "book/generated/machine"}]
    about += [{"file": f"book/generated/{name}"} for name in (audit.OWN, audit.REPORTS, "status")]
    content = {
        "format": "jb-book",
        "root": "book/index",
        "parts": [
            {"caption": "Results", "chapters": results},
            {"caption": "About the numbers", "chapters": about},
        ],
    }
    return str(yaml.safe_dump(content, sort_keys=False))


def build(results: Path, runs: Path, output: Path, say: Callable[[str], object] = _log.debug) -> Path:
    """Assemble and build the book, unless nothing has changed since it was last built there.

    The new book replaces the old one in one step; when the build fails the old one stays.

    Args:
        results: Folder of the records.
        runs: Folder of the executed notebooks.
        output: Folder in which ``html`` is made.
        say: Is told how many pages are outdated, where any is.

    Returns:
        The book's first page, ``html/index.html``.

    Raises:
        UserError: jupyter-book is missing or of version 2, or Sphinx warned of something.
    """
    _require_version_1()
    for line in assemble(results, runs, say):
        _log.warning("left out of the book: %s", line)
    site, stamp = output / "html", _inputs()
    index, marker = site / "index.html", site / ".inputs"
    if index.exists() and marker.exists() and marker.read_text(encoding="utf-8") == stamp:
        return index
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".book-", dir=output) as scratch:
        _sphinx(Path(scratch))
        made = Path(scratch) / "_build" / "html"
        if not (made / "index.html").exists():
            raise UserError("jupyter-book ended well but wrote no index.html; is it version 1?")
        _mend(made)
        (made / ".inputs").write_text(stamp, encoding="utf-8")
        if site.exists():
            site.rename(Path(scratch) / "old")
        made.rename(site)
    return index


def _sphinx(output: Path) -> None:
    root = paths.root()
    command = [
        sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(root),
        "--config", str(root / "_config.yml"), "--toc", str(root / "book" / "generated" / "_toc.yml"),
        "--path-output", str(output), "-W", "-n", "--keep-going", "-q",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    told = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|[Ee]rror:", line)]
    tail = "\n".join((told or text.splitlines())[-WARNINGS_SHOWN:])
    raise UserError(f"the book was not built; mend what Sphinx says and build again:\n{tail}")


def _mend(site: Path) -> None:
    """Take out of every page what the theme puts there and ``UNWANTED`` names."""
    for page in site.rglob("*.html"):
        page.write_text(UNWANTED.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")


def _require_version_1() -> None:
    found = version("jupyter-book")
    if not found.startswith("1."):
        raise UserError(
            f"jupyter-book {found} is installed, which does not read _config.yml; "
            "install the pinned one: pip install -r requirements.txt"
        )


def _inputs() -> str:
    """Hash of all that the built pages depend on."""
    root = paths.root()
    seen = hashlib.sha256(repr([(name, version(name)) for name in TOOLS]).encode())
    files = [root / "_config.yml", *sorted((root / "book").rglob("*"))]
    for file in files:
        if file.is_file() and ".ipynb_checkpoints" not in file.parts:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            seen.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return seen.hexdigest() + "\n"


def _run_pages(
    runs: Path, reported: Sequence[Path], records: Sequence[Record], failures: Sequence[Failure],
    again: Mapping[outdated.Name, str],
) -> tuple[list[Page], Files, list[str]]:  # fmt: skip
    """Post-process every executed notebook; those that are refused are told of instead."""
    failed = {(failure.model, failure.axis): failure for failure in failures}
    published: list[Page] = []
    files: Files = {}
    told: list[str] = []
    for path in [*sorted(runs.glob("*/[!.]*.ipynb")), *reported]:
        model, axis = path.parent.name, path.stem
        if model == "failures":
            continue
        failure = None if path in reported else failed.get((model, axis))
        try:
            notebook = postprocess.read(path.read_text(encoding="utf-8"))
            page = _page(notebook, model, axis, records, failure)
            command = "" if path in reported else again.get((model, axis), "")
            page = replace(page, redrawn_by=command if outdated.of_this_machine(page.records) else "")
            heading = Heading(contents.page_title(page), contents.label(model, axis, page.folder))
            before = [contents.outdated_note(page.outdated)] if page.outdated else []
            before += [outdated.note(page.redrawn_by)] if page.redrawn_by else []
            before += [contents.report_note(page, records)] if page.source == "reports" else []
            made = postprocess.page(notebook, heading, before=before, after=contents.run_sections(page))
        except (Refused, UnicodeDecodeError) as error:
            told.append(f"the page {model}/{axis}.ipynb: {error}; a sweep makes it again")
            continue
        told += [f"in {model}/{axis}.ipynb, {line}" for line in made.left_out]
        targets = {found.key: f"../../../{contents.record_path(found)}" for found in page.records}
        linked = postprocess.with_links(made.notebook, targets)
        files[f"{page.folder}/{model}/{axis}.ipynb"] = postprocess.dumps(linked).encode()
        published.append(page)
    return published, files, told


def _page(
    notebook: Notebook, model: str, axis: str, records: Sequence[Record], failure: Failure | None
) -> Page:
    written = postprocess.papermill(notebook)
    executed_at = str(written.get("end_time") or "")
    page = Page(model, axis, executed_at, written.get("parameters", {}), ())
    newer = failure is not None and _time(failure.at, datetime.max) > _time(executed_at, datetime.min)
    own = [found for found in records if found.cell.model == model]
    return replace(page, records=_records_of(page, notebook, own), outdated=failure if newer else None)


def _records_of(page: Page, notebook: Notebook, own: Sequence[Record]) -> tuple[Record, ...]:
    """Records of a page: those its tables name, else the newest of each cell that its parameters ask for."""
    keys = dict.fromkeys(re.findall(r'data-key=\\?"([0-9a-f]+)', json.dumps(notebook["cells"])))
    named = {found.key: found for found in own if found.key in keys}
    if named:
        return tuple(named[key] for key in keys if key in named)
    if page.axis not in axes.AXES:
        return ()
    newest: dict[tuple[Cell, str], Record] = {}
    for found in sorted(own, key=lambda r: r.provenance.started_at):
        newest[found.cell, found.hardware] = found
    try:
        cells = _cells(page)
    except UserError:
        return ()
    return tuple(found for cell in cells for (of, _), found in newest.items() if of == cell)


def _cells(page: Page) -> list[Cell]:
    """Cells that a page's parameters ask for, on whichever device the page was executed."""
    known = axes.AXES[page.axis].parameters
    given = {"model": page.model, **page.parameters}
    open_device = "device" in known and not given.get("device")
    choices = [{**given, "device": device} for device in ("cpu", "cuda")] if open_device else [given]
    return list(dict.fromkeys(cell for each in choices for cell in planning.plan(page.axis, each).cells))


def _failures(runs: Path) -> tuple[list[Failure], list[str]]:
    """Failed runs as they were filed, and a line for each file that cannot be read."""
    found, told = [], []
    for path in sorted(runs.glob("failures/*/[!.]*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known = {name: content.get(name) for name in Failure.__dataclass_fields__}
            found.append(Failure(**{name: str(value) for name, value in known.items() if value is not None}))
        except (ValueError, TypeError, AttributeError) as error:
            told.append(f"the failed run {path.parent.name}/{path.name}: {error}")
    return found, told


def _generated(content: Content) -> Files:
    texts = {
        "comparison.md": contents.comparison_page(content),
        "support.md": support.page(content.records, support.titles(content.models)),
        "machine.md": contents.machine_page(content),
        "status.md": contents.status_page(content),
        f"{audit.OWN}.md": audit.own_page(content.records),
        f"{audit.REPORTS}.md": audit.reports_page(content.records),
        "headline.md": contents.headline(content),
        "_toc.yml": toc(
            [(page.model, page.axis) for page in content.pages if page.source == "measured"],
            content.models,
            [(page.model, page.axis) for page in content.pages if page.source == "reports"],
        ),
    }
    texts |= {f"{name}.md": chapters.model_page(content, name) for name in content.models}
    files = {f"generated/{name}": text.encode() for name, text in texts.items()}
    for setting, entries in base_configuration.base_entries(content.records).items():
        if pareto.panels(entries):
            files[f"generated/{pareto.figure_path(setting)}"] = pareto.figure(entries)
    return files


def _downloads(content: Content, results: Path) -> Files:
    """Records and CSV files, which lie beside the pages as they are."""
    extra = "generated/extra/"
    files = {f"{extra}downloads/records.csv": _csv(content.records)}
    for found in content.records:
        source = paths.record(results, found.hardware, found.cell.model, found.key)
        text = source.read_bytes() if source.exists() else found.model_dump_json(indent=1).encode()
        files[extra + contents.record_path(found)] = text
    for page in content.pages:
        if page.records:
            files[extra + contents.download_name(page, "csv")] = _csv(page.records)
    return files


def _csv(records: Iterable[Record]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, EXPORT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(found) for found in records)
    return text.getvalue().encode()


def _below(files: Files, prefix: str) -> Files:
    return {name.removeprefix(prefix): content for name, content in files.items() if name.startswith(prefix)}


def _replace_folder(folder: Path, files: Files) -> None:
    """Make a folder hold exactly these files; what is the same already is not touched."""
    for name, content in files.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            with paths.temporary_beside(path) as scratch:
                scratch.write_bytes(content)
    kept = {folder / name for name in files}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path not in kept:
            path.unlink()
    shutil.rmtree(folder / ".ipynb_checkpoints", ignore_errors=True)


def _time(text: str, unknown: datetime) -> datetime:
    """A time from a file; one without zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = unknown
    return found if found.tzinfo else found.replace(tzinfo=UTC)
