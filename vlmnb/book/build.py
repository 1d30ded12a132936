"""Build the book: write the pages that are not written by hand, then run Jupyter Book over all of them."""

from __future__ import annotations

import dataclasses
import html
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent import futures
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import filelock

from vlmnb import models, paths
from vlmnb.analysis import base_configuration, pareto
from vlmnb.book import citation, collect, contents, kept, prices, report_pages
from vlmnb.book.collect import Files
from vlmnb.book.content import Content, axis_order, bundled, record_path
from vlmnb.book.pages import (
    audit,
    axis,
    comparison,
    dictionary,
    explore,
    finder,
    first,
    machine,
    model,
    status,
    support,
    tried,
)  # fmt: skip
from vlmnb.book.postprocess import linked
from vlmnb.book.rendering import render, without_colors
from vlmnb.errors import UserError
from vlmnb.files import hashing
from vlmnb.records import record_file, turns
from vlmnb.views import figure_style, marks, pareto_figure

UNWANTED = re.compile(
    r"""<link\ rel="preload"[^>]*\ as="font"[^>]*>\n?
    |<script>const\ THEBE_JS_URL.*?</script>\n?
    |<script[^>]*\ src="[^"]*sphinx-thebe\.js[^"]*"></script>\n?
    |<script[^>]*\ src="[^"]*mathjax[^"]*"></script>\n?
    |<script>window\.MathJax\ =.*?</script>\n?
    |<script\ type="text/x-thebe-config">.*?</script>\n?""",
    re.DOTALL | re.VERBOSE,
)
"""Parts of the theme that cause errors in the browser's console: font preloads, which browsers refuse for
pages opened as files; Thebe, which runs code on a server and which the theme sets up twice; and MathJax,
which is loaded from a network: formulas are MathML."""

FORMULA = re.compile(
    r'<(?P<tag>div|span) class="math notranslate nohighlight">\s*\\[\[(](?P<latex>.*?)\\[\])]</(?P=tag)>',
    re.DOTALL,
)
"""A formula as Sphinx leaves it to a script."""

DRAWN = re.compile(r'<img\b(?=[^>]*\balt="(?P<alt>[^"]*)")[^>]*\bsrc="(?P<file>[^":]+\.svg)"[^>]*>')
"""An image of a page that is a drawing."""

ORIGIN = "xmlns:xlink"
"""Occurs in what matplotlib drew."""

MENDED = {
    '<summary><span class="toctree': '<summary aria-label="Pages of this chapter"><span class="toctree',
    '<th class="head': '<th scope="col" class="head',
    '<div class="bd-sidebar-primary': '<div role="navigation" aria-label="Book" class="bd-sidebar-primary',
}
"""Parts of the theme that a screen reader cannot name, and what takes their place."""

STATED = ("comparison.md", "headline.md")
"""Pages whose text says what ``⚠`` is about, so that their legend need not."""

UNTOUCHED = re.compile(r"(<(script|style|pre)\b.*?</\2>|<[^>]*>)", re.DOTALL)
"""What of a page is no running text."""

UNITS = r"%|[mµ]?s|[mk]?J|k?W|k?Wh|[kMGT]?i?B|px|[kMGT]|[kMGT]?FLOPs?|GHz|°C"
BROKEN = re.compile(
    rf"(?<=\d) (?=(?:{UNITS})(?!\w))|(?<=≈) (?=\d)|(?<=[\w\])]) (?=[†‡⚑∅§⚠◇])|(?<=\bbatch) (?=\d)"
)
"""A space at which no line may end: between a number and its unit, and before a mark."""

_log = logging.getLogger(__name__)


def assemble(
    results: Path, runs: Path, say: Callable[[str], object] = _log.debug, output: Path | None = None
) -> list[str]:
    """Write everything the build reads that is not written by hand, and ``say`` how many pages are outdated.

    Args:
        output: Folder that keeps what lasts until the next build.

    Returns:
        A line for each thing that was left out: unreadable records, refused notebooks, error output.
    """
    records, unreadable = record_file.read_all(results)
    failures, unreadable_failures = collect.failures(runs)
    known = turns.read(results)
    found = audit.findings(records, "reports")
    content = Content(tuple(records), (), tuple(failures), (), tuple(found), tuple(known))
    other_process = futures.ProcessPoolExecutor(1)
    of_records = other_process.submit(_of_records, content, output)
    other_process.shutdown(wait=False)
    reports, not_made = report_pages.execute(results, runs, records)
    measured, refused = collect.notebooks(
        path for path in sorted(runs.glob("*/[!.]*.ipynb")) if path.parent.name != "failures"
    )
    reported, refused_reports = collect.notebooks(reports)
    redraw = collect.outdated(measured, results, runs)
    pages = collect.pages(measured, records, failures, redraw, known)
    pages += collect.pages(reported, records, (), {})
    if commands := [page.redraw_command for page in pages if page.redraw_command]:
        say(collect.outdated_summary(commands, len(pages), results, runs))
    problems = [*map(str, unreadable), *unreadable_failures, *not_made, *refused, *refused_reports]
    files: Files = {}
    for page, notebook in zip(pages, [*measured.values(), *reported.values()], strict=True):
        made, left_out = collect.processed(page, notebook, records, found, known)
        files |= made
        problems += left_out
    content = dataclasses.replace(content, pages=tuple(pages), problems=tuple(problems))
    _write(files | _generated(content, of_records, output) | collect.downloads(content, results))
    return problems


def build(results: Path, runs: Path, output: Path, say: Callable[[str], object] = _log.debug) -> Path:
    """Assemble and build the book, unless nothing has changed since, and return its first page.

    Sphinx reads and writes only the pages that changed since the last build, as long as the table of contents
    and the configuration are the same. The new book replaces the old one in one step; when the build fails
    the old one stays.

    Raises:
        UserError: jupyter-book is of version 2, or Sphinx warned of something.
    """
    if not (found := version("jupyter-book")).startswith("1."):
        raise UserError(
            f"jupyter-book {found} is installed, which does not read _config.yml; "
            "install the pinned version: pip install -r requirements.txt"
        )
    site, given = output / "html", kept.given(results, runs)
    last = kept.noted(site)
    said: list[str] = []
    if not last or (last.given, last.sources) != (given, kept.sources()):
        left_out = assemble(results, runs, said.append, output)
        seen = kept.Seen(
            given=given,
            sources=kept.sources(),
            frame=kept.frame(),
            said=tuple(said),
            left_out=tuple(left_out),
        )
        if last and (last.sources, last.frame) == (seen.sources, seen.frame):
            kept.write(seen, site)
        else:
            _build(site, seen, last)
        last = seen
    for line in last.said:
        say(line)
    for line in last.left_out:
        _log.warning("left out of the book: %s", line)
    return site / "index.html"


def _build(site: Path, seen: kept.Seen, last: kept.Seen | None) -> None:
    """Run Sphinx, mend its pages and put the new site in the place of the old one."""
    output = site.parent
    output.mkdir(parents=True, exist_ok=True)
    # Always the same folder: Sphinx reads everything again if a path in its configuration changes.
    scratch = output / ".next"
    with filelock.FileLock(output / ".lock"):
        shutil.rmtree(scratch, ignore_errors=True)
        build = scratch / "_build"
        if last and last.frame == seen.frame:
            kept.bring(site, build)
        _sphinx(scratch)
        texts, cite = [], citation.text()
        for page in sorted((build / "html").rglob("*.html")):
            was = page.read_text(encoding="utf-8")
            text = UNWANTED.sub("", was)
            for found, mended in MENDED.items():
                text = text.replace(found, mended)
            text = unbroken(FORMULA.sub(_formula, text))
            text = prices.asked(citation.cited(_with_figures(text, page.parent), *cite))
            texts.append(text)
            if text != was:
                page.write_text(text, encoding="utf-8")
        for name, content in contents.files(build / "html").items():
            (build / "html" / name).write_text(content, encoding="utf-8")
        kept.prune(build / "html", texts)
        kept.keep(build, site, seen)
        if site.exists():
            site.rename(scratch / "old")
        (build / "html").rename(site)
        shutil.rmtree(scratch)


def unbroken(page: str) -> str:
    """Return a page's HTML in which no line ends between a number and its unit, or before a mark."""
    made, end = [], 0
    for found in UNTOUCHED.finditer(page):
        made += [BROKEN.sub("\N{NO-BREAK SPACE}", page[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*made, BROKEN.sub("\N{NO-BREAK SPACE}", page[end:])])


def _formula(found: re.Match[str]) -> str:
    from latex2mathml import converter

    display = "block" if found["tag"] == "div" else "inline"
    made = converter.convert(html.unescape(found["latex"]).strip(), display=display)
    return f'<{found["tag"]} class="vlmnb-math">{made}</{found["tag"]}>'


def _with_figures(text: str, folder: Path) -> str:
    """Return a page with its figures within it, so that their text follows the colors of the page."""

    def inlined(found: re.Match[str]) -> str:
        drawn = (folder / found["file"]).read_text(encoding="utf-8")
        return figure_style.inlined(drawn, found["alt"]) if ORIGIN in drawn else found[0]

    return DRAWN.sub(inlined, text)


def _sphinx(output: Path) -> None:
    root = paths.root()
    command = [
        sys.executable, "-m", "vlmnb.book.parallel", "build", str(root),
        "--config", str(root / "_config.yml"), "--toc", str(root / "book" / "generated" / "_toc.yml"),
        "--path-output", str(output), "-W", "-n", "--keep-going", "-q",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = without_colors(done.stdout + done.stderr).splitlines()
        warnings = [line for line in lines if re.search(r"WARNING|ERROR|[Ee]rror:", line)]
        tail = "\n".join((warnings or lines)[-30:])
        raise UserError(f"the book was not built; fix what Sphinx reports and build again:\n{tail}")


class OfRecords(NamedTuple):
    """What is made of records alone: pages by their names, files, and the table of the page of GPUs."""

    texts: dict[str, str]
    files: Files
    memory: str


def _of_records(content: Content, output: Path | None) -> OfRecords:
    """Return what the executed notebooks are not needed for. A process of its own makes it meanwhile."""
    with kept.lasting(output) as known:
        measured = audit.page(content.records, "measured", content.turns, known.findings)
        # With them come transformers and the geometry of every model.
        loads, memory = known.text("loads", finder.loads), known.text("memory", finder.memory)
    texts = {
        "audit.md": measured,
        "reports-checked.md": audit.page(content.records, "reports"),
    }
    scripts = {"explore.js": explore.script(content), "finder.js": finder.script(content, loads)}
    files = {f"{collect.EXTRA}downloads/{name}": made for name, made in scripts.items()}
    return OfRecords(texts, files, memory)


def _generated(content: Content, of_records: futures.Future[OfRecords], output: Path | None) -> Files:
    opening, drawn = first.page(content)
    texts = {
        "_toc.yml": table_of_contents(content),
        "comparison.md": comparison.page(content),
        "headline.md": opening,
        "explore.md": explore.page(content),
        "support.md": support.page(content),
        "dictionary.md": dictionary.page(),
        "tried.md": tried.page(),
        "machine.md": machine.page(content),
        "status.md": status.page(content),
    }
    chapters = {f"{paths.model_folder(name)}.md": model.page(content, name) for name in content.models}
    texts |= chapters
    for name in axis.published(content):
        texts[f"{axis.name(name)}.md"], figures = axis.page(content, name)
        drawn |= figures
    for name in (
        "comparison.md",
        "headline.md",
        *chapters,
        *(f"{axis.name(name)}.md" for name in axis.published(content)),
    ):
        # These explain a disputed figure where it stands.
        texts[name] += f"\n{marks.legend(texts[name], but=marks.DISPUTED * (name in {*STATED, *chapters}))}\n"
    other = of_records.result()
    texts |= other.texts | {"finder.md": finder.page(content, other.memory)}
    targets = {record.key: f"../../{record_path(record)}" for record in content.records}
    texts = {name: linked(text, targets) for name, text in texts.items()}
    # The first page includes it, from one folder above.
    texts["headline.md"] = texts["headline.md"].replace(' href="', ' href="generated/')
    files = other.files | {f"generated/{name}": text.encode() for name, text in texts.items()}
    files[f"{collect.EXTRA}downloads/explore.js"] += explore.links(content)
    for setup, results in base_configuration.base_results(content.records).items():
        if pareto.panels(results):
            drawn[pareto_figure.path(setup)] = pareto_figure.figure(results)
    with kept.lasting(output, kept.DRAWN) as known:
        for name, one in drawn.items():
            svg = known.text(f"{name} {hashing.digest(one.of)}", one.svg)
            files[f"generated/{name}"] = svg.encode()
    return files


def table_of_contents(content: Content) -> str:
    """Return the table of contents as YAML, with a chapter per model."""
    pages = sorted(content.pages, key=lambda page: (not page.from_report, axis_order(page.axis)))
    chapters = {name: [page for page in pages if page.model == name] for name in content.models}
    full, small, other = "Full-size models", "Small stand-ins, measured here", "Other models"
    parts: dict[str, list[str]] = {full: [], small: [], other: []}
    for name in content.models:  # a folder or repository of the reader's may be of any size
        parts[other if name not in models.registry() else small if bundled(name) else full].append(name)
    return render("_toc.yml", chapters=chapters, parts=parts, axes=axis.published(content))


def _write(files: Files) -> None:
    """Make the generated folders hold exactly these files; those that are the same already stay untouched."""
    book = paths.root() / "book"
    for folder in ("runs", "reports", "generated"):
        for path in (book / folder).rglob("*"):
            if path.is_file() and path.relative_to(book).as_posix() not in files:
                path.unlink()
    for name, content in files.items():
        path = book / name
        if not path.exists() or path.read_bytes() != content:
            with paths.temporary_beside(path) as scratch:
                scratch.write_bytes(content)
