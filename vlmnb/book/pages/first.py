"""The first page: what was found, computed from the records, one figure and three doors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from vlmnb import paths
from vlmnb.analysis import base_configuration, repeatability, series
from vlmnb.analysis.base_configuration import BaseResult, Setup
from vlmnb.analysis.titles import entry_of
from vlmnb.book import disputed
from vlmnb.book.content import Content, model_title, parameters
from vlmnb.book.pages import axis
from vlmnb.book.rendering import render
from vlmnb.records.record import Record
from vlmnb.spec.optimizations import DTYPES
from vlmnb.views import comparison_tables, cost_figure, pareto_figure, table
from vlmnb.views.templates import say

EXPLORE = "explore"
"""Page on which readers choose what is compared."""

FIGURE = "figures/first.svg"


def page(content: Content) -> tuple[str, dict[str, str]]:
    """Return the part of the first page that is computed, and its figure by its file."""
    groups = base_configuration.base_results(content.records)
    if not groups:
        return render("nothing.md"), {}
    reports = {setup: own for setup, own in groups.items() if setup.source == "reports"}
    small = {setup: own for setup, own in groups.items() if setup.source == "measured" and _small(own)}
    batches = _of_device(axis.found(content, "batch_size"), "reports", "cuda")
    titles = {name: model_title(name) for name in content.models}
    figures, drawn = {}, Markup("")
    if batches:
        figures[FIGURE] = cost_figure.figure(batches, titles)
        points = cost_figure.points(batches, titles, "What the figure shows, as the reports print it")
        drawn = Markup(table.points(points))
    elif small:
        setup, results = next(iter(small.items()))
        drawn = Markup(pareto_figure.blocks(content.records, setup, results))
    text = render(
        "first.md", findings=_findings(content, reports, small, batches), figure=FIGURE if batches else "",
        points=drawn, reports=sum(record.source == "reports" for record in content.records),
        levels=Counter(finding.level for finding in content.disputed),
        small=[(setup.title, comparison_tables.headline_table(results)) for setup, results in small.items()],
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
    doubted = disputed.doubted(content.disputed, content.records)
    gpu = next((own for setup, own in reports.items() if setup.device == "cuda"), ())
    costs = [
        (each.model.title, each.speed)
        for each in gpu
        if each.speed.latency_s and each.speed.energy_j_per_sample
    ]
    if costs:
        said.append(say("first", "costs", costs=sorted(costs, key=lambda cost: cost[1].latency_s or 0)))
    gains = [
        (model_title(name), own[0], own[-1], doubted.get((own[0].key, own[-1].key), 0))
        for name, own in batches.items()
        if len(own) > 1
    ]
    if gains:
        said.append(say("first", "batches", gains=gains))
    settings = _of_device(axis.found(content, "optimization"), "reports", "cuda")
    changed: dict[str, list[tuple[str, float, int]]] = {}
    for name, own in settings.items():
        for other in own[1:]:
            ratio = (other.latency_s or 0) / (own[0].latency_s or 1)
            number = doubted.get((own[0].key, other.key), 0)
            changed.setdefault(other.cell.optimization, []).append((model_title(name), ratio, number))
    if changed:
        said.append(say("first", "settings", changed=changed))
    full_size = [record for record in content.records if _full_size(record)]
    own = [record for record in full_size if record.cell.optimization in DTYPES] or full_size
    if own:
        places: dict[tuple[str, str], list[Record]] = {}
        for record in own:
            places.setdefault((record.hardware, record.cell.device), []).append(record)
        place = max(
            places.values(), key=lambda of: (of[0].cell.device == "cuda", len({r.cell.model for r in of}))
        )
        best = place[0]
        fastest: dict[str, Record] = {}
        for record in sorted(place, key=lambda r: -(r.latency_s or 0) / r.cell.batch_size):
            fastest[record.cell.model] = record
        ordered = sorted(fastest.items(), key=lambda pair: content.models.index(pair[0]))
        said.append(say("first", "own", rows=[(model_title(n), r) for n, r in ordered], best=best))
    for setup, results in small.items():
        timed = [(each.model, each.speed) for each in results if each.speed.latency_s]
        floor = repeatability.noise_floor(content.records, [setup[1:]])
        if timed:
            timed.sort(key=lambda pair: pair[1].latency_s or 0)
            change = series.change(timed[0][1], timed[-1][1], floor.value)
            sizes = [count for entry, _ in timed if (count := parameters(entry.name))]
            rows = [(entry.title, record) for entry, record in timed]
            several = len(rows) > 1
            said.append(
                say("first", "small", setup=setup, rows=rows, sizes=sizes, change=change, several=several)
            )
    return [Markup(line) for line in said]


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


def _small(results: Sequence[BaseResult]) -> bool:
    return all(paths.bundled_model(each.model.name).exists() for each in results)
