"""The one comparison: its ratio is that of the medians that readers see, its interval decides."""

from __future__ import annotations

from statistics import median

import pytest
from factory import cell, timed

from vlmnb.analysis import ratios, series
from vlmnb.stats import comparison
from vlmnb.views import fields, findings

MIXED = (1.0, 1.01, 1.02, 1.03, 2.0, 2.1, 2.2, 2.3, 2.4)
SLOWED = (1.02, 1.03, 1.04, 1.05, 2.6, 2.3, 2.5, 2.5, 2.5)
"""Batches of two kinds that slow down unlike: their medians by 15 %, the median batch by 4 %."""


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_the_ratio_is_that_of_the_medians_and_lies_within_its_interval(paired: bool, floor: float) -> None:
    found = ratios.compare(MIXED, SLOWED, paired=paired, noise_floor=floor)
    assert found.ratio == median(SLOWED) / median(MIXED)
    assert found.low <= found.ratio / (1 + floor)
    assert found.high >= found.ratio * (1 + floor)


def test_no_difference_is_claimed_that_the_medians_do_not_show() -> None:
    first = (1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0)
    second = tuple(1.2 * s if s != 2.0 else s for s in first)  # all but the batch in the middle are slower
    assert comparison.compare(first, second, paired=True).differ == "yes"
    found = ratios.compare(first, second, paired=True)
    assert (found.ratio, found.differ) == (1.0, "within")
    assert ratios.compare([1.0] * 3, [9.0] * 3, paired=True).differ == "too few"


def test_the_table_and_the_sentence_have_the_ratio_of_the_latencies_that_they_show() -> None:
    pair = [timed(MIXED), timed(SLOWED, of=cell(optimization="sdpa"))]
    shown = fields.percent(pair[1], pair[0], "latency_percent", 0.02)
    ratio = (pair[1].latency_s or 0) / (pair[0].latency_s or 1)
    assert shown.text == f"{100 * ratio:.1f}"
    assert f"{100 * ratio - 100:.0f} % longer" in findings.text(
        "optimization", [one.cell for one in pair], pair, 0.02
    )
    assert series.change(*pair, 0.02).ratio == ratio
