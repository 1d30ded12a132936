"""The models at their base configuration: the comparison page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from vlmnb import models
from vlmnb.analysis import base_configuration
from vlmnb.analysis.base_configuration import BaseResult, Setup
from vlmnb.analysis.titles import dataset_title
from vlmnb.book import disputed
from vlmnb.book.content import Content, bundled
from vlmnb.book.rendering import render
from vlmnb.fit import finder
from vlmnb.records.record import Record
from vlmnb.views import comparison_tables, fields, footnotes, pareto_figure
from vlmnb.views.templates import say

LENGTH = "wer-of-short-answers"
"""The rule whose findings say that word error rates measure the length of answers."""


def page(content: Content) -> str:
    """Return the comparison, one section per machine and device."""
    size = base_configuration.BASE_BATCH_SIZE
    return render(
        "comparison.md", answers=[Markup(line) for line in _answers(content)],
        sections=sections(content), batch_size=size, any=bool(content.records),
    )  # fmt: skip


def _answers(content: Content) -> list[str]:
    """Return a sentence or two for each set-up with something to compare: which model is cheapest or best."""
    made = []
    for setup, results in _groups(content.records):
        if setup.source == "measured":
            small = all(bundled(each.model.name) for each in results)
            made.append(pareto_figure.lead(content.records, setup, results, small=small))
        elif setup.device == "cuda":
            made.append(costs(content, results))
    return list(filter(None, made))


def _groups(records: Sequence[Record]) -> list[tuple[Setup, tuple[BaseResult, ...]]]:
    """Return the results of each set-up, those of the reports first, as on every page across models."""
    groups = base_configuration.base_results(records).items()
    return sorted(groups, key=lambda group: group[0].source != "reports")


def costs(content: Content, results: Sequence[BaseResult]) -> str:
    """Return what an image costs with each model of the reports, as Markdown; empty without any."""
    found = [
        (each.model.title, each.speed, fields.energy(each.speed).text)
        for each in results
        if each.speed.latency_s and each.speed.energy_j_per_sample
    ]
    if not found:
        return ""
    thriftiest = min(found, key=lambda cost: cost[1].energy_j_per_sample or 0)[0]
    found.sort(key=lambda cost: cost[1].latency_s or 0)
    own = [record for _, record, _ in found]
    return say(
        "first", "costs", costs=found, thriftiest=thriftiest, dataset=dataset_title(own[0].cell.dataset),
        marked=disputed.figures(content.disputed, own), **_doubts(content, own),
    )  # fmt: skip


def _doubts(content: Content, own: Sequence[Record]) -> dict[str, int]:
    """Return the first finding's number on times or joules of records, and on their answers' length."""
    costs = {
        (record.key, figure.place)
        for record in own if record.reported
        for figure in record.reported.figures if figure.quantity in ("latency_s", "energy_j_per_sample")
    }  # fmt: skip
    numbers: dict[str, int] = {}
    for number, finding in enumerate(content.disputed, start=1):
        about = [where for where in finding.records if where.key in {record.key for record in own}]
        if finding.level != "note" and costs & {
            (where.key, place) for where in about for place in where.places
        }:
            numbers.setdefault("disputed", number)
        if about and finding.rule == LENGTH:
            numbers.setdefault("lengths", number)
    rates = [record.wer for record in own if record.wer and record.wer > 1]
    alike = len(rates) < len(own) or max(rates) < (1 + disputed.SHIFT) * min(rates)
    return {"disputed": 0, **numbers} | ({"lengths": 0} if alike else {})


def _computed(results: Sequence[BaseResult]) -> Markup:
    """Return the table of what the reports do not print and the geometry says."""
    names = [each.model.name for each in results if each.model.name in models.registry()]
    return Markup(finder.computed_table(names, base_configuration.BASE_BATCH_SIZE) if names else "")


def common(results: Sequence[BaseResult]) -> Markup:
    """Return what all records of some results have in common, as a line above their tables."""
    return Markup(footnotes.setup([r for each in results for r in each.records.values()]))


def sections(content: Content, model: str = "") -> list[dict[str, object]]:
    """Compare the models, or show one of them, on each machine and device, the reports first."""
    records = [record for record in content.records if model in ("", record.cell.model)]
    doubts = disputed.figures(content.disputed, records)
    keys = {key for key, _ in doubts}
    return [
        {
            "title": setup.title,
            "costs": [
                {"ms": fields.ms_per_image(each.speed).text, "joules": fields.energy(each.speed).text}
                for each in results
                if each.speed.latency_s and each.speed.energy_j_per_sample
            ],
            "setup": common(results),
            "cost": comparison_tables.cost_table(results, doubts),
            "notice": Markup(pareto_figure.notice(records, setup, results, content.turns)),
            "quality": comparison_tables.quality_table(results, doubts),
            "disputed": any(r.key in keys for each in results for r in each.records.values()),
            "notes": Markup(
                footnotes.reasons([r for each in results for r in each.records.values()], remarks=False)
            ),
            "figure": Markup(pareto_figure.blocks(records, setup, results, doubts)),
            "computed": _computed(results) if setup.source == "reports" else "",
        }
        for setup, results in _groups(records)
    ]
