"""The models at their base configuration: the comparison page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from vlmnb import models
from vlmnb.analysis import base_configuration
from vlmnb.book.content import Content
from vlmnb.book.rendering import render
from vlmnb.fit import finder
from vlmnb.records.record import Record
from vlmnb.views import comparison_tables, footnotes, pareto_figure


def page(content: Content) -> str:
    """Return the comparison, one section per machine and device."""
    made = sections(content.records)
    size = base_configuration.BASE_BATCH_SIZE
    return render("comparison.md", sections=made, batch_size=size, any=bool(content.records))


def _computed(results: Sequence[base_configuration.BaseResult]) -> Markup:
    """Return the table of what the reports do not print and the geometry says."""
    names = [each.model.name for each in results if each.model.name in models.registry()]
    return Markup(finder.computed_table(names, base_configuration.BASE_BATCH_SIZE) if names else "")


def common(results: Sequence[base_configuration.BaseResult]) -> Markup:
    """Return what all records of some results have in common, as a line above their tables."""
    return Markup(footnotes.setup([r for each in results for r in each.records.values()]))


def sections(records: Sequence[Record]) -> list[dict[str, object]]:
    """Compare the models on each machine and device."""
    return [
        {
            "title": setup.title,
            "setup": common(results),
            "cost": comparison_tables.cost_table(results),
            "notice": Markup(pareto_figure.notice(records, setup, results)),
            "quality": comparison_tables.quality_table(results),
            "notes": Markup(
                footnotes.reasons([r for each in results for r in each.records.values()], remarks=False)
            ),
            "figure": Markup(pareto_figure.blocks(records, setup, results)),
            "computed": _computed(results) if setup.source == "reports" else "",
        }
        for setup, results in base_configuration.base_results(records).items()
    ]
