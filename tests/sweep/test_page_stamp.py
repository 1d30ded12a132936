"""Whether a page is still what its run made of the records."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlmnb.sweep import page_stamp


@pytest.fixture
def page(tmp_path: Path) -> Path:
    made = tmp_path / "page.ipynb"
    made.write_text("{}")
    page_stamp.mark(made, "these records\n")
    return made


def test_a_page_is_current_while_its_inputs_stay_the_same(page: Path) -> None:
    assert page_stamp.state(page, "these records\n") == "current"
    assert page_stamp.state(page, "other records\n") == "outdated"


@pytest.mark.parametrize("content", [b"\xff garbage", b"", b'{"saved": "by hand"}'])
def test_an_overwritten_page_is_not_current(page: Path, content: bytes) -> None:
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
