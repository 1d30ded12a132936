"""Recognize power that does not change with the work, and so is assumed rather than measured."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

SAME_POWER = 0.005
"""Spread of mean power that no counter shows over different work: a processor's power moves by more than
half a percent with temperature alone."""

FEWEST_WORKLOADS = 3
"""Different workloads from which a constant power means something."""


class Power(NamedTuple):
    """Median power in W, and largest less smallest power as a share of it."""

    watts: float
    spread: float


def constant_power(watts: Sequence[float], workloads: int) -> Power | None:
    """Return the power if it is the same over enough workloads; None if it is not."""
    usual = median(watts)
    spread = (max(watts) - min(watts)) / usual
    return Power(usual, spread) if workloads >= FEWEST_WORKLOADS and spread <= SAME_POWER else None
