"""Sentences on which models are faster or more accurate, and the figure with its caption for a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlmnb.analysis import pareto, repeatability
from vlmnb.analysis.base_configuration import BASE_BATCH_SIZE, BaseResult, Setup, dataset_title, of_reports
from vlmnb.analysis.pareto import Order, Pair, Point
from vlmnb.analysis.repeatability import NoiseFloor
from vlmnb.records.record import Record
from vlmnb.stats.formatting import enumerated, reach
from vlmnb.views import comparison_tables, html, markup, pareto_figure, repeat_table


def findings(results: Sequence[BaseResult], noise_floor: float = repeatability.ASSUMED) -> list[str]:
    """Return who is on the Pareto front: one sentence for the data sets with the same order.

    Args:
        results: The models of one set-up.
        noise_floor: Relative difference that two repeats of one cell may show there.
    """
    known = None if of_reports(results) else noise_floor
    sentences: dict[str, list[str]] = {}
    for name, listed in pareto.panels(results).items():
        sentences.setdefault(clause(pareto.order(listed, known)), []).append(dataset_title(name))
    return [f"{enumerated(names)}: {said}." for said, names in sentences.items()]


def clause(order: Order) -> str:
    """Return who is on the Pareto front, and what of it may be chance."""
    if not order.doubted:
        return _order(order, "beaten")
    return f"by the numbers alone, {_order(order, 'behind')}, but {_doubts(order)}"


def figure_caption(setup: Setup, results: Sequence[BaseResult], floor: NoiseFloor) -> str:
    """Return what the figure shows, with units and numbers of samples.

    Args:
        setup: Where the models were measured.
        results: The models.
        floor: The noise floor there.
    """
    timed = [r for result in results for r in result.records.values() if r.latency_s is not None]
    samples = reach(sorted({record.cell.samples for record in timed}))
    first = f"Seconds per batch of {BASE_BATCH_SIZE} and error, at the base configuration ({setup.title})."
    first = " ".join([first, *findings(results, floor.value)])
    if of_reports(results):
        return f"{first} Errors over {samples} answers; the reports state no spread."
    batches = reach(sorted({record.latency.n for record in timed if record.latency}))
    return (
        f"{first} Medians of {batches} batches and errors over {samples} answers, with 95 % intervals; the "
        f"dashed line joins the Pareto front. {repeat_table.noise_floor(floor)} "
        f"{comparison_tables.chance(results)}".rstrip()
    )


def figure_blocks(
    records: Iterable[Record], setup: Setup, results: Sequence[BaseResult], folder: str = ""
) -> tuple[str, str]:
    """Return the figure of a set-up with its caption, and its points; ``folder``: where the chapters are."""
    floor = repeatability.noise_floor(records, [(setup.hardware, setup.device)])
    alt = " ".join(["Scatter plots of latency and error.", *findings(results, floor.value)])
    drawn = (
        f"```{{figure}} /book/generated/{pareto_figure.path(setup)}\n:alt: {markup.plain(alt)}\n\n"
        f"{markup.plain(figure_caption(setup, results, floor))}\n```"
    )
    return drawn, html.folded(comparison_tables.points_table(results, folder), html.POINTS)


def _order(order: Order, verb: str) -> str:
    front, behind = order.front, order.behind
    if len(front) + len(behind) == 1:
        return f"only {front[0].title} was measured"
    if len(front) == 1:
        return f"{front[0].title} has both the shortest latency and the smallest error"
    words = f"{_names(front)} are on the Pareto front, from fastest to most accurate"
    is_are = "is" if len(behind) == 1 else "are"
    return f"{words}; {_names(behind)} {is_are} {verb} in both" if behind else words


def _doubts(order: Order) -> str:
    """Return why the order of some points may be chance."""
    said = []
    if order.disturbed:
        was = "was" if len(order.disturbed) == 1 else "were"
        said.append(f"other processes used the machine while {_names(order.disturbed)} {was} measured")
    if order.latencies and order.latencies == order.errors:
        pairs = _pairs(order.errors)
        said.append(f"neither the latencies nor the errors of {pairs} are significantly different")
    else:
        for what, alike in (("latencies", order.latencies), ("errors", order.errors)):
            if alike:
                said.append(f"the {what} of {_pairs(alike)} are not significantly different")
    return enumerated(said)


def _pairs(pairs: Sequence[Pair]) -> str:
    return ", and of ".join(f"{one.title} and {other.title}" for one, other in pairs)


def _names(points: Sequence[Point]) -> str:
    return enumerated([point.title for point in points])
