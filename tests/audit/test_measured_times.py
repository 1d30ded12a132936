"""Rules over times, phases, windows and throughput of a measured record."""

from __future__ import annotations

from typing import Any

import pytest
from auditing import (
    around,
    busy,
    by_formula,
    changed,
    check,
    findings,
    gpu,
    layered,
    levels,
    metered,
    shown_as,
)
from factory import STEADY, answers, cell, record, timed

from vlmnb.device.state import DeviceState
from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.records import export_columns
from vlmnb.records.parts import FailedSample
from vlmnb.records.record import Record
from vlmnb.stats import intervals


def phased(vision: float, prefill: float, decode: float, **fields: Any) -> Record:
    """Make a record whose phases take shares of each batch."""
    shares = {"vision_s": vision, "prefill_s": prefill, "decode_s": decode}
    return timed(
        of=cell(**fields), **{name: tuple(share * s for s in STEADY) for name, share in shares.items()}
    )


def scaled(found: Record, factor: float) -> Record:
    """Copy a record with every time of its loop in another unit."""
    assert found.timing is not None
    names = ("latencies_s", "vision_s", "prefill_s", "decode_s", "preprocess_s")
    times = {name: tuple(factor * s for s in getattr(found.timing, name)) for name in names}
    rest = {"loop_s": factor * (found.timing.loop_s or 0), "first_call_s": factor * found.timing.first_call_s}
    return changed(found, "timing", **times, **rest)


def loaded(shares: tuple[float | None, ...], marks: tuple[bool, ...], window: float, marked: bool) -> Record:
    """Make a record with the background load of each pass and of the window, and their marks."""
    made = changed(metered(passes=len(shares)), "timing", pass_loads=shares, contaminated=marks)
    conditions = around(DeviceState(), window, marked)
    return changed(made, "provenance", conditions=conditions, other_load=window)


FAILED = FailedSample(row=3, id="3", reason="cannot identify image file")
FOUR = cell(batch_size=4, samples=48)
FIXED = cell(batch_size=4, samples=48, length="fixed", max_new_tokens=3)


def looped(share: float = 0.98, of: Any = FOUR, latencies: tuple[float, ...] = STEADY) -> Record:
    """Make a record whose batches take up a share of the loop around them."""
    return changed(timed(latencies, of=of), "timing", loop_s=sum(latencies) / share)


CLEAN = loaded((0.01,), (False,), 0.01, False)
SHIFTED = tuple(0.3 * s + 0.05 for s in STEADY)
GUESSED = timed(of=cell(optimization="fp32+prompt_lookup"), decode_steps=(1,) * 12)


@pytest.mark.parametrize(("rule", "level", "good", "bad"), [
    ("phases-add-up", "error", [timed(), record()],
     [timed(vision_s=(0.2,) * 12), timed(vision_s=(-0.05,) * 12, prefill_s=SHIFTED)]),
    ("every-batch-is-counted", "error", [timed(), record()],
     [timed(decode_steps=(2,) * 11), timed(answers=answers(4, 1)), timed(failed_samples=(FAILED,))]),
    ("failed-samples-are-few", "error", [timed(), timed(answers=answers(3, 1), failed_samples=(FAILED,))],
     [timed(failed_samples=(FAILED,)), timed(failed_samples=tuple(
         FailedSample(row=i, id=f"x{i}", reason="damaged") for i in range(7)))]),
    # The last record has what a list that is never cleared between passes counts.
    ("steps-are-tokens", "error", [timed(), timed(STEADY, passes=2, answers=answers(12, 1)), GUESSED],
     [timed(decode_steps=(2,) * 11 + (4,))]),
    # A loop shorter than its batches; a cell, and 22 passes of 0.2 s, in too little time; a late end.
    ("window-holds-the-loop", "error", [metered(), timed(), layered(), busy(metered(duration=8.2))],
     [scaled(metered(), 1000), scaled(metered(), 0.001), metered(loop_s=0.69),
      changed(metered(), "provenance", seconds=5.0), changed(layered(), "provenance", seconds=1.0),
      metered(duration=8.2)]),
    ("batches-take-up-the-loop", "warning", [metered(loop_s=6.1), timed(), busy(metered(loop_s=6.9))],
     [metered(loop_s=6.9)]),
    # The record before the last has a window without the load of its passes.
    ("others-are-marked", "error", [CLEAN, timed(), gpu(), loaded((0.5, None), (True, False), 0.3, True)],
     [loaded((0.5,), (False,), 0.5, True), loaded((0.01,), (False,), 0.5, False),
      loaded((0.01, 0.01), (False,), 0.01, False), loaded((0.5,), (True,), 0.0, False),
      changed(CLEAN, "provenance", other_load=0.0)]),
])  # fmt: skip
def test_a_planted_contradiction(rule: str, level: str, good: list[Record], bad: list[Record]) -> None:
    check(rule, level, good, *bad)


def test_figures_of_a_batch_that_was_never_full(monkeypatch: pytest.MonkeyPatch) -> None:
    rule, short = "figures-of-a-batch-need-a-full-one", timed((0.5,), cell(batch_size=8), batch_samples=(4,))
    assert levels(rule, timed(), record(), short, record(timing=None)) == []
    monkeypatch.setattr(Record, "short", False)
    (found,) = findings(rule, short)
    assert (found.level, found.figures["Shown"]) == ("error", "energy_j_per_sample, flops")


def test_phases_shortened_by_background_load_are_a_note() -> None:
    lost, twice = timed(vision_s=tuple(0.05 * s for s in STEADY)), timed(vision_s=(0.2,) * 12)
    assert levels("phases-add-up", lost) == ["error"]
    assert levels("phases-add-up", busy(lost)) == ["note"]
    assert levels("phases-add-up", busy(twice)) == ["error"], "background load lengthens no part of a batch"


def test_background_load_and_throttling_are_noted() -> None:
    assert levels("window-was-undisturbed", timed(), gpu()) == []
    assert levels("window-was-undisturbed", busy(timed())) == ["note", "note"]
    twice = timed((*STEADY, *(2 * s for s in STEADY)))
    one_pass = changed(twice, "timing", passes=2, pass_loads=(0.0, 0.5), contaminated=(False, True))
    (times, joules, _) = findings("window-was-undisturbed", busy(timed()), busy(one_pass))
    assert ("latencies may be too long" in times.meaning, "Energy" in times.meaning) == (True, False)
    assert "latencies are those of the other passes" in " ".join(joules.meaning.split())


def test_phases_that_were_swapped() -> None:
    def of(vision: float = 0.1, prefill: float = 0.2, decode: float = 0.7) -> Record:
        return phased(vision, prefill, decode)

    rule, usual = "phases-keep-their-proportion", [of(), of(0.12, decode=0.68), of(0.09)]
    swapped = of(0.7, decode=0.1)
    assert levels(rule, *usual) == []
    assert set(levels(rule, *usual, swapped)) == {"warning"}
    assert set(levels(rule, of(), swapped)) == {"warning"}
    for other in (of(0.2, 0.1), busy(swapped), changed(swapped, "cell", image_size=128)):
        assert levels(rule, *usual, other) == []


def test_phases_that_cannot_be_of_their_work() -> None:
    parts, step = by_formula()
    counts = FlopCount(fvcore=None, torch=parts.total, prefill_formula=parts, decode_formula=Parts(mlp=step))

    def counted(*shares: float, **fields: Any) -> Record:
        return phased(*shares, **fields).model_copy(update={"flops": counts})

    good = [
        phased(0.1, 0.3, 0.6), timed(), record(), phased(0.1, 0.1, 0.8, optimization="prompt_lookup"),
        counted(0.1, 0.3, 0.6), counted(0.7, 0.298, 0.002, optimization="compile"),
    ]  # fmt: skip
    faster = counted(0.7, 0.298, 0.002)  # than the prompt, per FLOP
    check("phases-are-of-their-work", "warning", good, phased(0.1, 0.1, 0.8), faster)


def test_phases_that_follow_the_steps_of_another() -> None:
    steps = tuple(2 + i % 7 for i in range(28))
    grows, stays = tuple(0.01 * n for n in steps), tuple(0.04 + 0.0001 * (i % 5) for i in range(28))
    given = [a.model_copy(update={"output_tokens": steps[i // 2] + 1}) for i, a in enumerate(answers(56, 1))]

    def of(*times: tuple[float, ...]) -> Record:
        phases = dict(zip(("vision_s", "prefill_s", "decode_s"), times, strict=True))
        latencies = tuple(map(sum, zip(*times, strict=True)))
        return timed(latencies, answers=tuple(given), decode_steps=steps, **phases)

    bad = of(grows, stays, stays), of(stays, grows, stays)
    check("phases-are-of-their-work", "warning", [of(stays, stays, grows)], *bad)


def test_good_throughput_is_no_finding() -> None:
    short = timed(batch_samples=(2,) * 11 + (1,), answers=answers(23, 1))
    good = [looped(), looped(of=FIXED), timed(), gpu(), record(), record(timing=None), short]
    assert levels("throughput-times-latency-is-the-batch", *good) == []
    assert export_columns.row(looped())["samples_per_s"] == pytest.approx(4 / 0.5055)
    assert export_columns.row(looped(of=FIXED))["output_tokens_per_s"] == pytest.approx(12 / 0.5055)
    assert export_columns.row(looped())["output_tokens_per_s"] is None


@pytest.mark.parametrize("name", ["latency_s", "samples_per_s", "output_tokens_per_s"])
def test_a_figure_of_a_sample_shown_as_one_of_a_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown_as(monkeypatch, **{name: 1 / 4})
    assert levels("throughput-times-latency-is-the-batch", looped(of=FIXED)) == ["error"]


def test_a_throughput_that_no_batch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Throughput and latency made from one wrong number agree with each other, not with the batches."""
    right = Record.full_batches_s.fget
    assert right is not None
    wrong = property(lambda found: tuple(s / found.cell.batch_size for s in right(found)))
    monkeypatch.setattr(Record, "full_batches_s", wrong)
    (found,) = findings("throughput-times-latency-is-the-batch", looped())
    assert "Slowest full batch" in found.figures


def test_times_of_samples_recorded_as_times_of_batches() -> None:
    """All raw times alike are divided: only the clock around the loop shows it."""
    per_sample = tuple(s / 4 for s in STEADY)
    wrong = looped(share=0.98 / 4, latencies=per_sample)
    (found,) = findings("throughput-times-latency-is-the-batch", wrong)
    assert found.level == "error"
    assert found.figures["By the loop"] != found.figures["Samples per second by the batches"]


def test_throughput_has_the_interval_of_the_latency_upside_down() -> None:
    rate, latency = looped().samples_per_s, looped().latency
    assert isinstance(rate, intervals.Summary)
    assert latency is not None
    assert (rate.low, rate.high) == (4 / latency.high, 4 / latency.low)
    assert rate.low < rate.median < rate.high
