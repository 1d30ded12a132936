"""Sentences on which models are faster or more accurate, and the figure with its caption for a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlmnb.analysis import pareto, repeatability
from vlmnb.analysis.base_configuration import BASE_BATCH_SIZE, BaseResult, Setup, dataset_title, of_reports
from vlmnb.analysis.pareto import Order
from vlmnb.records.record import Record
from vlmnb.stats.formatting import enumerated
from vlmnb.views import comparison_tables, html, pareto_figure, repeat_table
from vlmnb.views.templates import plain, say


def findings(results: Sequence[BaseResult], noise_floor: float = repeatability.ASSUMED) -> list[str]:
    """Return who is on a set-up's Pareto front: one sentence for the data sets with the same order."""
    known = None if of_reports(results) else noise_floor
    sentences: dict[str, list[str]] = {}
    for name, listed in pareto.panels(results).items():
        sentences.setdefault(clause(pareto.order(listed, known)), []).append(dataset_title(name))
    return [f"{enumerated(names)}: {said}." for said, names in sentences.items()]


def clause(order: Order) -> str:
    """Return who is on the Pareto front, and what of it may be chance."""
    return say("pareto", "clause", order=order)


def figure_caption(results: Sequence[BaseResult]) -> str:
    """Return who is on the Pareto front by the numbers alone, with units and numbers of samples."""
    fronts: dict[str, list[str]] = {}
    for name, listed in pareto.panels(results).items():
        front = enumerated([point.title for point in pareto.order(listed, None).front])
        fronts.setdefault(front, []).append(dataset_title(name))
    timed = [r for result in results for r in result.records.values() if r.latency_s is not None]
    return say(
        "pareto", "figure", fronts=fronts.items(), size=BASE_BATCH_SIZE, reported=of_reports(results),
        batches=[record.latency.n for record in timed if record.latency],
        samples=[record.cell.samples for record in timed],
    )  # fmt: skip


def figure_blocks(
    records: Iterable[Record], setup: Setup, results: Sequence[BaseResult], folder: str = ""
) -> tuple[str, str]:
    """Return a set-up's figure with what it says, and its points; ``folder``: where the chapters are."""
    floor = repeatability.noise_floor(records, [(setup.hardware, setup.device)])
    lines = findings(results, floor.value)
    if not of_reports(results):
        lines.append(repeat_table.noise_floor(floor))
    drawn = (
        f"```{{figure}} /book/generated/{pareto_figure.path(setup)}\n"
        f":alt: {plain(f'Scatter plots of latency and error, {setup.title}.')}\n\n"
        f"{plain(figure_caption(results))}\n```\n\n" + "\n".join(f"- {plain(line)}" for line in lines)
    )
    return drawn, html.folded(comparison_tables.points_table(results, folder), html.POINTS)
