"""What a page was made from, noted in a file beside it; and whether the page is still as it was published."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from vlmnb import paths

State = Literal["current", "outdated", "changed", "missing"]


def mark(page: Path, made_from: str) -> None:
    """Note what a page just published was made from, and what it looks like."""
    paths.write_atomic(_file(page), made_from + _seal(page))


def state(page: Path, made_from: str) -> State:
    """How a page stands to what it would be made from now.

    ``changed`` is a page whose file is not the one that was published: it was damaged, or saved by hand.
    """
    if not page.is_file():
        return "missing"
    stamp = _file(page)
    noted = stamp.read_text(encoding="utf-8", errors="replace") if stamp.is_file() else ""
    seal = _seal(page)
    if noted == made_from + seal:
        return "current"
    return "outdated" if noted.endswith(seal) or _PAGE not in noted else "changed"


_PAGE = "the page itself "


def _file(page: Path) -> Path:
    return page.with_suffix(".stamp")


def _seal(page: Path) -> str:
    content = page.read_bytes() if page.is_file() else b""
    return f"{_PAGE}{hashlib.sha256(content).hexdigest()}\n"
