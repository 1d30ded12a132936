"""What an optimization saved and could save, whether it keeps the score, the cost of a right answer."""

from __future__ import annotations

from typing import Any

import pytest
from background import surrounded
from factory import STEADY, answers, but, cell, changed, timed
from savings import HALF, original, reduced

from vlmnb.analysis import worth
from vlmnb.records.record import Record
from vlmnb.stats.intervals import wilson


def test_image_tokens_save_at_most_their_share_of_prefill_and_of_a_step() -> None:
    found = worth.saving(original(), reduced(0.9), 0.05)
    assert found
    latency = sorted(STEADY)[5] / 2 + sorted(STEADY)[6] / 2
    # Of half of the tokens three quarters of the prefill (40 %), and of decoding (50 %) the larger of 5 % of
    # its FLOPs and 10 % of its bytes.
    assert found.bound_s == pytest.approx(latency * (0.4 * 0.75 + 0.5 * 0.1))
    assert found.bound_j == pytest.approx((original().energy_j_per_sample or 0) * 0.35)
    assert found.seconds
    assert found.seconds.value == pytest.approx(0.1 * latency)
    assert found.seconds.low < found.seconds.value < found.seconds.high
    assert found.most == "decode"


@pytest.mark.parametrize(
    ("name", "share"),
    [("compile", 0.9), ("static_cache", 0.9), ("prompt_lookup", 0.5), ("sdpa", 1.0), ("bf16", 1.0),
     (f"sdpa+{HALF}", 1.0)],
)  # fmt: skip
def test_a_setting_saves_at_most_the_phases_that_it_touches(name: str, share: float) -> None:
    dtype = "bf16" if name == "bf16" else "fp32"
    found = worth.saving(original(), timed(of=cell(optimization=name, dtype=dtype)), 0.0)
    assert found
    assert original().latency
    assert found.bound_s == pytest.approx(share * original().latency.median)  # type: ignore[union-attr]


def test_shorter_answers_are_no_saving() -> None:
    base = original(decode_steps=(4,) * len(STEADY))
    shorter = [0.5 * s for s in STEADY]
    own = changed(
        reduced(1.0, decode_steps=(2,) * len(STEADY)), "timing", decode_s=tuple(s / 2 for s in shorter)
    )
    found = worth.saving(base, own, 0.0)
    assert found
    assert found.seconds
    assert found.seconds.value == pytest.approx(0.0, abs=1e-9)


def scored(wrong: int, total: int = 96, **changes: Any) -> Record:
    return timed((0.5,) * (total // 2), answers=answers(total, wrong), **changes)


def test_accuracy_where_all_answers_are_right_has_an_interval_with_a_width() -> None:
    assert scored(0, 4).accuracy_interval == pytest.approx((0.5101, 1.0), abs=1e-4)
    assert scored(48, 96).accuracy_interval == pytest.approx((0.4019, 0.5981), abs=1e-4)


@pytest.mark.parametrize(
    ("wrong", "total", "verdict"),
    [(24, 600, "passed"), (24, 96, "may be noise"), (12, 96, "passed"), (25, 96, "may be noise"),
     (60, 96, "failed"), (24, 28, "may be noise"), (26, 32, "may be noise")],
)  # fmt: skip
def test_the_gate_asks_for_99_percent_of_the_score(wrong: int, total: int, verdict: str) -> None:
    found = worth.gate(scored(24, total), scored(wrong, total, of=cell(optimization=HALF)), [])
    assert found
    assert found.kept.value == pytest.approx((total - wrong) / (total - 24))
    assert (found.verdict, found.spread, found.runs) == (verdict, 0.0, 0)


def test_answers_that_are_all_the_same_leave_the_interval_of_their_number() -> None:
    found = worth.gate(scored(0, 4), scored(0, 4, of=cell(optimization=HALF)), [])
    assert found
    assert found.kept == pytest.approx((1.0, wilson(4, 4)[0], 1.0))


def test_the_originals_own_spread_widens_the_gate() -> None:
    base, own = scored(24), scored(24, of=cell(optimization=HALF))
    other = but(scored(26), key="f" * 16, cell=cell(batch_size=1, samples=base.cell.samples))
    found = worth.gate(base, own, [base, other])
    assert found
    assert found.spread == pytest.approx(2 / 72)
    assert (found.runs, found.verdict) == (1, "may be noise")


def test_the_cost_of_a_right_answer_has_the_interval_of_the_score() -> None:
    found = worth.seconds_per_right(scored(24))
    assert found
    assert found.value == pytest.approx(0.25 / 0.75)
    assert found.low < found.value < found.high
    joules = worth.joules_per_right(scored(24))
    assert joules
    assert joules.value == pytest.approx((scored(24).energy_j_per_sample or 0) / 0.75)
    equal, share = worth.seconds_per_right(scored(0, 4)), wilson(4, 4)
    assert equal
    assert equal == pytest.approx((0.25, 0.25, 0.25 / share[0]))
    assert worth.seconds_per_right(scored(96)) is None
    assert worth.joules_per_right(scored(96)) is None


def test_a_right_answer_costs_the_seconds_of_the_passes_that_the_latency_has() -> None:
    busy = surrounded(0.5, (True, True, False), answers=answers(2 * len(STEADY), 0))
    assert busy.timing
    each = len(STEADY)
    slow = tuple(s * (3 if at < 2 * each else 1) for at, s in enumerate(busy.timing.latencies_s))
    found = worth.seconds_per_right(changed(busy, "timing", latencies_s=slow))
    assert found
    assert found.value == pytest.approx(sum(STEADY) / (2 * each))
    short = changed(scored(24), "timing", batch_samples=(1,) * 48)
    assert worth.seconds_per_right(short) is None


def test_joules_are_saved_where_seconds_are_known() -> None:
    few = timed(STEADY[:3], of=cell(optimization=HALF))
    found = worth.saving(timed(STEADY[:3]), few, 0.0)
    assert found
    assert (found.seconds, found.joules) == (None, None)


@pytest.mark.parametrize(("floor", "apart"), [(0.0, 1.1), (0.56, 1.56)])
def test_saved_joules_are_of_two_readings_and_no_surer_than_the_noise_floor(
    floor: float, apart: float
) -> None:
    first, own = timed(STEADY), timed(STEADY, of=cell(optimization=HALF))
    found = worth.saving(first, own, floor)
    spent = first.energy_j_per_sample
    assert found
    assert found.joules
    assert spent
    assert own.energy_j_per_sample == spent
    assert found.joules == pytest.approx((0.0, spent * (1 - apart), spent * (1 - 1 / apart)))
