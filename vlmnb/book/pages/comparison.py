"""The models at their base configuration: the comparison page, and the table on the first page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

from vlmnb.analysis import base_configuration, pareto
from vlmnb.book.content import Content
from vlmnb.book.rendering import render
from vlmnb.records.record import Record
from vlmnb.views import comparison_tables, pareto_findings
from vlmnb.views.table import Table


class Section(NamedTuple):
    """The models on one device of one machine.

    Attributes:
        title: The machine and the device in words.
        cost: Latency, energy, FLOPs and memory.
        quality: Word error rates and scores.
        figure: The figure of latency and error, and its points, as Markdown; empty without points.
    """

    title: str
    cost: Table
    quality: Table
    figure: Markup


def page(content: Content) -> str:
    """Return the comparison, one section per machine and device."""
    return render(
        "comparison", sections=sections(content.records), batch_size=base_configuration.BASE_BATCH_SIZE
    )


def headline(content: Content) -> str:
    """Return the table and the figure of the first page, of the device with the most models."""
    groups = base_configuration.base_results(content.records)
    if not groups:
        return render("nothing")
    setup, results = next(iter(groups.items()))
    blocks = pareto_findings.figure_blocks(content.records, setup, results, "generated/")
    return render(
        "headline", title=setup.title, table=comparison_tables.headline_table(results, "generated/"),
        figure=_figure(blocks) if pareto.panels(results) else "",
        reported=setup.source == "measured" and any(other.source == "reports" for other in groups),
    )  # fmt: skip


def sections(records: Iterable[Record]) -> list[Section]:
    """Compare the models on each machine and device."""
    records = list(records)
    made = []
    for setup, results in base_configuration.base_results(records).items():
        cost, quality = comparison_tables.cost_table(results), comparison_tables.quality_table(results)
        figure = Markup()
        if pareto.panels(results):
            figure = _figure(pareto_findings.figure_blocks(records, setup, results))
        made.append(Section(setup.title, cost, quality, figure))
    return made


def _figure(blocks: tuple[str, str]) -> Markup:
    return Markup("\n\n".join(blocks))
