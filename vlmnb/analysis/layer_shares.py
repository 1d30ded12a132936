"""Where the time of a forward pass goes: shares of its parts, and what no part explains."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.analysis import ratios
from vlmnb.records.parts import LayerPart, LayerProfile
from vlmnb.stats import comparison, intervals
from vlmnb.stats.intervals import Interval

COMPONENTS = ("vision", "projector", "attention", "mlp", "other", "head")
"""Components in the order in which they run."""

ABOVE = 1.1
"""A rate that exceeds the peak rate by more than a tenth is not explained by noise of either."""


def components(profile: LayerProfile) -> dict[str, list[LayerPart]]:
    """Return the parts of each component that a profile has, in the order of ``COMPONENTS``."""
    found = {name: [part for part in profile.parts if part.component == name] for name in COMPONENTS}
    return {name: parts for name, parts in found.items() if parts}


def shares(profile: LayerProfile) -> dict[str, Interval]:
    """Return the share of each component in the whole."""
    return {name: share(profile, parts) for name, parts in components(profile).items()}


def whole_s(profile: LayerProfile) -> intervals.Summary:
    """Return the median seconds of a forward pass without hooks."""
    return intervals.median_interval(profile.forward_s)


def summed_s(parts: Sequence[LayerPart]) -> intervals.Summary:
    """Return the median over passes of the sum of parts, in seconds."""
    return intervals.median_interval(_sums(parts))


def share(profile: LayerProfile, parts: Sequence[LayerPart]) -> Interval:
    """Return the share of parts in the whole, median divided by median.

    The interval is that of the ratio of both medians. Where the sum is not positive in every pass, the
    ratio has no logarithm, and the interval is that of the sum alone.
    """
    taken, whole = summed_s(parts), whole_s(profile)
    if min(summed := _sums(parts)) > 0:
        found = ratios.compare(profile.forward_s, summed, paired=False)
        return Interval(taken.median / whole.median, found.low, found.high)
    return Interval(taken.median / whole.median, taken.low / whole.median, taken.high / whole.median)


def rest(profile: LayerProfile) -> Interval:
    """Return the share that no part explains; negative where hooks made the parts longer than the whole."""
    explained = share(profile, profile.parts)
    return Interval(1 - explained.value, 1 - explained.high, 1 - explained.low)


def hooks(profile: LayerProfile) -> comparison.Difference:
    """Compare the passes with hooks with those without."""
    return ratios.compare(profile.forward_s, profile.hooked_s, paired=False)


def above_peak(profile: LayerProfile) -> tuple[int, int]:
    """Return how many parts were faster than the peak rate of the device, and how many have a rate."""
    rates = [part.flops / part.replay_s for part in profile.parts if part.flops and part.replay_s]
    return sum(rate > ABOVE * profile.ceilings.flops_per_s for rate in rates), len(rates)


def _sums(parts: Sequence[LayerPart]) -> list[float]:
    """Return the seconds of parts together, pass by pass."""
    return [sum(times) for times in zip(*(part.in_pass_s for part in parts), strict=True)]
