"""Rules that compare measured records."""

from __future__ import annotations

import random
from typing import Any

import pytest
from auditing import busy, check, findings, levels
from factory import STEADY, answers, cell, record, timed

from vlmnb.flops.flop_count import FlopCount
from vlmnb.meters.readings import EnergyReading, MemoryUsage
from vlmnb.records.record import Record


def times(factor: float, **fields: Any) -> Record:
    """Make a record whose batches take a factor of the usual time."""
    return timed(tuple(factor * s for s in STEADY), **fields)


def wrong(count: int) -> Record:
    """Make a record at batch 1 with a number of wrong answers."""
    return timed(of=cell(batch_size=1), latencies=STEADY * 2, answers=answers(24, count))


def peak(size: int, peak_bytes: int) -> Record:
    """Make a record of a GPU at an image size."""
    usage = MemoryUsage(peak_bytes=peak_bytes, baseline_bytes=100, method="test")
    return timed(of=cell(device="cuda", image_size=size), memory=usage)


def answering(model: str, extra: str = "") -> Record:
    """Make a record of a model whose answers name their question."""
    given = tuple(a.model_copy(update={"answer": f"{a.sample_id}{extra}"}) for a in answers(4, 1))
    return timed(tuple(s + len(model) for s in STEADY), cell(model=model), answers=given)


SDPA, COMPILED = cell(optimization="sdpa"), cell(optimization="compile")


@pytest.mark.parametrize(("rule", "level", "first", "good", "bad"), [
    ("flops-do-not-depend-on-kernel", "error", record(), record(SDPA),
     record(SDPA, flops=FlopCount(fvcore=None, torch=900_000))),
    ("answers-do-not-depend-on-setting", "warning", timed(answers=answers(24, 1)), wrong(3), wrong(20)),
    ("memory-grows-with-size", "warning", peak(64, 1000), peak(128, 990), peak(128, 500)),
    ("no-record-twice", "warning", answering("llava-tiny"), answering("fuyu-tiny", "!"),
     answering("fuyu-tiny")),
    ("optimization-is-faster", "warning", timed(), times(1.03, of=COMPILED), times(1.5, of=COMPILED)),
    ("repeats-agree", "warning", timed(key="1" * 16), times(1.02, key="2" * 16), times(2.0, key="2" * 16)),
])  # fmt: skip
def test_two_records_that_contradict(rule: str, level: str, first: Record, good: Record, bad: Record) -> None:
    check(rule, level, [good], bad, beside=[first])


def test_the_interval_of_a_finding_is_not_taken_for_that_of_the_pages() -> None:
    (one,) = findings("optimization-is-faster", timed(), times(1.5, of=COMPILED))
    said = dict(one.figures)["Ratio"]
    assert said.endswith("(99 % interval)"), "pages show 95 %"


def test_latency_that_falls_with_size_beyond_noise() -> None:
    def larger(factor: float, steps: int = 2) -> Record:
        return times(factor, of=cell(image_size=128), decode_steps=(steps,) * 12)

    rule, small = "latency-grows-with-size", timed(of=cell(image_size=64))
    for fine in (larger(1.2), larger(0.97), busy(larger(0.7))):
        check(rule, "warning", [fine], larger(0.7), beside=[small])
    assert levels(rule, small, larger(0.7, steps=1)) == ["note"]


def test_noise_is_no_finding() -> None:
    chance = random.Random(0)
    for _ in range(50):
        draw = [tuple(0.5 * chance.lognormvariate(0, 0.1) for _ in range(12)) for _ in range(3)]
        found = [timed(d, cell(image_size=64 * (i + 1))) for i, d in enumerate(draw)]
        assert levels("latency-grows-with-size", *found) == []


def test_a_record_that_was_copied() -> None:
    one = timed(tuple(s + 1e-5 * i * i for i, s in enumerate(STEADY)), key="1" * 16)
    assert one.timing is not None
    other, scaled = (
        timed(tuple(factor * s + more for s in one.timing.latencies_s), key="2" * 16)
        for factor, more in ((1, 1e-9), (1.1, 0))
    )
    copied = one.model_copy(update={"key": "2" * 16})
    check("no-record-twice", "error", [other], copied, scaled, beside=[one])


@pytest.mark.parametrize(("method", "level"), [("rapl", "warning"), ("model", "note")])
def test_a_power_that_never_changes(method: str, level: str) -> None:
    def of(size: int, watts: float) -> Record:
        reading = {"source": "cpu", "method": method, "energy_j": watts * 7, "detail": "t", "window_s": 7.0}
        return timed(of=cell(batch_size=size), energy=(EnergyReading.model_validate(reading),))

    assert levels("power-follows-the-work", of(1, 100), of(2, 120), of(4, 140)) == []
    assert levels("power-follows-the-work", of(1, 100), of(2, 100), of(4, 100)) == [level]


def test_an_optimization_that_changes_the_answers() -> None:
    def changing(count: int, **settings: Any) -> Record:
        given = answers(24, 1)
        changed = tuple(a.model_copy(update={"answer": "OTHER"}) for a in given[:count])
        latencies = STEADY * (2 if settings.get("batch_size") == 1 else 1)
        return timed(latencies, cell(**settings), answers=(*changed, *given[count:]))

    base, noise = changing(0), changing(2, batch_size=1)
    few, many = (changing(count, optimization="compile") for count in (3, 20))
    check("optimization-keeps-the-answers", "warning", [few], many, beside=[base, noise])
    assert levels("optimization-keeps-the-answers", base, many) == []
