"""Note beside each page what it was made from, to see later whether it is up to date and unchanged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from vlmnb import paths

State = Literal["current", "outdated", "changed", "missing"]

_PAGE = "the page itself "


def mark(page: Path, made_from: str) -> None:
    """Note what a page just published was made from, and the hash of its file."""
    paths.write_atomic(page.with_suffix(".stamp"), made_from + _seal(page))


def state(page: Path, made_from: str, depends_on: str = "") -> State:
    """Compare a page with what it would be made from now.

    Args:
        page: Its file.
        made_from: What every page of its kind is made from.
        depends_on: What follows in the notes of those that depend on it, too.

    Returns:
        ``changed`` if the page's file is not the published one: it was damaged, or saved by hand.
    """
    if not page.is_file():
        return "missing"
    stamp = page.with_suffix(".stamp")
    noted = stamp.read_text(encoding="utf-8", errors="replace") if stamp.is_file() else ""
    seal = _seal(page)
    if noted in (made_from + seal, made_from + depends_on + seal):
        return "current"
    return "outdated" if noted.endswith(seal) or _PAGE not in noted else "changed"


def shows(page: Path, mark: str) -> bool:
    """Return whether a page is there and has a mark in it."""
    return page.is_file() and mark.encode() in page.read_bytes()


def _seal(page: Path) -> str:
    content = page.read_bytes() if page.is_file() else b""
    return f"{_PAGE}{hashlib.sha256(content).hexdigest()}\n"
