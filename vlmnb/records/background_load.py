"""Which figures were measured while other processes used the machine, and how a table says so."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.records.record import Record
from vlmnb.spec.cell import words
from vlmnb.stats.batches import batch_values

MARK = " †"
"""Stands behind a figure that others' work may have moved."""

MEANING = "other processes used the machine meanwhile"


def of_window(record: Record) -> bool:
    """Whether others used the machine during the window, which energy and memory are of as a whole."""
    conditions = record.provenance.conditions
    return bool(conditions and conditions.contaminated)


def of_batches(record: Record) -> bool:
    """Whether others used the machine during the batches that statistics are taken over.

    Where the disturbed passes could be left out, they were not. A window can be disturbed though no pass is
    marked: passes are judged one by one, and those shorter than the clock can tell are not.
    """
    timing = record.timing
    if timing is None or not (of_window(record) or any(timing.contaminated)):
        return False
    cell = record.cell
    every = batch_values(
        timing.latencies_s, timing.batch_samples, cell.batch_size, timing.passes, cell.length
    )
    return not any(timing.contaminated) or every == record.full_batches_s


def latency_mark(record: Record) -> tuple[str, str]:
    """What stands behind a latency, and what its tooltip adds; both empty where nobody disturbed it."""
    return (MARK, f"; {told(record)}") if of_batches(record) else ("", "")


def energy_mark(record: Record) -> tuple[str, str]:
    """The same for figures of the whole window."""
    return (MARK, f"; {told(record)}") if of_window(record) else ("", "")


def told(record: Record) -> str:
    """What disturbed a record, in words."""
    return MEANING if record.provenance.other_load is None else f"{MEANING}, {share(record)} of its cores"


def share(record: Record) -> str:
    """The load by others during a record's window."""
    load = record.provenance.other_load
    return "a load that is not known" if load is None else f"{100 * load:.0f} %"


def note(records: Sequence[Record], energy: bool = True) -> str:
    """Markdown that explains the marks of a page's tables; empty where there are none.

    Args:
        records: Of the cells that are shown.
        energy: Whether joules are among what is shown.
    """
    timed = [record for record in records if record.status == "ok" and record.timing is not None]
    moved = [record for record in timed if of_batches(record)]
    left_out = [record for record in timed if energy and of_window(record) and not of_batches(record)]
    lines = []
    if moved:
        lines.append(
            f"- `†` {MEANING}: times{' and joules' * energy} may be too high, and rows may differ for no "
            f"other reason. To measure them again on an idle machine, delete their records ({_where(moved)})"
        )
    if left_out:
        lines.append(
            f"- `†` {MEANING}: the passes that they disturbed are left out of latencies, and not out of "
            f"joules, which are of the whole window ({_where(left_out)})"
        )
    return "\n".join(lines)


def _where(records: Sequence[Record]) -> str:
    return "; ".join(
        words(record.cell) + ("" if load is None else f": {100 * load:.0f} %")
        for record in records
        for load in (record.provenance.other_load,)
    )
