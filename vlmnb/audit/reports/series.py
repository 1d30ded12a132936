"""Rules over the course of latency in a series of batch sizes or image sizes: single rows out of line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp, log

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.power_and_latency import NOISE
from vlmnb.audit.reports.printed import Row
from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.fit import shape
from vlmnb.records.record import Record
from vlmnb.records.reported import Quantity


def batch_row_in_line(records: Sequence[Record]) -> Iterator[Finding]:
    """A larger batch takes less than in proportion longer, and longer than a smaller one."""
    for group in _series(records, "batch_size", "latency_s", "energy_j_per_sample"):
        for before, row, after in zip(group, group[1:], group[2:], strict=False):
            three = (before, row, after)
            sizes = [one.record.cell.batch_size for one in three]
            latencies = [one.value("latency_s") or 0.0 for one in three]
            joules = [one.value("energy_j_per_sample") or 0.0 for one in three]
            sublinear = latencies[1] / sizes[1] < latencies[0] / sizes[0]
            if sublinear or latencies[2] > latencies[1]:
                continue
            due = [_between(sizes, values) for values in (latencies, joules)]
            if latencies[1] <= due[0] * (1 + NOISE):
                continue
            both = joules[1] > due[1] * (1 + NOISE)
            cell = row.record.cell
            yield finding(
                "note",
                [one.where("latency_s", "energy_j_per_sample") for one in three],
                {
                    f"Batch {size}": f"{printed.shown(one.figures['latency_s'])}, "
                    f"{printed.shown(one.figures['energy_j_per_sample'])}, {printed.watts(one):.0f} W"
                    for size, one in zip(sizes, three, strict=True)
                }
                | {f"Batch {sizes[1]} between its neighbours": f"{due[0]:.3f} s, {due[1]:.2f} J"},
                f"The row of batch {sizes[1]} of {cell.model} on {cell.dataset} is out of line: against "
                f"batch {sizes[0]} a sample takes no less time, and a batch of {sizes[2]} takes no "
                f"longer. Between its neighbours it would be {due[0]:.3f} s; {latencies[1]:.3f} s, "
                f"{latencies[1] / due[0]:.2f} times that, is printed"
                + (f", and {joules[1] / due[1]:.2f} times the energy." if both else "."),
                (
                    "Both figures are off in one direction, so it is not one digit: longer answers or a "
                    "disturbed run would look like this. "
                    if both
                    else "The energy is not, so a wrong digit is possible. "
                )
                + "Nothing of it is stated. A gain from batching must not be read off this row.",
            )  # fmt: skip


def image_tokens_cost_alike(records: Sequence[Record]) -> Iterator[Finding]:
    """Latency grows evenly with the image tokens: the same tokens more take about the same time more."""
    series = _series(records, "image_size", "latency_s")
    for group in series:
        for three in zip(group, group[1:], group[2:], strict=False):
            steps = _steps(three)
            if steps is None:
                continue
            tokens, latencies = steps
            share = (tokens[1] - tokens[0]) / (tokens[2] - tokens[0])
            due = latencies[0] + share * (latencies[2] - latencies[0])
            if abs(latencies[1] - due) <= 2 * NOISE * due:
                continue  # of the row itself, and of the line between two others
            cell = three[1].record.cell
            figures = {_name(one): _told(one, count) for one, count in zip(three, tokens, strict=True)}
            others = []
            for group_of_other in series:
                other = group_of_other[0].record.cell
                same = [one for one in group_of_other if one.record.cell.image_size in _sizes(three)]
                if other.model != cell.model or other.dataset == cell.dataset or len(same) != len(three):
                    continue
                figures |= {_name(one): _told(one, count) for one, count in zip(same, tokens, strict=True)}
                taken = [one.value("latency_s") or 0.0 for one in same]
                others.append(
                    f" On {other.dataset} the same two steps add {taken[1] - taken[0]:+.3f} and "
                    f"{taken[2] - taken[1]:+.3f} s, together {taken[2] - taken[0]:.3f} s against "
                    f"{latencies[2] - latencies[0]:.3f} s."
                )
            percent = [100 * (b / a - 1) for a, b in pairwise(latencies)]
            yield finding(
                "note",
                [one.where("latency_s") for one in three],
                figures | {"In line at " + _sizes_text(three[1]): f"{due:.3f} s"},
                f"{cell.model} on {cell.dataset} takes {tokens[1] - tokens[0]} image tokens more with "
                f"{latencies[1] - latencies[0]:+.3f} s ({percent[0]:+.0f} %) and {tokens[2] - tokens[1]} "
                f"more with {latencies[2] - latencies[1]:+.3f} s ({percent[1]:+.0f} %): the row of "
                f"{_sizes_text(three[1])} lies {100 * (latencies[1] / due - 1):+.0f} % from the line through "
                f"its neighbours.{''.join(others)}",
                "Percentages of different data sets are of different answers beside the same work on the "
                "image; seconds are what compares. Which of the three rows is off is not stated: answers may "
                "differ in length with the image size.",
            )


def _series(records: Sequence[Record], field: str, *quantities: Quantity) -> list[list[Row]]:
    """Rows that print some quantities and agree in everything but one field, in the order of its values."""
    groups: dict[str, list[Row]] = {}
    for row in printed.distinct(printed.rows(records), *quantities):
        key = row.record.cell.model_copy(update={field: None}).model_dump_json()
        groups.setdefault(key, []).append(row)
    return [sorted(group, key=lambda row: getattr(row.record.cell, field)) for group in groups.values()]


def _between(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The middle value if both ends are right and it changes by one power of the size."""
    share = log(sizes[1] / sizes[0]) / log(sizes[2] / sizes[0])
    return exp((1 - share) * log(values[0]) + share * log(values[2]))


def _steps(rows: Sequence[Row]) -> tuple[list[int], list[float]] | None:
    """Image tokens and seconds of rows; None where the geometry is not known or the tokens do not grow."""
    cells = [row.record.cell for row in rows]
    if expected_flops.prefill(cells[0].model, 1, 1) is None:
        return None
    tokens = [shape.of(cell.model).image_tokens(cell.image_size) for cell in cells]
    if tokens != sorted(set(tokens)):
        return None
    return tokens, [row.value("latency_s") or 0.0 for row in rows]


def _sizes(rows: Sequence[Row]) -> list[int]:
    return [row.record.cell.image_size for row in rows]


def _sizes_text(row: Row) -> str:
    return f"{row.record.cell.image_size} px"


def _name(row: Row) -> str:
    return f"{row.record.cell.dataset}, {_sizes_text(row)}"


def _told(row: Row, tokens: int) -> str:
    return f"{printed.shown(row.figures['latency_s'])}, {tokens} image tokens"


RULES = rules("reports", (batch_row_in_line, image_tokens_cost_alike))
