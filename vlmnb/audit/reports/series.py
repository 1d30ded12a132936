"""Find single rows out of line in a series of batch sizes or image sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp, log

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.power_and_latency import NOISE
from vlmnb.audit.reports.printed import Row
from vlmnb.audit.rule import Draft, found, rule
from vlmnb.records.record import Record
from vlmnb.records.reported import Quantity


@rule("reports")
def batch_row_in_line(records: Sequence[Record]) -> Iterator[Draft]:
    """A larger batch takes less than in proportion longer, and longer than a smaller one."""
    for three in _threes(records, "batch_size", "latency_s", "energy_j_per_sample"):
        sizes = [row.cell.batch_size for row in three]
        latencies = [row.number("latency_s") for row in three]
        joules = [row.number("energy_j_per_sample") for row in three]
        due_s, due_j = (_between(sizes, values) for values in (latencies, joules))
        sublinear = latencies[1] / sizes[1] < latencies[0] / sizes[0]
        if sublinear or latencies[2] > latencies[1] or latencies[1] <= due_s * (1 + NOISE):
            continue
        figures = {
            f"Batch {row.cell.batch_size}": f"{row.shown('latency_s')}, {row.shown('energy_j_per_sample')}, "
            f"{printed.watts(row):.0f} W"
            for row in three
        } | {f"Batch {sizes[1]} by the rows around it": f"{due_s:.3f} s, {due_j:.2f} J"}
        case = "latency and energy" if joules[1] > due_j * (1 + NOISE) else "latency"
        about = [row.where("latency_s", "energy_j_per_sample") for row in three]
        seconds, times = [latencies[1], due_s], [latencies[1] / due_s, joules[1] / due_j]
        yield found(case, about, figures, cell=three[1].cell, sizes=sizes, seconds=seconds, times=times)


@rule("reports")
def image_tokens_cost_alike(records: Sequence[Record]) -> Iterator[Draft]:
    """Latency grows evenly with the image tokens: equally many more tokens take about equally more time."""
    known = [three for three in _threes(records, "image_size", "latency_s") if _tokens(three)]
    for three in known:
        tokens, latencies = _tokens(three), [row.number("latency_s") for row in three]
        share = (tokens[1] - tokens[0]) / (tokens[2] - tokens[0])
        due = latencies[0] + share * (latencies[2] - latencies[0])
        if abs(latencies[1] - due) <= 2 * NOISE * due:
            continue  # noise of the row itself, and of the line between two others
        cell = three[1].cell
        alike = [other for other in known if _comparable(three, other)]
        steps = [b - a for a, b in pairwise(latencies)]
        rows = [pair for series in [three, *alike] for pair in zip(series, tokens, strict=True)]
        figures = {
            f"{row.cell.dataset}, {row.cell.image_size} px": f"{row.shown('latency_s')}, {count} image tokens"
            for row, count in rows
        } | {f"In line at {cell.image_size} px": f"{due:.3f} s"}
        about, added = [row.where("latency_s") for row in three], [b - a for a, b in pairwise(tokens)]
        shares, off = [b / a - 1 for a, b in pairwise(latencies)], latencies[1] / due - 1
        other = " ".join(_steps_elsewhere(other, sum(steps)) for other in alike)
        yield found(
            "", about, figures, cell=cell, added=added, steps=steps, shares=shares, off=off, other=other
        )


def _threes(records: Sequence[Record], field: str, *quantities: Quantity) -> list[tuple[Row, Row, Row]]:
    """Return three rows in a row that print some quantities and differ in one field alone."""
    series = printed.families(printed.distinct(printed.rows(records), *quantities), field)
    return [three for group in series for three in zip(group, group[1:], group[2:], strict=False)]


def _between(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the middle value if both ends are right and it changes by one power of the size."""
    share = log(sizes[1] / sizes[0]) / log(sizes[2] / sizes[0])
    return exp((1 - share) * log(values[0]) + share * log(values[2]))


def _tokens(rows: Sequence[Row]) -> list[int]:
    """Return the image tokens of rows; empty if the geometry is unknown or the tokens do not grow."""
    cells = [row.cell for row in rows]
    known = expected_flops.geometry(cells[0].model)
    tokens = [known.image_tokens(cell.image_size) for cell in cells] if known else []
    return tokens if tokens == sorted(set(tokens)) else []


def _comparable(rows: Sequence[Row], others: Sequence[Row]) -> bool:
    """Return whether rows have the same model and image sizes, on another data set."""
    work, other = ([(row.cell.model, row.cell.image_size) for row in series] for series in (rows, others))
    return work == other and rows[0].cell.dataset != others[0].cell.dataset


def _steps_elsewhere(rows: Sequence[Row], whole: float) -> str:
    a, b, c = (row.number("latency_s") for row in rows)
    return (
        f"On {rows[0].cell.dataset} the same two steps add {b - a:+.3f} and {c - b:+.3f} s, together "
        f"{c - a:.3f} s compared with {whole:.3f} s."
    )
