"""The one comparison of tables, sentences, Explore and audit: the ratio of two medians with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from vlmnb.analysis import signed_ranks
from vlmnb.stats import comparison, intervals
from vlmnb.stats.comparison import Difference
from vlmnb.stats.intervals import Floats


def compare(
    first: Sequence[float],
    second: Sequence[float],
    *,
    paired: bool,
    noise_floor: float = 0.0,
    confidence: float = intervals.ENOUGH,
) -> Difference:
    """Compare two lists of positive samples by the ratio of their medians, which is what readers see.

    The interval is that of :func:`comparison.compare`, of the ratios pair by pair or of both medians, made as
    wide as the noise floor around the ratio of the medians. Pair by pair, the median of the ratios can lie
    elsewhere, as where batches of very different length have not slowed down alike: the interval then reaches
    from one to the other, so that no difference is claimed that the medians do not show.

    Raises:
        ValueError: As :func:`comparison.compare`.
    """
    found = comparison.compare(first, second, paired=paired, confidence=confidence)
    return _reaching(found, median(second) / median(first), noise_floor)


def in_turns(first: Floats, second: Floats, shown: float, confidence: float = intervals.ENOUGH) -> Difference:
    """Compare times that lay side by side, of shape (rounds, batches), by the ratios of all pairs.

    There is no noise floor: the pairs show what is left of the machine's changes. The interval is that of
    :func:`signed_ranks.interval` for the logarithms of the ratios, and reaches to the ratio of the medians.

    Args:
        first: Times of the first record.
        second: Times of the second, each beside that of the first.
        shown: The ratio of the medians that readers see.
        confidence: Of the interval.
    """
    found = signed_ranks.interval(np.log(second) - np.log(first), confidence)
    ratio, low, high = map(math.exp, found)
    made = Difference(ratio=ratio, low=low, high=high, n=first.size, paired=True, differ="within")
    return _reaching(made, shown)


def over(shown: Difference, each: Sequence[Difference]) -> Difference:
    """Return the comparison that readers see with an interval that reaches over those of all turns.

    Args:
        shown: The comparison whose ratio readers see, of one of them.
        each: Those of all turns that two records took with one another.
    """
    low, high = min(one.low for one in (shown, *each)), max(one.high for one in (shown, *each))
    update = {"low": low, "high": high, "differ": "within" if low <= 1 <= high else "yes"}
    return shown.model_copy(update=update)


def _reaching(found: Difference, ratio: float, noise_floor: float = 0.0) -> Difference:
    """Return a comparison with the ratio that readers see, which its interval reaches to."""
    low = min(found.low, ratio / (1 + noise_floor))
    high = max(found.high, ratio * (1 + noise_floor))
    decided = found.differ if found.differ == "too few" else "within" if low <= 1 <= high else "yes"
    return found.model_copy(update={"ratio": ratio, "low": low, "high": high, "differ": decided})
