"""Rules that find an error planted in a record whose digest is in order, by what else the record tells."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from auditing import busy, gpu, layered, levels
from factory import STEADY, answers, cell, record, timed

from vlmnb import identity, machine, paths, slots
from vlmnb import record as records_of
from vlmnb.audit import accounts, between, content, held, origin, proportion, registry, windows, work
from vlmnb.audit import answers as rules_of_answers
from vlmnb.fit import shape
from vlmnb.flopcount import FlopCount
from vlmnb.formula import Parts
from vlmnb.models import geometry
from vlmnb.readings import Conditions, DeviceState, EnergyReading, MemoryUsage
from vlmnb.record import Provenance, Record

GPUS = [{"name": "NVIDIA H200", "uuid": "GPU-1", "memory_bytes": 1, "driver": "1", "power_limit_w": 700.0}]
HARDWARE: dict[str, Any] = {
    "slug": "test-machine", "cpu_model": "AMD EPYC", "logical_cores": 2, "memory_bytes": 2**34, "gpus": [],
    "fingerprint": machine.fingerprint_of("AMD EPYC", 2, 2**34, ()),
}  # fmt: skip


def of_machine(found: Record, **changes: Any) -> Record:
    """The same, measured on a described machine, under the key that then belongs to it."""
    was = found.provenance.model_copy(update={"machine": HARDWARE | changes, "weights": "w", "data": "d"})
    made = found.model_copy(update={"provenance": was})
    return made.model_copy(update={"key": identity.told_key(made)})


def changed(found: Record, part: str, **changes: Any) -> Record:
    """The same with some fields of one part changed."""
    return found.model_copy(update={part: getattr(found, part).model_copy(update=changes)})


def metered(duration: float = 7.0, *, loop_s: float = 6.9, **changes: Any) -> Record:
    """A record whose window codecarbon's row tells of: 6.066 s of batches, 2 W on the mean, a TDP of 8 W."""
    joules = 2 * duration
    reading = EnergyReading(
        source="cpu", method="model", energy_j=joules, detail="codecarbon 3, cpu_load, process mode, TDP 8 W"
    )
    row = {"duration": duration, "cpu_power": 2.0, "cpu_energy": joules / 3.6e6}
    made = timed(energy=(reading,), codecarbon=row, **changes)
    was = made.provenance.model_copy(update={"seconds": 60.0})
    return changed(made.model_copy(update={"provenance": was}), "timing", loop_s=loop_s)


def test_the_records_of_the_full_size_models_have_no_error() -> None:
    found, _ = records_of.read_all(paths.root() / "results")
    rows = [one for one in found if one.source == "measured" and one.cell.weights == "random"]
    assert rows
    assert [one for one in registry.run(rows, "measured") if one.level == "error"] == []


def test_a_key_that_is_not_of_its_cell() -> None:
    good = of_machine(timed())
    check = origin.key_is_of_the_record
    assert levels(check, good, timed(), record()) == []
    assert levels(check, changed(good, "cell", batch_size=4)) == ["error"]
    assert levels(check, changed(good, "cell", optimization="sdpa")) == ["error"]
    for name, value in (("code", "1" * 16), ("threads", 8), ("packages", {"torch": "9"}), ("weights", "v")):
        assert levels(check, changed(good, "provenance", **{name: value})) == ["error"], name


def test_a_key_that_a_record_does_not_tell_enough_for_is_not_judged() -> None:
    random = changed(of_machine(timed()), "cell", weights="random")
    assert identity.told_key(changed(random, "provenance", processor="checkpoint")) is None
    assert levels(origin.key_is_of_the_record, changed(random, "provenance", processor="checkpoint")) == []


def test_the_key_by_the_record_is_the_key_it_is_stored_under(project: Path) -> None:
    of = cell()
    blank = identity.blank(of, "2026-01-01T00:00:00+00:00")
    assert identity.told_key(changed(blank, "provenance", threads=slots.threads())) == blank.key


def test_a_machine_that_is_not_the_one_described() -> None:
    good = of_machine(timed())
    check = origin.machine_is_the_one_it_describes
    assert levels(check, good, timed()) == []
    assert levels(check, of_machine(timed(), gpus=GPUS)) == ["error"]
    assert levels(check, of_machine(timed(), slug="other")) == ["error"]


def scaled(found: Record, factor: float) -> Record:
    """The same with every time of its loop in another unit."""
    assert found.timing is not None
    names = ("latencies_s", "vision_s", "prefill_s", "decode_s", "preprocess_s")
    times = {name: tuple(factor * s for s in getattr(found.timing, name)) for name in names}
    rest = {"loop_s": factor * (found.timing.loop_s or 0), "first_call_s": factor * found.timing.first_call_s}
    return changed(found, "timing", **times, **rest)


def test_times_that_do_not_fit_the_window_that_held_them() -> None:
    check = windows.window_holds_the_loop
    assert levels(check, metered(), timed(), layered()) == []
    assert levels(check, scaled(metered(), 1000)) == ["error"]
    assert levels(check, scaled(metered(), 0.001)) == ["error"]
    assert levels(check, metered(loop_s=0.69)) == ["error"], "shorter than its batches"
    assert levels(check, changed(metered(), "provenance", seconds=5.0)) == ["error"]
    long = changed(layered(), "provenance", seconds=1.0)
    assert levels(check, long) == ["error"], "22 passes of 0.2 s in 1 s"


def test_a_loop_that_waited_for_others_is_no_error() -> None:
    late = metered(duration=8.2)
    assert levels(windows.window_holds_the_loop, late) == ["error"]
    assert levels(windows.window_holds_the_loop, busy(late)) == []


def test_time_between_batches() -> None:
    check = windows.batches_take_up_the_loop
    assert levels(check, metered(loop_s=6.1), timed()) == []
    assert levels(check, metered(loop_s=6.9)) == ["warning"]
    assert levels(check, busy(metered(loop_s=6.9))) == []


def loaded(shares: tuple[float | None, ...], marks: tuple[bool, ...], window: float, marked: bool) -> Record:
    """A record of one pass, or of as many as there are shares, with the load of others."""
    made = metered(passes=len(shares))
    made = changed(made, "timing", pass_loads=shares, contaminated=marks)
    state = DeviceState()
    around = Conditions(start=state, end=state, other_load=window, contaminated=marked)
    return changed(made, "provenance", conditions=around, other_load=window)


def test_others_that_are_not_marked() -> None:
    check = windows.others_are_marked
    assert levels(check, loaded((0.01,), (False,), 0.01, False), timed(), gpu()) == []
    assert levels(check, loaded((0.5, None), (True, False), 0.3, True)) == []
    assert levels(check, loaded((0.5,), (False,), 0.5, True)) == ["error"]
    assert levels(check, loaded((0.01,), (False,), 0.5, False)) == ["error"]
    assert levels(check, loaded((0.01, 0.01), (False,), 0.01, False)) == ["error"]
    assert levels(check, loaded((0.5,), (True,), 0.0, False)) == ["error"], (
        "a window without its passes' load"
    )
    told = changed(loaded((0.01,), (False,), 0.01, False), "provenance", other_load=0.0)
    assert levels(check, told) == ["error"]


@pytest.mark.parametrize("factor", [2.0, 1000.0, 1 / 6])
def test_joules_that_codecarbon_contradicts(factor: float) -> None:
    check = accounts.modelled_energy_is_codecarbons
    good = metered()
    assert levels(check, good, gpu(), timed()) == []

    def multiplied(row: bool = False, power: bool = False) -> Record:
        reading = good.energy[0].model_copy(update={"energy_j": factor * good.energy[0].energy_j})
        names = ["cpu_energy"] * row + ["cpu_power"] * power
        told = {n: factor * v if n in names else v for n, v in good.codecarbon.items()}
        return good.model_copy(update={"energy": (reading,), "codecarbon": told})

    assert levels(check, multiplied()) == ["error"]
    assert levels(check, multiplied(row=True)) == ["error"], "energy is power times time"
    beyond = ["error"] * (factor > 8)  # 2 W of a TDP of 8 W
    assert levels(check, multiplied(row=True, power=True)) == beyond
    assert levels(check, good.model_copy(update={"codecarbon": {}})) == ["error"]


def test_meters_that_closed_late_under_load_are_no_error() -> None:
    late = metered(duration=2.6, loop_s=2.46)
    row = late.codecarbon | {"cpu_energy": 2 * 1.9 / 3.6e6}
    reading = late.energy[0].model_copy(update={"energy_j": 2 * 1.9})
    late = late.model_copy(update={"codecarbon": row, "energy": (reading,)})
    assert levels(accounts.modelled_energy_is_codecarbons, late) == ["error"]
    assert levels(accounts.modelled_energy_is_codecarbons, busy(late)) == []


def test_a_model_that_is_called_a_counter() -> None:
    check = accounts.energy_names_its_counter
    good = of_machine(metered())
    assert levels(check, good, gpu(), timed()) == []

    def called(**changes: Any) -> Record:
        return good.model_copy(update={"energy": (good.energy[0].model_copy(update=changes),)})

    assert levels(check, called(method="nvml_counter")) == ["error"]
    assert levels(check, called(method="rapl")) == ["error"]
    assert levels(check, called(method="rapl", detail="RAPL package-0", window_s=7.0)) == ["error"]
    assert levels(check, called(source="gpu", method="nvml_counter", window_s=7.0)) == ["error"]
    assert levels(check, called(window_s=7.0)) == ["error"]
    assert levels(check, called(method="rapl", detail="codecarbon 3, intel_rapl, whole package")) == []


def test_a_counter_that_is_called_a_model_or_has_another_idle_energy() -> None:
    check, (reading,) = accounts.energy_names_its_counter, gpu().energy

    def read(**changes: Any) -> Record:
        return gpu().model_copy(update={"energy": (reading.model_copy(update=changes),)})

    assert levels(check, read()) == []
    assert levels(check, read(method="model")) == ["error"]
    assert levels(check, read(idle_j=6000.0)) == ["error"]
    assert levels(check, read(detail="codecarbon 3, cpu_load, TDP 8 W", source="cpu", method="model")) == [
        "error"
    ]


def test_energy_of_a_part_that_is_of_another_time() -> None:
    def parted(factor: float = 1.0, *, cpu_w: float = 4.0, method: str = "model") -> Record:
        found = layered()
        assert found.layers is not None
        seconds = factor * 0.8  # 8 replays of 0.1 s
        told = (("cpu", cpu_w, "cpu_load, TDP 8 W"), ("ram", 10.0, "constant 10 W, process mode"))
        energy = tuple(
            EnergyReading.model_validate(
                {"source": s, "method": method, "energy_j": w * seconds, "detail": f"codecarbon, {d}"}
            )
            for s, w, d in told
        )
        parts = tuple(part.model_copy(update={"energy": energy}) for part in found.layers.parts)
        return found.model_copy(update={"layers": found.layers.model_copy(update={"parts": parts})})

    check = accounts.energy_is_of_the_replays
    assert levels(check, parted(), parted(1.6), layered(), timed()) == []
    assert levels(check, parted(10)) == levels(check, parted(0.1)) == ["error"]
    assert levels(check, parted(cpu_w=40.0)) == ["error"]
    assert levels(check, busy(parted(10))) == []
    assert levels(accounts.energy_names_its_counter, parted()) == []
    assert "error" in levels(accounts.energy_names_its_counter, parted(method="rapl"))


def held_by(**changes: int) -> Record:
    """A record of a CPU whose memory is told in full, with the cache of its tokens."""
    found = timed()
    usage = {
        "peak_bytes": 10**8, "process_peak_bytes": 10**8, "baseline_bytes": 9 * 10**7,
        "process_baseline_bytes": 9 * 10**7, "weights_bytes": 10**7, "decode_weights_bytes": 10**6,
    }  # fmt: skip
    return found.model_copy(
        update={"memory": MemoryUsage.model_validate({"method": "test"} | usage | changes)}
    )


def test_a_peak_that_is_not_of_the_process() -> None:
    check = held.memory_of_a_cpu_is_the_process
    assert levels(check, held_by(), timed(), gpu()) == []
    assert levels(check, held_by(peak_bytes=10**5)) == ["error"]
    assert levels(check, held_by(baseline_bytes=10**5)) == ["error"]
    shrunk = {
        f"{name}_bytes": 10**8 // 1024 for name in ("peak", "process_peak", "baseline", "process_baseline")
    }
    assert levels(check, held_by(**shrunk)) == ["error"]


def test_a_cache_that_is_not_of_its_tokens() -> None:
    # Keys and values of two samples, of 20 + 64 tokens and two of three new ones, in fp32.
    text = shape.configuration("llava-tiny")["text_config"]
    heads, size = geometry.key_values(SimpleNamespace(**text))
    right = 2 * text["num_hidden_layers"] * heads * size * 86 * 2 * 4
    check = held.cache_is_of_its_tokens
    assert levels(check, held_by(cache_bytes=right), held_by(), gpu()) == []
    assert levels(check, held_by(cache_bytes=right // 2)) == ["error"]


def test_weights_of_two_sizes() -> None:
    check = held.weights_do_not_depend_on_the_work
    other = changed(held_by(), "cell", batch_size=4)
    assert levels(check, held_by(), other, timed()) == []
    assert levels(check, held_by(), changed(other, "memory", weights_bytes=2 * 10**7)) == ["error"]
    assert levels(check, held_by(decode_weights_bytes=10**9)) == ["error"]
    half = changed(changed(other, "memory", weights_bytes=5 * 10**6), "cell", optimization="bnb-4bit")
    assert levels(check, held_by(), half) == [], "another optimization"


def test_scores_that_are_not_those_of_the_answers() -> None:
    check, good = rules_of_answers.scores_are_of_the_answers, timed()
    fixed = timed(of=cell(length="fixed"))
    unscored = tuple(
        a.model_copy(update={"word_errors": None, "reference_words": None, "score": None})
        for a in good.answers
    )
    assert levels(check, good, record(), changed(good, "cell", length="fixed").model_copy(
        update={"answers": unscored}
    )) == []  # fmt: skip
    best = tuple(a.model_copy(update={"score": 1.0}) for a in good.answers)
    assert levels(check, good.model_copy(update={"answers": best})) == ["error"]
    none = tuple(a.model_copy(update={"score": None}) for a in good.answers)
    assert levels(check, good.model_copy(update={"answers": none})) == ["error"]
    assert levels(check, good.model_copy(update={"answers": unscored})) == ["error"]
    assert levels(check, good.model_copy(update={"answers": unscored[:1] + good.answers[1:]})) == ["error"]
    assert levels(check, fixed) == ["error"]


def test_answers_of_fixed_length_that_have_another() -> None:
    def of(tokens: int) -> Record:
        return timed(of=cell(length="fixed", max_new_tokens=tokens))

    check = rules_of_answers.fixed_answers_have_one_length
    assert levels(check, of(3), timed()) == []
    assert levels(check, of(6)) == ["error"]


def test_one_question_with_two_references_or_prompts() -> None:
    check, good = rules_of_answers.a_question_is_one_question, timed()
    other = changed(good, "cell", batch_size=4)

    def asked(**changes: Any) -> Record:
        first = good.answers[0].model_copy(update=changes)
        return other.model_copy(update={"answers": (first, *good.answers[1:])})

    assert levels(check, good, other) == []
    assert levels(check, good, asked(references=("BAD",) * 10)) == ["error"]
    assert levels(check, good, asked(text_tokens=21)) == ["error"]
    assert levels(check, good, changed(asked(text_tokens=21), "cell", seq_len=50)) == []
    elsewhere = Provenance(code="1" * 16, threads=1)
    assert levels(check, good, asked(text_tokens=21).model_copy(update={"provenance": elsewhere})) == []


def test_flops_by_phase_that_are_not_the_whole() -> None:
    parts, step = work.prefill("llava-tiny", 64, 84, 2), work.step("llava-tiny", 84, 2)
    assert parts is not None
    assert step is not None
    counts = FlopCount(
        fvcore=None, torch=parts.total, formula=parts.total, prefill_torch=parts, prefill_formula=parts,
        unused=work.unused("llava-tiny", 64, 2),
    )  # fmt: skip
    counts = counts.model_copy(update={"decode_torch": Parts(mlp=step), "decode_formula": Parts(mlp=step)})

    def of(**changes: Any) -> Record:
        return timed(flops=counts.model_copy(update=changes))

    check = content.flops_of_phases_add_up
    assert levels(check, of(), timed(flops=None)) == []
    assert levels(check, of(torch=2 * parts.total)) == ["error"]
    assert levels(check, of(decode_torch=Parts(mlp=2 * step))) == ["error"]
    assert levels(check, of(decode_torch=Parts(mlp=2 * step), decode_formula=Parts(mlp=2 * step))) == [
        "error"
    ]
    assert levels(check, of(unused=10 * parts.total)) == ["error"]


def test_a_checkpoint_of_another_geometry_is_told_once_and_not_held_against_the_formula_of_its_name() -> None:
    check = origin.geometry_is_of_the_named_model
    other = changed(held_by(cache_bytes=10), "provenance", geometry="text_config.hidden_size 96 for 4096")
    counts = FlopCount(torch=1000, fvcore=1000, decode_torch=Parts(mlp=10), decode_formula=Parts(mlp=10))
    other = other.model_copy(update={"flops": counts})
    assert levels(check, other) == ["warning"]
    assert levels(check, timed()) == []
    for held_against in (
        content.flops_three_ways, content.flops_of_phases_add_up, held.cache_is_of_its_tokens,
    ):  # fmt: skip
        assert levels(held_against, other) == []
        assert levels(held_against, changed(other, "provenance", geometry="")) == ["error"]


def test_phases_that_were_swapped() -> None:
    def of(**phases: float) -> Record:
        shares = {"vision_s": 0.1, "prefill_s": 0.2, "decode_s": 0.7} | phases
        return timed(**{name: tuple(share * s for s in STEADY) for name, share in shares.items()})

    check = proportion.phases_keep_their_proportion
    usual = [of(), of(vision_s=0.12, decode_s=0.68), of(vision_s=0.09)]
    assert levels(check, *usual) == []
    assert set(levels(check, *usual, of(vision_s=0.7, decode_s=0.1))) == {"warning"}
    assert set(levels(check, of(), of(vision_s=0.7, decode_s=0.1))) == {"warning"}
    assert levels(check, *usual, of(vision_s=0.2, prefill_s=0.1)) == []
    assert levels(check, *usual, busy(of(vision_s=0.7, decode_s=0.1))) == []
    assert levels(check, *usual, changed(of(vision_s=0.7, decode_s=0.1), "cell", image_size=128)) == []


def test_phases_that_cannot_be_of_their_work() -> None:
    check = proportion.phases_are_of_their_work

    def of(vision: float, prefill: float, decode: float, **settings: Any) -> Record:
        shares = {"vision_s": vision, "prefill_s": prefill, "decode_s": decode}
        return timed(
            of=cell(**settings), **{name: tuple(share * s for s in STEADY) for name, share in shares.items()}
        )

    assert levels(check, of(0.1, 0.3, 0.6), timed(), record()) == []
    assert levels(check, of(0.1, 0.1, 0.8)) == ["warning"]
    assert levels(check, of(0.1, 0.1, 0.8, optimization="prompt_lookup")) == []

    parts, step = work.prefill("llava-tiny", 64, 84, 2), work.step("llava-tiny", 84, 2)
    assert parts is not None
    assert step is not None
    counts = FlopCount(fvcore=None, torch=parts.total, prefill_formula=parts, decode_formula=Parts(mlp=step))

    def counted(found: Record) -> Record:
        return found.model_copy(update={"flops": counts})

    assert levels(check, counted(of(0.1, 0.3, 0.6))) == []
    assert levels(check, counted(of(0.7, 0.298, 0.002))) == ["warning"], "faster than the prompt per FLOP"
    assert levels(check, counted(of(0.7, 0.298, 0.002, optimization="compile"))) == []


def test_phases_that_follow_the_steps_of_another() -> None:
    steps = tuple(2 + i % 7 for i in range(28))
    grows, stays = tuple(0.01 * n for n in steps), tuple(0.04 + 0.0001 * (i % 5) for i in range(28))
    told = [a.model_copy(update={"output_tokens": steps[i // 2] + 1}) for i, a in enumerate(answers(56, 1))]

    def of(**phases: tuple[float, ...]) -> Record:
        latencies = tuple(sum(times) for times in zip(*phases.values(), strict=True))
        return timed(latencies, answers=tuple(told), decode_steps=steps, **phases)

    check = proportion.phases_are_of_their_work
    assert levels(check, of(vision_s=stays, prefill_s=stays, decode_s=grows)) == []
    assert levels(check, of(vision_s=grows, prefill_s=stays, decode_s=stays)) == ["warning"]
    assert levels(check, of(vision_s=stays, prefill_s=grows, decode_s=stays)) == ["warning"]


def test_a_copy_that_was_scaled_is_found_out() -> None:
    one = timed(tuple(s + 1e-5 * i * i for i, s in enumerate(STEADY)), key="1" * 16)
    copied = timed(tuple(1.1 * s for s in one.timing.latencies_s if one.timing), key="2" * 16)
    assert levels(between.no_record_twice, one, copied) == ["error"]


def test_a_tampered_file_without_a_digest_is_no_record(tmp_path: Path) -> None:
    path = records_of.write(timed(key="1" * 16), tmp_path)
    told = json.loads(path.read_text())
    del told["digest"]
    path.write_text(json.dumps(told))
    found, problems = records_of.read_all(tmp_path)
    assert found == []
    assert len(problems) == 1
