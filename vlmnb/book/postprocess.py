"""Turn executed notebooks into book pages, with everything a reader should see and nothing that varies.

Notebooks are handled as plain JSON, because libraries for notebooks add random cell ids.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Notebook = dict[str, Any]

SHOWN = ("text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain")
"""Output types that a page keeps; widgets and vendors' own types need scripts from the network."""

FIGURE = re.compile(
    r'(?P<start><td[^>]* data-key="(?P<key>[0-9a-f]+)"[^>]*>)(?P<text>[^<]*?)'
    r'(?P<span>(?: <span class="interval">[^<]*</span>)?)</td>'
)
"""A number in a table, with the key of its record, and its interval."""

IMAGES = ("image/png", "image/jpeg", "image/svg+xml")
CONTINUED = "# further output of the cell above"
"""Source of a cell that only holds further outputs: MyST-NB leaves out a code cell whose source is empty."""

VISIBILITY = {"hide-input", "remove-input", "remove-cell", "hide-cell"}


class Refused(ValueError):
    """Raised for a notebook that must not be published. The message says why."""


@dataclass(frozen=True)
class Heading:
    """The name of a page.

    Attributes:
        title: Its h1, unique in the book.
        label: Prefix of the labels of its figures, unique in the book.
    """

    title: str
    label: str


@dataclass(frozen=True)
class Processed:
    """A page, and lines about what was left out of it."""

    notebook: Notebook
    left_out: tuple[str, ...]


def read(text: str) -> Notebook:
    """Parse a notebook file.

    Raises:
        Refused: The text is not a notebook of format 4.
    """
    try:
        notebook = json.loads(text)
        well_formed = notebook["nbformat"] == 4 and isinstance(notebook["cells"], list)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"not a notebook: {type(error).__name__}: {error}") from None
    if not well_formed:
        raise Refused(f"notebook format {notebook['nbformat']}, expected 4")
    return dict(notebook)


def dumps(notebook: Notebook) -> str:
    """Return a notebook as text, the same for the same content."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def papermill(notebook: Notebook) -> dict[str, Any]:
    """Return what papermill wrote into the notebook's metadata."""
    return dict(notebook.get("metadata", {}).get("papermill") or {})


def page(notebook: Notebook, heading: Heading, opening: str = "", closing: str = "") -> Processed:
    """Make a page of an executed notebook.

    Args:
        notebook: The notebook as papermill left it; it is not changed.
        heading: Title and label of the page.
        opening: Markdown that follows the title.
        closing: Markdown at the end.

    Raises:
        Refused: The notebook's execution failed or was interrupted.
    """
    check(notebook)
    left_out: list[str] = []
    cells = [_markdown(text) for text in (f"# {heading.title}", opening) if text.strip()]
    for number, cell in enumerate(copy.deepcopy(notebook["cells"]), start=1):
        if cell["cell_type"] == "markdown":
            source = _text(cell["source"])
            own = re.match(r"\s*# [^\n]*\n*", source) if number == 1 else None
            source = source[own.end() :] if own else source
            cells += [_markdown(_demoted(source))] if source.strip() else []
        elif cell["cell_type"] == "code" and _text(cell["source"]).strip():
            cells += _code(cell, number, heading, left_out)
    cells += [_markdown(closing)] if closing.strip() else []
    _label_figures(cells, heading.label)
    for number, cell in enumerate(cells, start=1):
        cell["id"] = f"cell-{number:02d}"
    made = {"cells": cells, "metadata": _metadata(notebook), "nbformat": 4, "nbformat_minor": 5}
    return Processed(made, tuple(left_out))


def with_links(notebook: Notebook, targets: Mapping[str, str]) -> Notebook:
    """Return a page whose numbers in tables link to their records.

    Args:
        notebook: A page; it is not changed.
        targets: Address of the record of each key, relative to the page. A number whose record no longer
            exists stays plain text.
    """

    def linked(found: re.Match[str]) -> str:
        target = targets.get(found["key"])
        if target is None or not found["text"]:
            return found[0]
        return f'{found["start"]}<a href="{target}">{found["text"]}</a>{found["span"]}</td>'

    made = copy.deepcopy(notebook)
    for cell in made["cells"]:
        for output in cell.get("outputs", ()):
            shown = output.get("data", {})
            if "text/html" in shown:
                shown["text/html"] = FIGURE.sub(linked, shown["text/html"])
    return made


def check(notebook: Notebook) -> None:
    """Refuse a notebook with an exception or an interrupted execution, which Sphinx would publish silently.

    Raises:
        Refused: Names the cell and the error.
    """
    for number, cell in enumerate(notebook["cells"], start=1):
        for output in cell.get("outputs", ()):
            if output["output_type"] == "error":
                raise Refused(f"cell {number} ends in {output.get('ename')}: {output.get('evalue')}")
    written = papermill(notebook)
    if written.get("exception"):
        raise Refused("papermill noted an exception in it")
    if "end_time" in written and written["end_time"] is None:
        raise Refused("papermill did not finish it")


def _code(cell: Notebook, number: int, heading: Heading, left_out: list[str]) -> list[Notebook]:
    """Return a code cell and what it displayed, each Markdown output as a cell of its own."""
    tags = set(cell.get("metadata", {}).get("tags", ()))
    if "injected-parameters" in tags or not tags & VISIBILITY:
        tags.add("hide-input")
    outputs = [] if "remove-output" in tags else _kept(cell.get("outputs", ()), number, left_out)
    groups = _groups(outputs)
    if groups and all(isinstance(group, str) for group in groups):
        tags.add("remove-cell")
    first = groups[0] if groups and isinstance(groups[0], list) else []
    made = [_code_cell(cell, _text(cell["source"]), tags, first)]
    for group in groups[1:] if first else groups:
        if isinstance(group, str):
            if not _taken_as_caption(made[-1], group):
                made.append(_markdown(_demoted(group)))
        else:
            made.append(_code_cell(cell, CONTINUED, {"remove-input"}, group))
    for part in made:
        _describe_image(part, heading.title)
    return made


def _kept(outputs: Sequence[Notebook], number: int, left_out: list[str]) -> list[Notebook]:
    """Return the outputs that a page shows; add a line to ``left_out`` for text on stderr."""
    kept: list[Notebook] = []
    for output in outputs:
        if output["output_type"] == "stream":
            if output.get("name") == "stderr":
                lines = _text(output["text"]).replace("\r", "\n").strip().splitlines()
                left_out.append(f"cell {number} wrote to stderr: {lines[-1] if lines else ''}")
            else:
                kept.append({"output_type": "stream", "name": "stdout", "text": _text(output["text"])})
            continue
        data = {kind: _text(output["data"][kind]) for kind in SHOWN if kind in output.get("data", {})}
        if not data:
            continue
        metadata = {kind: value for kind, value in (output.get("metadata") or {}).items() if value}
        kept.append({"output_type": "display_data", "data": data, "metadata": metadata})
    return kept


def _groups(outputs: Sequence[Notebook]) -> list[str | list[Notebook]]:
    """Group outputs, in order: Markdown as text, each image by itself, anything else together."""
    groups: list[str | list[Notebook]] = []
    for output in outputs:
        data = output.get("data", {})
        if "text/markdown" in data and not any(kind in data for kind in IMAGES):
            groups.append(data["text/markdown"])
        elif groups and isinstance(groups[-1], list) and not _image(output) and not _image(groups[-1][-1]):
            groups[-1].append(output)
        else:
            groups.append([output])
    return groups


def _taken_as_caption(cell: Notebook, text: str) -> bool:
    """Make a paragraph in italics after an image the image's caption; return whether it was one."""
    found = re.fullmatch(r"\*([^*\n](?:[^*]*[^*\n])?)\*", text.strip())
    image = cell["cell_type"] == "code" and cell["outputs"] and _image(cell["outputs"][-1])
    if not found or not image or "mystnb" in cell["metadata"]:
        return False
    cell["metadata"]["mystnb"] = {"figure": {"caption": " ".join(found[1].split())}}
    return True


def _describe_image(cell: Notebook, title: str) -> None:
    """Set the alt text of a cell's image: its own, else the caption, else the page's title."""
    image = next((output for output in cell.get("outputs", ()) if _image(output)), None)
    if image is None:
        return
    settings = cell["metadata"].setdefault("mystnb", {})
    own = image["metadata"].get("alt") or image["metadata"].get("image/png", {}).get("alt")
    text = image["data"].get("text/plain", "")
    text = "" if re.match(r"<.*>$", text.strip()) else text
    alt = own or settings.get("figure", {}).get("caption") or text or f"Figure of the page {title}"
    settings["image"] = {"alt": " ".join(re.sub(r"[*`]", "", str(alt)).split())}


def _label_figures(cells: Sequence[Notebook], label: str) -> None:
    settings = [cell["metadata"].get("mystnb", {}) for cell in cells]
    figures = (setting["figure"] for setting in settings if "figure" in setting)
    for number, figure in enumerate(figures, start=1):
        figure["name"] = f"fig-{label}" if number == 1 else f"fig-{label}-{number}"


def _demoted(markdown: str) -> str:
    """Make headings of the first level ones of the second, because a page has one title."""
    lines, fenced = [], ""
    for line in markdown.split("\n"):
        mark = re.match(r"\s{0,3}(`{3,}|~{3,}|:{3,})", line)
        if mark and (not fenced or line.strip().startswith(fenced)):
            fenced = "" if fenced else mark[1]
        lines.append(f"#{line}" if line.startswith("# ") and not fenced else line)
    return "\n".join(lines)


def _metadata(notebook: Notebook) -> Notebook:
    given = notebook.get("metadata", {})
    language = given.get("language_info", {}).get("name", "python")
    parameters = papermill(notebook).get("parameters", {})
    return {
        "kernelspec": given.get("kernelspec")
        or {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": language},
        "vlmnb": {"parameters": parameters},
    }


def _code_cell(cell: Notebook, source: str, tags: set[str], outputs: list[Notebook]) -> Notebook:
    return {
        "cell_type": "code",
        "execution_count": cell.get("execution_count") if source else None,
        "metadata": {"tags": sorted(tags)},
        "outputs": outputs,
        "source": source,
    }


def _markdown(source: str) -> Notebook:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _image(output: Notebook) -> bool:
    return any(kind in output.get("data", {}) for kind in IMAGES)


def _text(value: object) -> str:
    """Join text that a notebook may hold as a list of lines."""
    return "".join(value) if isinstance(value, list) else str(value)
