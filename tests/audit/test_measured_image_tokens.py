"""Rules over reductions of image tokens and over what optimizations save: each finds its planted error."""

from __future__ import annotations

import pytest
from auditing import check, levels
from factory import answers, but, cell, changed, timed
from savings import HALF, original, reduced

from vlmnb.audit import expected_flops
from vlmnb.flops.flop_count import FlopCount
from vlmnb.meters.readings import EnergyReading, ProbeLogits
from vlmnb.records.parts import VisualTokens
from vlmnb.records.record import Record


def halved(image_tokens: int = 32, computed: int = 32, cached: int = 32) -> Record:
    """A record of half of the bundled LLaVA's image tokens, and 20 text tokens, as an audit can check it."""
    of = cell(optimization=HALF)
    parts = expected_flops.prefill("llava-tiny", 64, 20 + computed, of.batch_size)
    assert parts
    return timed(
        of=of, visual_tokens=VisualTokens(kept=32, of=64),
        flops=FlopCount(fvcore=None, torch=parts.total, prefill_torch=parts),
        probe=ProbeLogits(vocabulary=1, values=(0.0,), cache_tokens=20 + cached + 1),
        answers=tuple(but(a, image_tokens=image_tokens) for a in answers(24, 1)),
    )  # fmt: skip


def test_the_kept_tokens_are_those_of_the_name() -> None:
    other = changed(halved(), "visual_tokens", kept=31)
    check(
        "kept-tokens-are-those-of-the-name", "error", [halved(), timed()],
        other, but(halved(), visual_tokens=None), halved(image_tokens=64),
    )  # fmt: skip


def test_what_was_removed_is_neither_in_the_cache_nor_in_the_flops() -> None:
    check("removed-tokens-are-nowhere", "error", [halved(), timed()], halved(cached=64), halved(computed=64))
    whole = but(timed(), probe=ProbeLogits(vocabulary=1, values=(0.0,), cache_tokens=85))
    assert levels("removed-tokens-are-nowhere", whole) == []
    assert levels("removed-tokens-are-nowhere", changed(whole, "probe", cache_tokens=150)) == ["error"]


@pytest.mark.parametrize(("factor", "level"), [(0.9, []), (0.66, []), (0.5, ["error"])])
def test_a_saving_beyond_its_bound_is_an_error(factor: float, level: list[str]) -> None:
    assert levels("savings-within-their-bound", original(), reduced(factor)) == level


def test_nothing_follows_where_the_machine_changed_its_speed_between_passes() -> None:
    base = original()
    assert base.timing
    every = base.timing.latencies_s
    half = len(every) // 2
    slower = tuple(2 * s if at < half else s for at, s in enumerate(every))
    assert levels("savings-within-their-bound", changed(base, "timing", passes=2), reduced(0.5)) == ["error"]
    uneven = changed(base, "timing", passes=2, latencies_s=slower)
    assert levels("savings-within-their-bound", uneven, reduced(0.5)) == []


def test_joules_beyond_the_bound_are_a_warning_where_a_counter_measured_them() -> None:
    def spent(joules: float, of: Record) -> Record:
        reading = EnergyReading(source="cpu", method="rapl", energy_j=joules, detail="t", window_s=5.0)
        return but(of, energy=(reading,))

    good = [spent(8.0, original()), spent(7.0, reduced(0.9))]
    assert levels("savings-within-their-bound", *good) == []
    assert levels("savings-within-their-bound", good[0], spent(1.0, reduced(0.9))) == ["warning"]
