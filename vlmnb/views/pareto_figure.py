"""The figure of the comparison, latency and error of each model, and sentences on what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from vlmnb import models
from vlmnb.analysis import pareto, repeatability
from vlmnb.analysis.base_configuration import (
    BASE_BATCH_SIZE,
    BaseResult,
    Setup,
    of_reports,
    scored,
)
from vlmnb.analysis.pareto import Order
from vlmnb.analysis.titles import dataset_title
from vlmnb.records.record import Record
from vlmnb.records.reported import Disputed
from vlmnb.records.turns import Turns
from vlmnb.stats import intervals
from vlmnb.stats.formatting import enumerated
from vlmnb.views import comparison_tables, cost_figure, fields, repeat_table, table
from vlmnb.views.figure_style import INK, Drawing, drawing, look, svg, themed
from vlmnb.views.templates import brief, plain, say


class Dot(NamedTuple):
    """A model in a panel, with the ends of both intervals."""

    name: str
    title: str
    x: float
    x_ends: tuple[float, float]
    y: float
    y_ends: tuple[float, float]


class Panel(NamedTuple):
    """A data set in the figure, and what its vertical axis says."""

    title: str
    label: str
    dots: Sequence[Dot]


def figure(results: Sequence[BaseResult]) -> Drawing:
    """Return the figure of latency and error, one panel per data set."""
    if of_length(results):
        return cost_figure.figure(*_costs(results))
    panels = [
        Panel(
            dataset_title(name),
            "1 - accuracy" if scored(results, name) else "WER",
            [Dot(p.record.cell.model, p.title, p.x, p.x_ends, p.y, p.y_ends) for p in listed],
        )
        for name, listed in pareto.panels(results).items()
    ]
    return drawing(_drawn, panels)


def _drawn(shown: Sequence[Panel]) -> str:
    from matplotlib.figure import Figure

    columns = min(len(shown), 2)
    lines = -(-len(shown) // columns)
    with themed():
        sketch = Figure(figsize=(4.2 * columns, 2.6 * lines), layout="constrained")
        panels = sketch.subplots(lines, columns, squeeze=False).flat
        for unused in panels[len(shown) :]:
            unused.set_axis_off()
        named: dict[str, Any] = {}
        for (title, label, dots), panel in zip(shown, panels, strict=False):
            named |= _draw(panel, dots)
            panel.set_title(title, color=INK, fontsize=11)
            panel.set_ylabel(label)
            panel.set_xlabel("latency, s per batch")
        # Labels beside the points would overlap.
        sketch.legend(named.values(), named.keys(), loc="outside upper center", ncols=4)
    return svg(sketch)


def of_length(results: Sequence[BaseResult]) -> bool:
    """Return whether a word error rate is above 1: it measures the length of answers and ranks no model."""
    return any((record.wer or 0) > 1 for each in results for record in each.records.values())


def _costs(results: Sequence[BaseResult]) -> tuple[dict[str, list[Record]], dict[str, str]]:
    timed = [each for each in results if each.speed.latency_s and each.speed.energy_j_per_sample]
    return {e.model.name: [e.speed] for e in timed}, {e.model.name: e.model.title for e in timed}


def path(setup: Setup) -> str:
    """Return the file of a set-up's figure, below ``book/generated``."""
    return f"figures/{setup.source}-{setup.hardware}-{setup.device}.svg"


def findings(results: Sequence[BaseResult], noise_floor: float = repeatability.ASSUMED) -> list[str]:
    """Return who is on a set-up's Pareto front: one sentence for the data sets with the same order."""
    known = None if of_reports(results) else noise_floor
    sentences: dict[str, list[str]] = {}
    for name, listed in pareto.panels(results).items():
        sentences.setdefault(clause(pareto.order(listed, known)), []).append(dataset_title(name))
    return [f"{enumerated(names)}: {said}." for said, names in sentences.items()]


def left_out(results: Sequence[BaseResult]) -> list[str]:
    """Return which models are not in the figure, and why."""
    reasons: dict[str, list[str]] = {}
    for each in results:
        for name, record in each.records.items():
            if each.plotted(name) is None and not record.reported:
                lacking = [show(record) for show in (fields.latency, fields.wer)]
                why = record.degenerate or next(one.title for one in lacking if one.text == table.MISSING)
                reasons.setdefault(why, []).append(f"{each.model.title} on {dataset_title(name)}")
    return [f"Not in the figure: {enumerated(names)} ({why})." for why, names in reasons.items()]


def clause(order: Order) -> str:
    """Return who is on the Pareto front, and what of it may be chance."""
    return say("pareto", "clause", order=order)


def caption(results: Sequence[BaseResult]) -> str:
    """Return what the figure shows, with units and numbers of samples."""
    timed = [r for result in results for r in result.records.values() if r.latency_s is not None]
    return say(
        "pareto", "figure", size=BASE_BATCH_SIZE, reported=of_reports(results),
        batches=[record.latency.n for record in timed if record.latency],
        samples=[record.cell.samples for record in timed], intervals=fields.confidence(timed),
    )  # fmt: skip


def blocks(
    records: Iterable[Record], setup: Setup, results: Sequence[BaseResult], disputed: Disputed = ()
) -> str:
    """Return a set-up's figure, what it says, and its points, as Markdown; empty for one model alone.

    Disputed figures of reports are marked in the table of the points.
    """
    if not pareto.panels(results):
        return ""
    if of_length(results):
        said = say("pareto", "length")
        made = cost_figure.points(
            *_costs(results), "What the figure shows, at the base configuration", disputed
        )
        alt = f"Joules against milliseconds per image, {setup.title}."
        drawn = _placed(setup, alt, say("pareto", "cost_figure", size=BASE_BATCH_SIZE))
        return f"{said}\n\n{drawn}\n\n{table.points(made)}"
    floor = _noise_floor(records, setup).value
    lines = findings(results, floor)
    if not of_reports(results):
        lines += left_out(results)
    shown, more = brief(caption(results))
    drawn = f"{_placed(setup, f'Scatter plots of latency and error, {setup.title}.', shown)}\n\n{plain(more)}"
    said = "\n".join(f"- {plain(line)}" for line in lines)
    if not of_reports(results):
        said += f"\n\n{table.render(comparison_tables.pairs_table(results, floor))}"
    return f"{drawn}\n\n{said}\n\n{table.points(comparison_tables.points_table(results, disputed))}"


def lead(records: Iterable[Record], setup: Setup, results: Sequence[BaseResult], *, small: bool) -> str:
    """Return who is fastest and who errs least on the data set of the speed; empty for one model alone.

    With it stands whose latency or error may be the same for all that is known.

    Args:
        small: Whether all models are small stand-ins.
    """
    dataset = results[0].speed.cell.dataset
    listed = sorted(pareto.panels(results).get(dataset, ()), key=lambda point: point.x)
    if not listed:
        return ""
    floor = _noise_floor(records, setup).value
    change = pareto.compared(listed[0], listed[-1], floor).change
    best, *others = sorted(listed, key=lambda point: point.y)
    return say(
        "pareto", "lead", title=setup.title, dataset=dataset_title(dataset), listed=listed, small=small,
        longer=say("findings", "per_image", change=change, scale=1), best=best, worst=others[-1],
        as_fast=[one for one in listed[1:] if not pareto.faster(listed[0], one, floor)],
        as_good=[one for one in others if not pareto.better(best, one)], scored=scored(results, dataset),
    )  # fmt: skip


def notice(
    records: Iterable[Record], setup: Setup, results: Sequence[BaseResult], known: Iterable[Turns] = ()
) -> str:
    """Return which times models are compared by and with which noise floor, as Markdown; empty for reports.

    Of one model it says only that other pages show times of turns; ``known``: all turns.
    """
    if of_reports(results):
        return ""
    said = repeat_table.windows([one for each in results for one in each.records.values()], known)
    if len(results) < 2:
        return said
    return f"{say('pareto', 'rule')} {said} {repeat_table.noise_floor(_noise_floor(records, setup))}"


def _noise_floor(records: Iterable[Record], setup: Setup) -> repeatability.NoiseFloor:
    return repeatability.noise_floor(records, [(setup.hardware, setup.device)])


def _placed(setup: Setup, alt: str, caption: str) -> str:
    return f"```{{figure}} /book/generated/{path(setup)}\n:alt: {plain(alt)}\n\n{plain(caption)}\n```"


def _draw(panel: Any, listed: Sequence[Dot]) -> dict[str, Any]:
    import seaborn as sns

    front = [listed[i] for i in intervals.pareto_front([(p.x, p.y) for p in listed])]
    panel.plot([p.x for p in front], [p.y for p in front], color=INK, linewidth=1, linestyle="--", zorder=1)
    looks = {p.title: look(p.name, models.registry()) for p in listed}
    colors = {title: one.color for title, one in looks.items()}
    for p in listed:
        panel.errorbar(
            [p.x], [p.y], xerr=_reach(p.x, p.x_ends), yerr=_reach(p.y, p.y_ends),
            fmt="none", ecolor=colors[p.title], capsize=3,
        )  # fmt: skip
    sns.scatterplot(
        x=[p.x for p in listed], y=[p.y for p in listed], hue=list(colors), style=list(colors),
        palette=colors, markers={title: one.marker for title, one in looks.items()},
        s=40, linewidth=0, zorder=3, ax=panel,
    )  # fmt: skip
    handles, names = panel.get_legend_handles_labels()
    panel.get_legend().remove()
    panel.margins(x=0.15, y=0.15)  # before the limits, which end the automatic ones
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    panel.grid(visible=True)
    return dict(zip(names, handles, strict=True))


def _reach(value: float, ends: tuple[float, float]) -> list[list[float]]:
    """Return how far an interval extends below and above, as matplotlib takes it."""
    return [[max(value - ends[0], 0.0)], [max(ends[1] - value, 0.0)]]
