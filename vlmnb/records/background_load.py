"""Which numbers of a record were measured while other processes used the machine."""

from __future__ import annotations

from vlmnb.records.record import Record
from vlmnb.stats.batches import batch_values


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
