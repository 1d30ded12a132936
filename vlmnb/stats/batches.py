"""Choose the batches that an interval is taken over."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def batch_values(
    values: Sequence[float],
    batch_samples: Sequence[int],
    batch_size: int,
    passes: int,
    length: str,
    contaminated: Sequence[bool] = (),
) -> tuple[float, ...]:
    """Return the values that an interval is taken over: those of full batches.

    At natural length batches differ in their work, so timing the same batches again adds no batch: each
    counts once, with the median of its passes. At fixed length all batches do the same work, and every timed
    one counts.

    Passes with background load are left out if enough clean ones remain: at natural length one, which holds
    every batch; at fixed length as many as hold ``intervals.FEWEST_SAMPLES`` full batches. Otherwise all
    passes count.

    Args:
        values: One per timed batch, pass after pass.
        batch_samples: Samples in each timed batch.
        batch_size: Samples of a full batch.
        passes: How often all batches were timed.
        contaminated: For each pass, whether it had background load; empty if that was not observed.
    """
    if any(contaminated) and not all(contaminated):
        from vlmnb.stats import intervals  # planning and status do without numpy

        clean = [i for i, loaded in enumerate(contaminated) if not loaded]
        each = len(values) // passes
        at = [index for i in clean for index in range(i * each, (i + 1) * each)]
        left = batch_values(
            [values[i] for i in at], [batch_samples[i] for i in at], batch_size, len(clean), length
        )
        if length == "natural" or len(left) >= intervals.FEWEST_SAMPLES:
            return left
    count = len(values) // passes
    if passes == 1 or length == "fixed":
        return tuple(v for v, samples in zip(values, batch_samples, strict=True) if samples == batch_size)
    return tuple(median(values[batch::count]) for batch in range(count) if batch_samples[batch] == batch_size)
