"""Rules over measured records: each finds a planted error and is silent on good records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from auditing import busy, gpu, layered, levels
from factory import STEADY, answers, cell, record, timed

from vlmnb.audit import expected_flops, registry
from vlmnb.audit.measured import across_records, flops, timing
from vlmnb.audit.rule import Rule
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.meters.readings import SensorCard
from vlmnb.records.record import Ceilings, EnergyReading, FlopCount, MemoryUsage, Record


def test_phases_that_do_not_add_up() -> None:
    assert levels(timing.phases_add_up, timed(), record()) == []
    assert levels(timing.phases_add_up, timed(vision_s=(0.2,) * 12)) == ["error"]
    shifted = tuple(0.3 * s + 0.05 for s in STEADY)
    assert levels(timing.phases_add_up, timed(vision_s=(-0.05,) * 12, prefill_s=shifted)) == ["error"]


def test_phases_that_lack_what_others_took_are_no_error() -> None:
    lost = timed(vision_s=tuple(0.05 * s for s in STEADY))
    assert levels(timing.phases_add_up, lost) == ["error"]
    assert levels(timing.phases_add_up, busy(lost)) == ["note"]
    twice = timed(vision_s=(0.2,) * 12)
    assert levels(timing.phases_add_up, busy(twice)) == ["error"], "nobody adds time to a part of a batch"


def test_batches_that_are_not_counted() -> None:
    assert levels(timing.every_batch_is_counted, timed(), record()) == []
    assert levels(timing.every_batch_is_counted, timed(decode_steps=(2,) * 11)) == ["error"]
    assert levels(timing.every_batch_is_counted, timed(answers=answers(4, 1))) == ["error"]


def test_steps_that_are_not_the_tokens() -> None:
    twice = timed(STEADY, passes=2, answers=answers(12, 1))
    assert levels(timing.steps_are_tokens, timed(), twice) == []
    guessed = timed(of=cell(optimization="fp32+prompt_lookup"), decode_steps=(1,) * 12)
    assert levels(timing.steps_are_tokens, guessed) == []
    # What a list that is never cleared between passes counts.
    assert levels(timing.steps_are_tokens, timed(decode_steps=(2,) * 11 + (4,))) == ["error"]


def test_energy_of_another_window() -> None:
    def read(**changes: Any) -> Record:
        reading = {"source": "cpu", "method": "rapl", "energy_j": 99.0, "detail": "test", "window_s": 7.0}
        return timed(energy=(EnergyReading.model_validate(reading | changes),))

    assert levels(timing.energy_is_of_the_window, read(), read(samples=24), record()) == []
    assert levels(timing.energy_is_of_the_window, read(window_s=3.0)) == ["error"]
    assert levels(timing.energy_is_of_the_window, read(samples=12)) == ["error"]


@pytest.mark.parametrize(("watts", "expected"), [(300, []), (405, []), (500, ["error"]), (30, ["warning"])])
def test_power_outside_idle_and_limit(watts: float, expected: list[str]) -> None:
    assert levels(timing.power_between_idle_and_limit, gpu(watts)) == expected


def test_idle_power_of_the_sensor_card_counts_too() -> None:
    card = SensorCard(
        sensor="test", source="gpu", method="nvml_counter", period_s=0.1, step_j=1, resolution_s=0.001,
        updates=20, idle_power_w=100.0,
    )  # fmt: skip
    found = gpu(50)
    found = found.model_copy(
        update={
            "energy": tuple(e.model_copy(update={"idle_j": None}) for e in found.energy),
            "provenance": found.provenance.model_copy(update={"sensors": (card,)}),
        }
    )
    assert levels(timing.power_between_idle_and_limit, found) == ["warning"]


def test_a_counter_that_does_not_fit_the_power_the_gpu_tells() -> None:
    def told(watts: float, found: Record) -> Record:
        state = DeviceState(power_w=watts)
        around = Conditions(start=state, end=state, other_load=0.0, contaminated=False)
        return found.model_copy(
            update={"provenance": found.provenance.model_copy(update={"conditions": around})}
        )

    assert levels(timing.counter_fits_the_power, gpu(), told(280, gpu()), timed()) == []
    assert levels(timing.counter_fits_the_power, told(0.3, gpu())) == ["warning"]
    assert levels(timing.counter_fits_the_power, told(700, gpu())) == ["warning"]
    short = EnergyReading(source="gpu", method="nvml_counter", energy_j=1.0, detail="test", window_s=1.0)
    assert (
        levels(timing.counter_fits_the_power, told(300, gpu().model_copy(update={"energy": (short,)}))) == []
    )


def test_counter_and_codecarbon_disagree() -> None:
    joules = 3000 / 3.6e6
    assert levels(timing.counters_agree, gpu(codecarbon={"gpu_energy": joules}), gpu()) == []
    assert levels(timing.counters_agree, gpu(codecarbon={"gpu_energy": 2 * joules})) == ["warning"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"peak_bytes": 50}, ["error"]),
        ({"weights_bytes": 900, "cache_bytes": 200}, ["error"]),
        ({"reserved_peak_bytes": 500}, ["error"]),
    ],
)
def test_a_peak_that_cannot_be(changes: dict[str, int], expected: list[str]) -> None:
    usage = {
        "peak_bytes": 1000,
        "baseline_bytes": 800,
        "method": "test",
        "weights_bytes": 700,
        "cache_bytes": 100,
    }
    found = gpu(memory=MemoryUsage.model_validate(usage | changes))
    assert levels(timing.peak_holds_its_parts, found) == expected


def test_disturbed_windows_are_noted() -> None:
    assert levels(timing.window_was_undisturbed, timed(), gpu()) == []
    assert levels(timing.window_was_undisturbed, busy(timed())) == ["note", "note"]


def test_flops_that_counters_or_formula_disagree_on() -> None:
    parts = expected_flops.prefill("llava-tiny", 64, 84, 2)
    assert parts is not None
    unused = expected_flops.unused("llava-tiny", 64, 2)
    good = timed(flops=FlopCount(fvcore=parts.total - unused, torch=parts.total))
    assert levels(flops.flops_three_ways, good, timed(flops=None)) == []
    halved = timed(flops=FlopCount(fvcore=parts.total // 2, torch=parts.total))
    assert levels(flops.flops_three_ways, halved) == ["error"]
    other = timed(flops=FlopCount(fvcore=None, torch=parts.total * 2))
    assert levels(flops.flops_three_ways, other) == ["error"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"scale": 1.5}, ["error"]),
        ({"scale": 0.8}, ["warning"]),
        ({"flops": 1500}, ["error"]),
        ({"flops": 800}, ["warning"]),
    ],
)
def test_layers_that_do_not_add_up(changes: dict[str, Any], expected: list[str]) -> None:
    assert levels(flops.layers_add_up, layered(**changes)) == expected


def test_a_rate_above_the_ceiling() -> None:
    assert levels(flops.rates_below_the_ceiling, layered()) == []
    assert levels(flops.rates_below_the_ceiling, layered(ceiling=5000)) == ["error"]
    # On a CPU neighbours slow the measurement of the ceiling: no proof of a mistake.
    assert levels(flops.rates_below_the_ceiling, layered(ceiling=5000, device="cpu")) == ["warning"]


def test_a_cell_above_its_ceiling() -> None:
    def of(flops_per_s: float, bytes_per_s: float, device: str = "cuda") -> Record:
        at = cell(device=device, dtype="fp16", optimization="fp16", length="fixed")
        memory = MemoryUsage(
            peak_bytes=10_000, baseline_bytes=1, method="test", decode_weights_bytes=500, cache_bytes=0
        )
        ceilings = Ceilings(flops_per_s=flops_per_s, bytes_per_s=bytes_per_s, method="test")
        return timed(of=at, memory=memory, ceilings=ceilings)

    assert levels(flops.rates_below_the_ceiling, of(1e9, 1e6)) == []
    assert levels(flops.rates_below_the_ceiling, of(1e6, 1e6)) == ["error"]
    assert levels(flops.rates_below_the_ceiling, of(1e6, 1e6, "cpu")) == ["warning"]
    assert levels(flops.rates_below_the_ceiling, of(1e9, 1e3)) == ["note"]


def test_word_errors_that_are_not_those_of_the_answers() -> None:
    good = timed()
    assert levels(flops.word_errors_are_of_the_answers, good) == []
    changed = (good.answers[-1].model_copy(update={"word_errors": 5}), *good.answers[:-1])
    assert levels(flops.word_errors_are_of_the_answers, good.model_copy(update={"answers": changed})) == [
        "error"
    ]
    scored = (good.answers[0].model_copy(update={"score": 1.5}), *good.answers[1:])
    assert levels(flops.word_errors_are_of_the_answers, good.model_copy(update={"answers": scored})) == [
        "error"
    ]


def test_prompts_beyond_their_budget() -> None:
    assert levels(flops.tokens_within_limits, timed()) == []
    assert levels(flops.tokens_within_limits, timed(of=cell(seq_len=10))) == ["error"]


def test_flops_that_change_with_the_kernel() -> None:
    base, other = record(), record(cell(optimization="sdpa"))
    assert levels(across_records.flops_do_not_depend_on_kernel, base, other) == []
    fewer = record(cell(optimization="sdpa"), flops=FlopCount(fvcore=None, torch=900_000))
    assert levels(across_records.flops_do_not_depend_on_kernel, base, fewer) == ["error"]


def test_answers_that_change_with_the_batch_size() -> None:
    base = timed(answers=answers(24, 1))
    few, many = (timed(of=cell(batch_size=1), latencies=STEADY * 2, answers=answers(24, n)) for n in (3, 20))
    assert levels(across_records.answers_do_not_depend_on_setting, base, few) == []
    assert levels(across_records.answers_do_not_depend_on_setting, base, many) == ["warning"]


def test_latency_that_falls_with_size_beyond_noise() -> None:
    small = timed(of=cell(image_size=64))

    def larger(factor: float, steps: int = 2) -> Record:
        latencies = tuple(factor * s for s in STEADY)
        return timed(latencies, cell(image_size=128), decode_steps=(steps,) * 12)

    check = across_records.latency_grows_with_size
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
        assert levels(across_records.latency_grows_with_size, *found) == []


def test_memory_that_falls_with_size() -> None:
    def peak(size: int, peak_bytes: int) -> Record:
        usage = MemoryUsage(peak_bytes=peak_bytes, baseline_bytes=100, method="test")
        return timed(of=cell(device="cuda", image_size=size), memory=usage)

    assert levels(across_records.memory_grows_with_size, peak(64, 1000), peak(128, 990)) == []
    assert levels(across_records.memory_grows_with_size, peak(64, 1000), peak(128, 500)) == ["warning"]


def test_a_record_that_was_copied() -> None:
    one = timed(key="1" * 16)
    other = timed(tuple(s + 1e-9 for s in STEADY), key="2" * 16)
    assert levels(across_records.no_record_twice, one, other) == []
    assert levels(across_records.no_record_twice, one, one.model_copy(update={"key": "2" * 16})) == ["error"]


def test_answers_of_one_model_under_another() -> None:
    def of(model: str, extra: str = "") -> Record:
        told = tuple(a.model_copy(update={"answer": f"{a.sample_id}{extra}"}) for a in answers(4, 1))
        return timed(tuple(s + len(model) for s in STEADY), cell(model=model), answers=told)

    assert levels(across_records.no_record_twice, of("llava-tiny"), of("fuyu-tiny", "!")) == []
    assert levels(across_records.no_record_twice, of("llava-tiny"), of("fuyu-tiny")) == ["warning"]


@pytest.mark.parametrize(("method", "level"), [("rapl", "warning"), ("model", "note")])
def test_a_power_that_never_changes(method: str, level: str) -> None:
    def of(size: int, watts: float) -> Record:
        reading = {"source": "cpu", "method": method, "energy_j": watts * 7, "detail": "t", "window_s": 7.0}
        return timed(of=cell(batch_size=size), energy=(EnergyReading.model_validate(reading),))

    assert levels(across_records.power_follows_the_work, of(1, 100), of(2, 120), of(4, 140)) == []
    assert levels(across_records.power_follows_the_work, of(1, 100), of(2, 100), of(4, 100)) == [level]


def test_an_optimization_that_is_slower() -> None:
    base = timed()
    same, slow = (timed(tuple(f * s for s in STEADY), cell(optimization="compile")) for f in (1.03, 1.5))
    assert levels(across_records.optimization_is_faster, base, same) == []
    assert levels(across_records.optimization_is_faster, base, slow) == ["warning"]


def test_an_optimization_that_changes_the_answers() -> None:
    def told(count: int, **settings: Any) -> Record:
        given = answers(24, 1)
        changed = tuple(a.model_copy(update={"answer": "OTHER"}) for a in given[:count])
        latencies = STEADY * (2 if settings.get("batch_size") == 1 else 1)
        return timed(latencies, cell(**settings), answers=(*changed, *given[count:]))

    base, noise = told(0), told(2, batch_size=1)
    check = across_records.optimization_keeps_the_answers
    assert levels(check, base, noise, told(3, optimization="compile")) == []
    assert levels(check, base, noise, told(20, optimization="compile")) == ["warning"]
    assert levels(check, base, told(20, optimization="compile")) == []


def test_a_cell_measured_twice_with_different_results() -> None:
    one = timed(key="1" * 16)
    same, other = (timed(tuple(f * s for s in STEADY), key="2" * 16) for f in (1.02, 2.0))
    assert levels(across_records.repeats_agree, one, same) == []
    assert levels(across_records.repeats_agree, one, other) == ["warning"]


def test_good_records_give_no_error_or_warning() -> None:
    parts = expected_flops.prefill("llava-tiny", 64, 84, 2)
    assert parts is not None
    counts = FlopCount(fvcore=None, torch=parts.total)
    own = timed(tuple(s + 1e-6 for s in STEADY), flops=counts)
    assert registry.run([own, gpu(flops=counts), layered()], "measured") == []


@pytest.mark.parametrize("rule", registry.RULES, ids=lambda rule: f"{rule.source}-{rule.name}")
def test_every_rule_has_a_test_that_plants_its_error(rule: Rule) -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_audit*.py"))
    assert f".{rule.check.__name__}" in tests
