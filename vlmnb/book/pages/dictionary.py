"""The page of all columns of an export, with unit and meaning."""

from __future__ import annotations

from vlmnb.book.rendering import code, render
from vlmnb.records import described


def page() -> str:
    """Return the page."""
    rows = [(code(one.name), one.meaning, one.unit) for one in described.dictionary()]
    return render("dictionary.md", rows=rows)
