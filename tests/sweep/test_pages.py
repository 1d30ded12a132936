"""Which executed notebooks are published, and whether a page is still what its run made of the records."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from vlmnb.sweep import notebook_process, page_stamp

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


@pytest.fixture
def page(tmp_path: Path) -> Path:
    made = tmp_path / "page.ipynb"
    made.write_text("{}")
    page_stamp.mark(made, "these records\n")
    return made


@pytest.mark.parametrize("content", [b"\xff garbage", b"", b'{"saved": "by hand"}'])
def test_a_page_is_current_until_its_inputs_change_or_its_file_is_overwritten(
    page: Path, content: bytes
) -> None:
    assert page_stamp.state(page, "these records\n") == "current"
    assert page_stamp.state(page, "other records\n") == "outdated"
    page.write_bytes(content)
    assert page_stamp.state(page, "these records\n") == "changed"
    page_stamp.mark(page, "these records\n")
    assert page_stamp.state(page, "these records\n") == "current", "made again"


def test_a_page_without_a_readable_stamp_is_made_again(page: Path) -> None:
    page.with_suffix(".stamp").write_bytes(b"\xff\xfe")
    assert page_stamp.state(page, "these records\n") == "outdated"
    page.with_suffix(".stamp").unlink()
    assert page_stamp.state(page, "these records\n") == "outdated"
    page.unlink()
    assert page_stamp.state(page, "these records\n") == "missing"
