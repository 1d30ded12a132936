"""The status page: which runs are published, which failed and why, and how many cells have which status."""

from __future__ import annotations

from collections import Counter
from typing import get_args

from vlmnb.book.content import Content, Page, axis_order, axis_title, minute, model_title
from vlmnb.book.rendering import Value, render
from vlmnb.spec import axes
from vlmnb.types import Status
from vlmnb.views.table import Field, without

STATUSES: tuple[Status, ...] = get_args(Status)


def page(content: Content) -> str:
    """Return the page."""
    return render(
        "status.md", runs=_runs(content), failures=content.failures, cells=_cells(content),
        counts={
            "ok": sum(record.status == "ok" for record in content.records),
            "cells": len(content.records),
            "pages": len(content.pages),
        },
        commands=[f"`{each}`" for each in dict.fromkeys(p.redraw_command for p in content.pages) if each],
        problems=content.problems, statuses=[status.replace("_", " ") for status in STATUSES],
    )  # fmt: skip


def _runs(content: Content) -> list[tuple[Value, ...]]:
    none = without("the run failed")
    runs: dict[tuple[bool, str, str], tuple[Value, ...]] = {
        (False, f.model, f.axis): (
            model_title(f.model),
            axis_title(f.axis),
            "failed",
            minute(f.at),
            none,
            none,
        )
        for f in content.failures
    }
    runs |= {(page.from_report, page.model, page.axis): _published(page) for page in content.pages}
    order = sorted(runs, key=lambda run: (run[0], content.models.index(run[1]), axis_order(run[2])))
    return [runs[run] for run in order]


def _published(page: Page) -> tuple[Value, ...]:
    state = "outdated" if page.redraw_command else "published"
    state += "; the last rerun failed" if page.failed_rerun else ""
    state = "published, from a report" if page.from_report else state
    address = f"../{page.path}.html"
    link = Field(axis_title(page.axis), words=True, href=address)
    measured = sum(record.status == "ok" for record in page.records)
    counts: tuple[Value, Value] = (len(page.records), measured)
    if page.axis in axes.AXES and axes.AXES[page.axis].own:
        counts = (without("computed from the geometry: it has no cells"),) * 2
    return model_title(page.model), link, state, minute(page.executed_at), *counts


def _cells(content: Content) -> list[tuple[Value, ...]]:
    counts = Counter((r.cell.model, r.hardware, r.status) for r in content.records)
    places = sorted(
        {place[:2] for place in counts}, key=lambda place: (content.models.index(place[0]), place)
    )
    return [
        (model_title(name), hardware, *(counts[name, hardware, status] for status in STATUSES))
        for name, hardware in places
    ]
