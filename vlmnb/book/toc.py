"""The table of contents of the book."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from vlmnb.book.content import axis_order, model_order

RESULTS = ("generated/comparison", "generated/support")
"""Pages before the models' chapters."""

ABOUT = (
    "methodology", "generated/machine", "data", "reproduce", "generated/audit", "generated/reports-checked",
    "generated/status",
)  # fmt: skip
"""Pages about the numbers, behind the models' chapters."""


def toc(
    runs: Iterable[tuple[str, str]],
    chapter_models: Iterable[str] = (),
    reports: Iterable[tuple[str, str]] = (),
) -> str:
    """Return the table of contents as YAML.

    Args:
        runs: Model and axis of each page of measurements.
        chapter_models: Models that have a chapter even without pages.
        reports: Model and axis of each page of a report.
    """
    listed: dict[str, list[str]] = {name: [] for name in chapter_models}
    for folder, pages in (("reports", reports), ("runs", runs)):
        for model, axis in sorted(pages, key=lambda page: axis_order(page[1])):
            listed.setdefault(model, []).append(f"{folder}/{model}/{axis}")
    chapters = [_chapter(f"generated/{name}", listed[name]) for name in sorted(listed, key=model_order)]
    parts = {
        "Results": [*(_chapter(name) for name in RESULTS), *chapters],
        "About the numbers": [_chapter(name) for name in ABOUT],
    }
    content = {
        "format": "jb-book",
        "root": "book/index",
        "parts": [{"caption": caption, "chapters": chapters} for caption, chapters in parts.items()],
    }
    return str(yaml.safe_dump(content, sort_keys=False))


def _chapter(name: str, sections: Iterable[str] = ()) -> dict[str, object]:
    chapter: dict[str, object] = {"file": f"book/{name}"}
    if listed := [{"file": f"book/{section}"} for section in sections]:
        chapter["sections"] = listed
    return chapter
