"""A chapter per model: what it is, what it costs, its pages, and what could not be measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from vlmnb import models, paths
from vlmnb.analysis import titles
from vlmnb.analysis.base_configuration import BASE_BATCH_SIZE
from vlmnb.analysis.titles import where
from vlmnb.book.content import Content, Failure, Page, axis_order, model_title, parameters
from vlmnb.book.pages.comparison import sections
from vlmnb.book.postprocess import demoted
from vlmnb.book.rendering import Value, render
from vlmnb.fit import tried
from vlmnb.models import named
from vlmnb.models.entry import ModelEntry
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.stats import formatting
from vlmnb.views.reasons import readable
from vlmnb.views.table import Field

COMPUTED = {name for name, axis in axes.AXES.items() if axis.own}
"""Notebooks that measure nothing: the model card."""


def page(content: Content, name: str) -> str:
    """Return a model's chapter."""
    entry = titles.entry_of(name)
    own = [record for record in content.records if record.cell.model == name]
    measured = [record for record in own if record.source == "measured" and record.status == "ok"]
    pages = [page for page in content.pages if page.model == name]
    reported = sorted((page for page in pages if page.from_report), key=lambda page: axis_order(page.axis))
    count, file_size = _weights(name)
    return render(
        "model.md", folder=paths.model_folder(name), title=model_title(name), entry=entry, entry_name=name,
        listed_in_finder=name in models.registry(),
        weights=entry and _source(entry), parameters=count, file_size=file_size,
        bases=sections(content, name), batch_size=BASE_BATCH_SIZE, reported=reported,
        listed=_runs(content, name, bool(reported)),
        measured=measured, unshown=_unshown(measured, pages),
        hardware=sorted({record.hardware for record in measured}),
        card=next((page for page in pages if page.axis in COMPUTED), None),
        questions={axis: known.question for axis, known in axes.AXES.items()},
        unmeasured=_unmeasured(own), model_card=_model_card(entry), warning=_warning(entry),
    )  # fmt: skip


def _warning(entry: ModelEntry | None) -> str:
    """Say what was seen of the model's type before its batch sizes are compared; empty without a warning."""
    return tried.warning(named.kind(entry)) if entry and entry.generic else ""


def _weights(name: str) -> tuple[str, str]:
    """Return the number of parameters and the file size of bundled weights; empty if there are none."""
    count, path = parameters(name), paths.bundled_model(name) / "model.safetensors"
    size = formatting.format_si(path.stat().st_size, "B") if count else ""
    return f"{count:,}".replace(",", " ") if count else "", size


def _source(entry: ModelEntry) -> Value:
    """Say where the weights come from; a repository of the Hub is a link."""
    if entry.bundled:
        return "bundled with the project"
    if entry.source == entry.name and entry.name.startswith("/"):
        return "this folder"
    return Field(entry.source, words=True, href=f"https://huggingface.co/{entry.source}")


def _runs(content: Content, name: str, reported: bool) -> list[tuple[str, Page | None, Failure | None]]:
    """Return the notebooks of a model, each with its page or the failed attempt at it.

    A reported model of which nothing was measured, apart from its computed card, has none.
    """
    published = {page.axis: page for page in content.pages if page.model == name and not page.from_report}
    failures = {failure.axis: failure for failure in content.failures if failure.model == name}
    if reported and not published.keys() - COMPUTED and not failures:
        return []
    every = sorted({*published, *failures}, key=axis_order)
    return [(axis, published.get(axis), failures.get(axis)) for axis in every]


def _unshown(measured: Sequence[Record], pages: Sequence[Page]) -> int:
    """Return how many measured records are on none of the model's pages."""
    shown = {record.key for page in pages for record in page.records}
    return sum(record.key not in shown for record in measured)


def _unmeasured(own: Sequence[Record]) -> list[tuple[Value, ...]]:
    every = [record.cell for record in own]
    failed = sorted((r.status, readable(r.reason), i) for i, r in enumerate(own) if r.status != "ok")
    groups = ((why, [every[i] for *_, i in of]) for why, of in groupby(failed, key=lambda one: one[:2]))
    words: dict[str, dict[str, None]] = {}
    for record in own:
        words.setdefault(readable(record.reason), {})[record.reason] = None
    return [
        (
            status.replace("_", " "),
            Field(reason, " · ".join(words[reason]), words=True),
            where(cells, every),
            len(cells),
        )
        for (status, reason), cells in groups
    ]


def _model_card(entry: ModelEntry | None) -> str:
    card = paths.bundled_model(entry.name) / "README.md" if entry and entry.bundled else None
    if card is None or not card.exists():
        return ""
    text = card.read_text(encoding="utf-8").split("---\n", 2)[-1]  # behind the YAML head
    return demoted(text.strip().partition("\n")[2], headings="#").strip()
