"""What preparing a batch takes beside the model, and the batch size from which the model waits for it."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.analysis import ratios
from vlmnb.records.parts import Prepared
from vlmnb.records.record import Record
from vlmnb.stats import comparison, intervals


def batch_s(record: Record, way: Prepared) -> tuple[float, ...]:
    """Return the seconds from one prepared batch to the next, round by round; empty if it was not here."""
    of = record.preprocessing
    return tuple(seconds / of.batches for seconds in way.round_s) if of else ()


def step_s(record: Record, way: Prepared, step: str) -> float:
    """Return the median seconds of a step for a batch, of all threads together."""
    assert record.preprocessing is not None
    return intervals.median_interval(way.steps[step]).median / record.preprocessing.batches


def model_s(record: Record) -> intervals.Summary | None:
    """Return the median seconds of the model for a batch."""
    return intervals.median_interval(record.preprocessing.model_s) if record.preprocessing else None


def share(record: Record, way: Prepared) -> float | None:
    """Return preparing as a share of preparing and model together, one after the other; from medians."""
    model, prepared = model_s(record), batch_s(record, way)
    if model is None or not prepared:
        return None
    own = intervals.median_interval(prepared).median
    return own / (own + model.median)


def against_model(record: Record, way: Prepared, noise_floor: float) -> comparison.Difference | None:
    """Compare preparing a batch with the model's work on it; None without times of both.

    A ratio above 1 makes the model wait although batches are prepared while it works on the one before.
    """
    prepared = batch_s(record, way)
    if record.preprocessing is None or not prepared:
        return None
    return ratios.compare(record.preprocessing.model_s, prepared, paired=False, noise_floor=noise_floor)


def waits(record: Record, way: Prepared, noise_floor: float) -> bool:
    """Return whether the model waits, by more than intervals and noise floor."""
    found = against_model(record, way, noise_floor)
    return found is not None and found.differ == "yes" and found.ratio > 1


def waits_from(records: Sequence[Record], backend: str, threads: int, noise_floor: float) -> int | None:
    """Return the smallest batch size from which on the model waits in every measured size; None if never."""
    found = {
        record.cell.batch_size: waits(record, way, noise_floor)
        for record in records
        if record.preprocessing
        for way in record.preprocessing.ways
        if (way.backend, way.threads) == (backend, threads)
    }
    size = None
    for at in sorted(found, reverse=True):
        if not found[at]:
            break
        size = at
    return size
