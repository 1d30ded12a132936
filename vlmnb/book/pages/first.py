"""The first page: what was found, computed from the records, one figure and three doors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from vlmnb.analysis import base_configuration, repeatability, series
from vlmnb.analysis.base_configuration import BaseResult, Setup
from vlmnb.analysis.titles import entry_of
from vlmnb.book import disputed
from vlmnb.book.content import Content, bundled, model_title, parameters
from vlmnb.book.pages import axis, comparison
from vlmnb.book.rendering import render
from vlmnb.records.record import Record
from vlmnb.spec.optimizations import DTYPES
from vlmnb.views import comparison_tables, cost_figure, pareto_figure, table
from vlmnb.views.figure_style import Drawing
from vlmnb.views.templates import say

EXPLORE = "explore"
"""Page on which readers choose what is compared."""

FIGURE = "figures/first.svg"


def page(content: Content) -> tuple[str, dict[str, Drawing]]:
    """Return the part of the first page that is computed, and its figure by its file."""
    groups = base_configuration.base_results(content.records)
    if not content.records:
        return render("nothing.md"), {}
    reports = {setup: own for setup, own in groups.items() if setup.source == "reports"}
    small = {
        setup: [each for each in own if bundled(each.model.name)]
        for setup, own in groups.items() if setup.source == "measured"
    }  # fmt: skip
    small = {setup: own for setup, own in small.items() if own}
    batches = _of_device(axis.found(content, "batch_size"), "reports", "cuda")
    titles = {name: model_title(name) for name in content.models}
    figures: dict[str, Drawing] = {}
    drawn = Markup("")
    if batches:
        figures[FIGURE] = cost_figure.figure(batches, titles)
        doubts = disputed.figures(content.disputed, content.records)
        points = cost_figure.points(batches, titles, "What the figure shows, as the reports print it", doubts)
        drawn = Markup(table.points(points))
    elif small:
        setup, results = next(iter(small.items()))
        drawn = Markup(pareto_figure.blocks(content.records, setup, results))
    text = render(
        "first.md", findings=_findings(content, reports, small, batches), figure=FIGURE if batches else "",
        points=drawn, reports=sum(record.source == "reports" for record in content.records),
        levels=Counter(finding.level for finding in content.disputed),
        small=[
            (
                comparison.common(results),
                comparison_tables.headline_table(results),
                Markup(pareto_figure.notice(content.records, setup, results, content.turns)),
            )
            for setup, results in small.items()
        ],
        explore=EXPLORE, axes=axis.published(content),
    )  # fmt: skip
    return text, figures


def _findings(
    content: Content,
    reports: Mapping[Setup, Sequence[BaseResult]],
    small: Mapping[Setup, Sequence[BaseResult]],
    batches: Mapping[str, Sequence[Record]],
) -> list[Markup]:
    """Return the sentences for which there are records: full-size models first, then the stand-ins."""
    said: list[str] = []
    gpu = next((own for setup, own in reports.items() if setup.device == "cuda"), ())
    if costs := comparison.costs(content, gpu):
        said.append(f"{costs} See [all models](generated/comparison.md).")
    gains = [
        (
            model_title(name),
            own[0],
            own[-1],
            disputed.of_ratio(content.disputed, content.records, own[0].key, own[-1].key),
        )
        for name, own in batches.items()
        if len(own) > 1
    ]
    if gains:
        said.append(say("first", "batches", gains=gains))
    settings = _of_device(axis.found(content, "optimization"), "reports", "cuda")
    changed: dict[str, list[tuple[str, float, disputed.Doubt | None]]] = {}
    for name, own in settings.items():
        for other in own[1:]:
            ratio = (other.latency_s or 0) / (own[0].latency_s or 1)
            doubt = disputed.of_ratio(content.disputed, content.records, own[0].key, other.key)
            changed.setdefault(other.cell.optimization, []).append((model_title(name), ratio, doubt))
    if changed:
        saved = max(1 - ratio for own in changed.values() for _, ratio, _ in own)
        said.append(say("first", "settings", changed=changed, saved=saved))
    if rows := _full_size_rows(content.records):
        cells = [(r.cell.batch_size, r.cell.max_new_tokens, r.cell.length) for r in rows]
        named = [(model_title(record.cell.model), record) for record in rows]
        said.append(say("first", "own", rows=named, best=rows[0], alike=len(set(cells)) == 1))
    for setup, results in small.items():
        sizes = [count for each in results if (count := parameters(each.model.name))]
        less, batch = _saved_by_batches(content, setup)
        said.append(
            say("first", "small", setup=setup, sizes=sizes, models=len(results), less=less, batch=batch)
        )
    return [Markup(line) for line in said]


def _full_size_rows(records: Sequence[Record]) -> list[Record]:
    """Return the fastest row of each full-size model, of the machine that ran most of them, a GPU first."""
    full_size = [record for record in records if _full_size(record)]
    places: dict[tuple[str, str], list[Record]] = {}
    for record in [r for r in full_size if r.cell.optimization in DTYPES] or full_size:
        places.setdefault((record.hardware, record.cell.device), []).append(record)
    fastest: dict[str, Record] = {}
    place = max(
        places.values(),
        default=[],
        key=lambda of: (of[0].cell.device == "cuda", len({r.cell.model for r in of})),
    )
    for record in sorted(place, key=lambda r: (r.latency_s or 0) / r.cell.batch_size):
        fastest.setdefault(record.cell.model, record)
    return list(fastest.values())


def _saved_by_batches(content: Content, setup: Setup) -> tuple[list[float], int]:
    """Return which part of the time of an image each model saves in the largest batch, and its size.

    Models whose change may be noise are left out.
    """
    floor = repeatability.noise_floor(content.records, [setup[1:]]).value
    found = axis.found(content, "batch_size").get(setup, {})
    changes = [series.change(own[0], own[-1], floor) for own in found.values() if len(own) > 1]
    shares, size = [], 0
    for change in changes:
        size = change.high.cell.batch_size
        scale = change.low.cell.batch_size / size
        known = change.trend in ("grows", "falls", "within") and change.within(scale) is None
        if known and scale * change.ratio < 1:
            shares.append(1 - scale * change.ratio)
    return shares, size


def _of_device(found: axis.Found, source: str, device: str) -> dict[str, list[Record]]:
    return next((own for setup, own in found.items() if (setup.source, setup.device) == (source, device)), {})


def _full_size(record: Record) -> bool:
    """Return whether a record is our own measurement of a model at its full size."""
    entry = entry_of(record.cell.model)
    timed = (
        record.source == "measured" and record.latency_s is not None and record.cell.measure == "generation"
    )
    return bool(
        timed and entry and not entry.bundled and not entry.generic and not record.provenance.geometry
    )
