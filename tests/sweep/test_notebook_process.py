"""Notebooks that papermill takes for finished although they are not."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from vlmnb.sweep import notebook_process

RAN = new_code_cell("1", execution_count=1)
NEVER_RAN = new_code_cell("2")
EXITED = new_code_cell(
    "exit()", execution_count=2, outputs=[new_output("error", ename="SystemExit", evalue="0")]
)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([new_markdown_cell("text"), RAN, new_code_cell("")], None),
        ([RAN, NEVER_RAN], "died"),
        ([NEVER_RAN, NEVER_RAN], "died"),
        ([RAN, EXITED, NEVER_RAN], "failed"),
        ([RAN, EXITED], "failed"),
    ],
)
def test_an_unfinished_notebook_is_not_ok(cells: list[nbformat.NotebookNode], kind: str | None) -> None:
    found = notebook_process._unfinished(nbformat.v4.new_notebook(cells=cells))
    assert (found and found[0]) == kind
