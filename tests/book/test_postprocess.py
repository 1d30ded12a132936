"""Pages of the book, made of executed notebooks."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import bookmaking
import nbformat
import pytest

from vlmnb.book import postprocess
from vlmnb.book.postprocess import Refused

TITLE = "Image size — LLaVA tiny"
PICTURE = bookmaking.display(image_png="QQ==")


def processed(notebook: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    return postprocess.page(notebook, TITLE, "llava-tiny-image-size", {}, "", "")


def made(*cells: dict[str, Any]) -> dict[str, Any]:
    """A page of a notebook of these cells."""
    return processed({"cells": cells})[0]


def sources(notebook: dict[str, Any], kind: str) -> list[str]:
    return [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize(
    ("heading", "order"),
    [("## Table", ["### What", "BOX", "### Table"]), ("## Other", ["BOX", "### What", "### Other"])],
)
def test_a_remark_stands_after_the_answer_and_before_the_table(heading: str, order: list[str]) -> None:
    cells = [{"cell_type": "markdown", "source": text} for text in ("# Title", "## What", heading)]
    page, _ = postprocess.page({"cells": cells}, TITLE, "label", {}, "note", "", "BOX")
    shown = [text.lstrip("#").strip() for text in sources(page, "markdown")]
    assert shown == [TITLE, "note", *(text.lstrip("#").strip() for text in order)]


def test_a_page_has_one_title_its_own() -> None:
    texts = ("# Image size\n\nWhat?", "# More\n\n```\n# comment\n```\n\n# Last")
    notebook = made(*({"cell_type": "markdown", "source": text} for text in texts))
    found = sources(notebook, "markdown")
    assert found == [f"# {TITLE}", "What?", "## More\n\n```\n# comment\n```\n\n## Last"]


def test_markdown_that_code_displayed_becomes_a_cell_with_real_headings() -> None:
    notebook = made(bookmaking.code("show()", [bookmaking.markdown("# It says\n\n- one")]))
    assert sources(notebook, "markdown")[1:] == ["## It says\n\n- one"]
    (code,) = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code["outputs"] == []
    assert "remove-cell" in code["metadata"]["tags"]


def test_outputs_stay_in_order_and_none_is_lost() -> None:
    tables = [bookmaking.display(text_html=f"<table>{number}</table>") for number in range(2)]
    outputs = [bookmaking.markdown("first"), tables[0], bookmaking.markdown("- why"), tables[1]]
    cells = made(bookmaking.code("show()", outputs))["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code"] * 3
    assert cells[1]["metadata"]["tags"] == ["hide-input", "remove-cell"], "what shows nothing"
    for cell, table in zip(cells[3::2], tables, strict=True):
        assert cell["metadata"]["tags"] == ["remove-input"]
        assert cell["source"], "MyST-NB leaves out a code cell without source, outputs and all"
        assert cell["outputs"][0]["data"] == {"text/html": table["data"]["text/html"]}
    first = made(bookmaking.code("show()", [tables[0]]))["cells"][1]
    assert first["outputs"][0]["data"] == {"text/html": "<table>0</table>"}


@pytest.mark.parametrize(
    ("outputs", "alt"),
    [
        ([bookmaking.display({"image/png": {"alt": "own"}}, image_png="QQ==")], "own"),
        ([PICTURE, bookmaking.markdown("*It *halves*.*")], f"Figure of the page {TITLE}"),
        ([PICTURE, bookmaking.markdown("*It halves.*")], "It halves."),
    ],
)  # fmt: skip
def test_every_figure_has_an_alt_text(outputs: list[Any], alt: str) -> None:
    notebook = made(bookmaking.code("plot()", outputs))
    assert notebook["cells"][1]["metadata"]["mystnb"]["image"]["alt"] == alt


def test_a_caption_belongs_to_its_figure_and_labels_are_unique() -> None:
    plot = bookmaking.code("plot()", [PICTURE, bookmaking.markdown("*It halves.*")])
    notebook = made(plot, copy.deepcopy(plot))
    figures = [c["metadata"]["mystnb"]["figure"] for c in notebook["cells"] if c["cell_type"] == "code"]
    names = ("fig-llava-tiny-image-size", "fig-llava-tiny-image-size-2")
    assert figures == [{"caption": "It halves.", "name": name} for name in names]


def cells(*parts: str) -> str:
    """A notebook of code cells, as JSON."""
    made = ", ".join(f'{{"cell_type": "code", "source": "f()", {part}}}' for part in parts)
    return f'{{"nbformat": 4, "cells": [{made}]}}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a notebook"),
        ("{}", "not a notebook"),
        ("[]", "not a notebook"),
        ('{"nbformat": 3, "cells": []}', "format"),
        ('{"nbformat": 4, "cells": {}}', "format"),
        (cells('"outputs": [{"output_type": "error", "ename": "SystemExit", "evalue": "0"}]'), "cell 1"),
        (cells('"outputs": []'), "executed"),
        (cells('"execution_count": 1', '"execution_count": null'), "executed"),
        ('{"nbformat": 4, "cells": [], "metadata": null}', "executed"),
        ('{"nbformat": 4, "cells": ["text"]}', "not a notebook"),
        ('{"nbformat": 4, "cells": [], "metadata": {"papermill": {"exception": true}}}', "exception"),
        ('{"nbformat": 4, "cells": [], "metadata": {"papermill": {"end_time": null}}}', "not finish"),
    ],
)
def test_what_is_no_notebook_or_did_not_end_well_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "device.ipynb"
    path.write_text(text)
    with pytest.raises(Refused, match=reason):
        postprocess.read(path)


def test_error_output_is_kept_out_of_the_page_and_told() -> None:
    stderr = {"output_type": "stream", "name": "stderr", "text": ["Warning:\n", "careful\n"]}
    cells = [bookmaking.code("f()", [stderr]), bookmaking.code("g()", [stderr], tags=["remove-output"])]
    page, left_out = processed({"cells": cells})
    assert left_out == ["cell 1 wrote to stderr: careful"]
    assert all(cell.get("outputs", []) == [] for cell in page["cells"])


def test_a_page_is_the_same_bytes_whenever_and_wherever_it_was_executed() -> None:
    first = bookmaking.notebook("llava-tiny", "image_size")
    second = json.loads(json.dumps(first))
    second["metadata"]["papermill"] |= {"duration": 99.0, "start_time": "x", "output_path": "/elsewhere"}
    second["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    for number, cell in enumerate(second["cells"]):
        cell["id"] = f"random-{number}"
        cell["metadata"]["execution"] = {"iopub.execute_input": "2031"}
        cell["metadata"]["papermill"] = {"duration": number}
    texts = [postprocess.dumps(processed(n)[0]) for n in (first, second)]
    assert texts[0] == texts[1]
    assert "2031" not in texts[0]
    nbformat.validate(nbformat.reads(texts[0], as_version=4))


def test_parameters_are_in_the_download_and_not_on_the_page() -> None:
    notebook = processed(bookmaking.notebook("llava-tiny", "device"))[0]
    tags = [set(c["metadata"]["tags"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert {"parameters", "hide-input", "remove-cell"} in tags
    assert {"injected-parameters", "hide-input", "remove-cell"} in tags
    assert all(t & postprocess.VISIBILITY for t in tags)
