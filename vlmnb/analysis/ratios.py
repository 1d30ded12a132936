"""The one comparison of tables, sentences, Explore and audit: the ratio of two medians with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from vlmnb.stats import comparison, intervals
from vlmnb.stats.comparison import Difference


def compare(
    first: Sequence[float],
    second: Sequence[float],
    *,
    paired: bool,
    noise_floor: float = 0.0,
    confidence: float = intervals.ENOUGH,
    shown: float | None = None,
) -> Difference:
    """Compare two lists of positive samples by the ratio of their medians, which is what readers see.

    The interval is that of :func:`comparison.compare`, of the ratios pair by pair or of both medians, made as
    wide as the noise floor around the ratio of the medians. Pair by pair, the median of the ratios can lie
    elsewhere, as where batches of very different length have not slowed down alike: the interval then reaches
    from one to the other, so that no difference is claimed that the medians do not show.

    ``shown`` is the ratio that readers see if the samples are means of what is shown.

    Raises:
        ValueError: As :func:`comparison.compare`.
    """
    found = comparison.compare(first, second, paired=paired, confidence=confidence)
    ratio = shown or median(second) / median(first)
    low = min(found.low, ratio / (1 + noise_floor))
    high = max(found.high, ratio * (1 + noise_floor))
    decided = found.differ if found.differ == "too few" else "within" if low <= 1 <= high else "yes"
    return found.model_copy(update={"ratio": ratio, "low": low, "high": high, "differ": decided})
