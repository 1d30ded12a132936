"""Turn executed notebooks into book pages, with everything a reader should see and nothing that varies.

Notebooks are handled as plain JSON, because libraries for notebooks add random cell ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]

IMAGES = ("image/svg+xml", "image/png", "image/jpeg")

SHOWN = ("text/html", *IMAGES, "text/markdown", "text/plain")
"""Output types that a page keeps; widgets and vendors' own types need scripts from the network."""

FIGURE = re.compile(
    r'(?P<start><td[^>]* data-key="(?P<key>[0-9a-f]+)"[^>]*>)(?P<text>[^<]+)'
    r'(?P<span>(?: <span class="interval">[^<]*</span>)?)</td>'
)
"""A number in a table, with the key of its record, and its interval."""

FENCED = r"^ {0,3}(`{3,}|~{3,}|:{3,}).*?(?:^ {0,3}\1|\Z)"
"""A block of code or a directive in Markdown, as a regular expression; group 1 is its mark."""

CONTINUED = "# further output of the cell above"
"""Source of a cell that only holds further outputs: MyST-NB leaves out a code cell whose source is empty."""

VISIBILITY = {"hide-input", "remove-input", "remove-cell", "hide-cell"}


class Refused(ValueError):
    """Raised for a notebook that must not be published. The message says why."""


def read(path: Path) -> Notebook:
    """Read an executed notebook.

    Raises:
        Refused: The file is not a notebook of format 4, or the execution failed or was interrupted; Sphinx
            would publish it all the same.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        well_formed = notebook["nbformat"] == 4 and isinstance(notebook["cells"], list)
        code = [
            (number, cell)
            for number, cell in enumerate(notebook["cells"], start=1)
            if cell["cell_type"] == "code" and _text(cell["source"]).strip()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"not a notebook: {type(error).__name__}: {error}") from None
    if not well_formed:
        raise Refused(f"notebook format {notebook['nbformat']}, expected 4")
    for number, cell in code:
        for output in cell.get("outputs", ()):
            if output["output_type"] == "error":
                raise Refused(f"cell {number} ends in {output.get('ename')}: {output.get('evalue')}")
    written = papermill(notebook)
    if written.get("exception"):
        raise Refused("papermill noted an exception in it")
    if "end_time" in written and written["end_time"] is None:
        raise Refused("papermill did not finish it")
    if not code or any(cell.get("execution_count") is None for _, cell in code):
        raise Refused("not all of its cells were executed")
    return dict(notebook)


def dumps(notebook: Notebook) -> str:
    """Return a notebook as text, the same for the same content."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def papermill(notebook: Notebook) -> dict[str, Any]:
    """Return what papermill wrote into the notebook's metadata."""
    return dict((notebook.get("metadata") or {}).get("papermill") or {})


def page(
    notebook: Notebook,
    title: str,
    label: str,
    targets: Mapping[str, str],
    opening: str,
    closing: str,
    remark: str = "",
) -> tuple[Notebook, list[str]]:
    """Make a page of a notebook as papermill left it.

    Args:
        label: Prefix of the labels of its figures, unique in the book like ``title``.
        targets: Address of the record of each key, relative to the page.
        remark: What is said before the heading of the table, after the answer; without such a heading, above.

    Returns:
        The page, and a line for each cell that wrote to stderr, which the page leaves out.
    """
    left_out: list[str] = []
    cells = [_markdown(f"# {title}"), _markdown(opening)]
    for number, cell in enumerate(notebook["cells"], start=1):
        source = _text(cell["source"])
        if cell["cell_type"] == "markdown" and "remove-cell" not in cell.get("metadata", {}).get("tags", ()):
            source = re.sub(r"\A\s*# [^\n]*\n*", "", source) if number == 1 else source
            if re.match(r"## Table\b", source):
                cells.append(_markdown(remark))
                remark = ""
            cells.append(_markdown(demoted(source)))
        elif cell["cell_type"] == "code" and source.strip():
            tags = set(cell.get("metadata", {}).get("tags", ()))
            shown = () if "remove-output" in tags else cell.get("outputs", ())
            outputs = _kept(shown, number, targets, left_out)
            cells += _code(_code_cell(source, cell.get("execution_count"), tags), outputs, title)
    cells.insert(2, _markdown(remark))
    cells = [cell for cell in [*cells, _markdown(closing)] if cell["source"].strip()]
    for cell in cells:  # The page begins with the answer; the download has the code that shows nothing, too.
        if cell["cell_type"] == "code" and not cell["outputs"]:
            cell["metadata"]["tags"] = sorted({*cell["metadata"]["tags"], "remove-cell"})
    figures = [figure for cell in cells if (figure := cell["metadata"].get("mystnb", {}).get("figure"))]
    for number, figure in enumerate(figures, start=1):
        figure["name"] = f"fig-{label}" if number == 1 else f"fig-{label}-{number}"
    for number, cell in enumerate(cells, start=1):
        cell["id"] = f"cell-{number:02d}"
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "vlmnb": {"parameters": papermill(notebook).get("parameters", {})},
    }
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, left_out


def linked(table: str, targets: Mapping[str, str]) -> str:
    """Return HTML in which the numbers of tables link to their records, if these still exist."""

    def link(found: re.Match[str]) -> str:
        if found["key"] not in targets:
            return found[0]
        return f'{found["start"]}<a href="{targets[found["key"]]}">{found["text"]}</a>{found["span"]}</td>'

    return FIGURE.sub(link, table)


def demoted(markdown: str, headings: str = "# ") -> str:
    """Return Markdown with one more # before headings that begin so; ``#`` alone means all headings."""
    return re.sub(
        f"{FENCED}|^{headings}",
        lambda found: found[0] if found[1] else f"#{found[0]}",
        markdown,
        flags=re.MULTILINE | re.DOTALL,
    )


def _code(cell: Notebook, outputs: Sequence[Notebook], title: str) -> list[Notebook]:
    """Return a code cell and what it displayed: each Markdown output and each image as a cell of its own."""
    made = [cell]
    for output in outputs:
        data, last = output.get("data", {}), made[-1]
        if "text/markdown" in data and not _image(output):
            if not _taken_as_caption(last, data["text/markdown"]):
                made.append(_markdown(demoted(data["text/markdown"])))
            continue
        held = last.get("outputs")
        if held is None or (held and (_image(output) or _image(held[-1]))):
            made.append(_code_cell(CONTINUED, None, {"remove-input"}))
        made[-1]["outputs"].append(output)
    if outputs and not any(part.get("outputs") for part in made):
        cell["metadata"]["tags"].append("remove-cell")
    for part in made:
        _describe_images(part, title)
    return made


def _kept(
    outputs: Sequence[Notebook], number: int, targets: Mapping[str, str], left_out: list[str]
) -> list[Notebook]:
    """Return the outputs that a page shows; add a line to ``left_out`` for text on stderr."""
    kept: list[Notebook] = []
    for output in outputs:
        if output.get("name") == "stderr":
            lines = _text(output["text"]).replace("\r", "\n").strip().splitlines()
            left_out.append(f"cell {number} wrote to stderr: {lines[-1] if lines else ''}")
        elif output["output_type"] == "stream":
            kept.append({"output_type": "stream", "name": "stdout", "text": _text(output["text"])})
        elif data := {kind: _text(output["data"][kind]) for kind in SHOWN if kind in output.get("data", {})}:
            if "text/html" in data:
                data["text/html"] = linked(data["text/html"], targets)
            metadata = {kind: value for kind, value in (output.get("metadata") or {}).items() if value}
            kept.append({"output_type": "display_data", "data": data, "metadata": metadata})
    return kept


def _taken_as_caption(cell: Notebook, text: str) -> bool:
    """Make a paragraph in italics after an image the image's caption; return whether it was one."""
    found = re.fullmatch(r"\*([^*]+)\*", text.strip())
    outputs = cell.get("outputs")
    if not found or not outputs or not _image(outputs[-1]) or "mystnb" in cell["metadata"]:
        return False
    cell["metadata"]["mystnb"] = {"figure": {"caption": " ".join(found[1].split())}}
    return True


def _describe_images(cell: Notebook, title: str) -> None:
    """Set the alt text of a cell's image: its own, else the caption, else the page's title."""
    for image in filter(_image, cell.get("outputs", ())):
        shown = cell["metadata"].setdefault("mystnb", {})
        own = next((of["alt"] for kind in IMAGES if "alt" in (of := image["metadata"].get(kind, {}))), "")
        alt = own or shown.get("figure", {}).get("caption") or f"Figure of the page {title}"
        shown["image"] = {"alt": " ".join(re.sub(r"[*`]", "", alt).split())}


def _code_cell(source: str, execution_count: int | None, tags: set[str]) -> Notebook:
    if "injected-parameters" in tags or not tags & VISIBILITY:
        tags.add("hide-input")
    return {
        "cell_type": "code", "execution_count": execution_count, "metadata": {"tags": sorted(tags)},
        "outputs": [], "source": source,
    }  # fmt: skip


def _markdown(source: str) -> Notebook:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _image(output: Notebook) -> bool:
    return any(kind in output.get("data", {}) for kind in IMAGES)


def _text(value: object) -> str:
    return "".join(value) if isinstance(value, list) else str(value)
