"""What an optimization saved and could save, whether it keeps the score, the cost of a right answer."""

from __future__ import annotations

from typing import Any

import pytest
from factory import STEADY, answers, but, cell, changed, timed
from savings import HALF, original, reduced

from vlmnb.analysis import worth
from vlmnb.records.record import Record


def test_image_tokens_save_at_most_their_share_of_prefill_and_of_a_step() -> None:
    found = worth.saving(original(), reduced(0.9), 0.0)
    assert found
    latency = sorted(STEADY)[5] / 2 + sorted(STEADY)[6] / 2
    # Half of the prefill (40 %), and of decoding (50 %) the larger of 5 % of its FLOPs and 10 % of its bytes.
    assert found.bound_s == pytest.approx(latency * (0.4 * 0.5 + 0.5 * 0.1))
    assert found.bound_j == pytest.approx((original().energy_j_per_sample or 0) * 0.25)
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


@pytest.mark.parametrize(
    ("wrong", "verdict"), [(24, "passed"), (12, "passed"), (25, "cannot tell"), (60, "failed")]
)
def test_the_gate_asks_for_99_percent_of_the_score(wrong: int, verdict: str) -> None:
    found = worth.gate(scored(24), scored(wrong, of=cell(optimization=HALF)), [])
    assert found
    assert found.kept.value == pytest.approx((96 - wrong) / 72)
    assert (found.verdict, found.spread, found.runs) == (verdict, 0.0, 0)


def test_the_originals_own_spread_widens_the_gate() -> None:
    base, own = scored(24), scored(24, of=cell(optimization=HALF))
    other = but(scored(26), key="f" * 16, cell=cell(batch_size=1, samples=base.cell.samples))
    found = worth.gate(base, own, [base, other])
    assert found
    assert found.spread == pytest.approx(2 / 72)
    assert (found.runs, found.verdict) == (1, "cannot tell")


def test_the_cost_of_a_right_answer_has_the_interval_of_the_score() -> None:
    found = worth.seconds_per_right(scored(24))
    assert found
    assert found.value == pytest.approx(0.25 / 0.75)
    assert found.low < found.value < found.high
    joules = worth.joules_per_right(scored(24))
    assert joules
    assert joules.value == pytest.approx((scored(24).energy_j_per_sample or 0) / 0.75)
    assert worth.seconds_per_right(scored(96)) is None
    assert worth.joules_per_right(scored(96)) is None
