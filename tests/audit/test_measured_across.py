"""Rules that compare measured records."""

from __future__ import annotations

from typing import Any

import pytest
from auditing import busy, levels
from factory import STEADY, answers, cell, record, timed

from vlmnb.flops.flop_count import FlopCount
from vlmnb.meters.readings import EnergyReading, MemoryUsage
from vlmnb.records.record import Record


def test_flops_that_change_with_the_kernel() -> None:
    base, other = record(), record(cell(optimization="sdpa"))
    assert levels("flops-do-not-depend-on-kernel", base, other) == []
    fewer = record(cell(optimization="sdpa"), flops=FlopCount(fvcore=None, torch=900_000))
    assert levels("flops-do-not-depend-on-kernel", base, fewer) == ["error"]


def test_answers_that_change_with_the_batch_size() -> None:
    base = timed(answers=answers(24, 1))
    few, many = (timed(of=cell(batch_size=1), latencies=STEADY * 2, answers=answers(24, n)) for n in (3, 20))
    assert levels("answers-do-not-depend-on-setting", base, few) == []
    assert levels("answers-do-not-depend-on-setting", base, many) == ["warning"]


def test_latency_that_falls_with_size_beyond_noise() -> None:
    small = timed(of=cell(image_size=64))

    def larger(factor: float, steps: int = 2) -> Record:
        latencies = tuple(factor * s for s in STEADY)
        return timed(latencies, cell(image_size=128), decode_steps=(steps,) * 12)

    check = "latency-grows-with-size"
    assert levels(check, small, larger(1.2)) == levels(check, small, larger(0.97)) == []
    assert levels(check, small, larger(0.7)) == ["warning"]
    assert levels(check, small, larger(0.7, steps=1)) == ["note"]
    assert levels(check, small, busy(larger(0.7))) == []


def test_noise_is_no_finding() -> None:
    import random

    chance = random.Random(0)
    for _ in range(50):
        draw = [tuple(0.5 * chance.lognormvariate(0, 0.1) for _ in range(12)) for _ in range(3)]
        found = [timed(d, cell(image_size=64 * (i + 1))) for i, d in enumerate(draw)]
        assert levels("latency-grows-with-size", *found) == []


def test_memory_that_falls_with_size() -> None:
    def peak(size: int, peak_bytes: int) -> Record:
        usage = MemoryUsage(peak_bytes=peak_bytes, baseline_bytes=100, method="test")
        return timed(of=cell(device="cuda", image_size=size), memory=usage)

    assert levels("memory-grows-with-size", peak(64, 1000), peak(128, 990)) == []
    assert levels("memory-grows-with-size", peak(64, 1000), peak(128, 500)) == ["warning"]


def test_a_record_that_was_copied() -> None:
    one = timed(key="1" * 16)
    other = timed(tuple(s + 1e-9 for s in STEADY), key="2" * 16)
    assert levels("no-record-twice", one, other) == []
    assert levels("no-record-twice", one, one.model_copy(update={"key": "2" * 16})) == ["error"]


def test_answers_of_one_model_under_another() -> None:
    def of(model: str, extra: str = "") -> Record:
        given = tuple(a.model_copy(update={"answer": f"{a.sample_id}{extra}"}) for a in answers(4, 1))
        return timed(tuple(s + len(model) for s in STEADY), cell(model=model), answers=given)

    assert levels("no-record-twice", of("llava-tiny"), of("fuyu-tiny", "!")) == []
    assert levels("no-record-twice", of("llava-tiny"), of("fuyu-tiny")) == ["warning"]


@pytest.mark.parametrize(("method", "level"), [("rapl", "warning"), ("model", "note")])
def test_a_power_that_never_changes(method: str, level: str) -> None:
    def of(size: int, watts: float) -> Record:
        reading = {"source": "cpu", "method": method, "energy_j": watts * 7, "detail": "t", "window_s": 7.0}
        return timed(of=cell(batch_size=size), energy=(EnergyReading.model_validate(reading),))

    assert levels("power-follows-the-work", of(1, 100), of(2, 120), of(4, 140)) == []
    assert levels("power-follows-the-work", of(1, 100), of(2, 100), of(4, 100)) == [level]


def test_an_optimization_that_is_slower() -> None:
    base = timed()
    same, slow = (timed(tuple(f * s for s in STEADY), cell(optimization="compile")) for f in (1.03, 1.5))
    assert levels("optimization-is-faster", base, same) == []
    assert levels("optimization-is-faster", base, slow) == ["warning"]


def test_an_optimization_that_changes_the_answers() -> None:
    def changing(count: int, **settings: Any) -> Record:
        given = answers(24, 1)
        changed = tuple(a.model_copy(update={"answer": "OTHER"}) for a in given[:count])
        latencies = STEADY * (2 if settings.get("batch_size") == 1 else 1)
        return timed(latencies, cell(**settings), answers=(*changed, *given[count:]))

    base, noise = changing(0), changing(2, batch_size=1)
    check = "optimization-keeps-the-answers"
    assert levels(check, base, noise, changing(3, optimization="compile")) == []
    assert levels(check, base, noise, changing(20, optimization="compile")) == ["warning"]
    assert levels(check, base, changing(20, optimization="compile")) == []


def test_a_cell_measured_twice_with_different_results() -> None:
    one = timed(key="1" * 16)
    same, other = (timed(tuple(f * s for s in STEADY), key="2" * 16) for f in (1.02, 2.0))
    assert levels("repeats-agree", one, same) == []
    assert levels("repeats-agree", one, other) == ["warning"]


def test_a_copy_that_was_scaled_is_found_out() -> None:
    one = timed(tuple(s + 1e-5 * i * i for i, s in enumerate(STEADY)), key="1" * 16)
    copied = timed(tuple(1.1 * s for s in one.timing.latencies_s if one.timing), key="2" * 16)
    assert levels("no-record-twice", one, copied) == ["error"]
