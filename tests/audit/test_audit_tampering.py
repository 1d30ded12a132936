"""Rules that find an error planted in a record whose digest is in order, by what else the record tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auditing import GPUS, busy, changed, held_by, levels, of_machine
from factory import STEADY, answers, cell, record, timed

from vlmnb import paths
from vlmnb.audit import expected_flops, registry
from vlmnb.audit.measured import across_records, flops, memory, provenance
from vlmnb.audit.measured import answers as rules_of_answers
from vlmnb.audit.measured import phases as phases_measured
from vlmnb.device import slots
from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.records import content_key
from vlmnb.records import record as records_of
from vlmnb.records.record import Provenance, Record


def test_the_records_of_the_full_size_models_have_no_error() -> None:
    found, _ = records_of.read_all(paths.root() / "results")
    rows = [one for one in found if one.source == "measured" and one.cell.weights == "random"]
    assert rows
    assert [one for one in registry.run(rows, "measured") if one.level == "error"] == []


def test_a_key_that_is_not_of_its_cell() -> None:
    good = of_machine(timed())
    check = provenance.key_is_of_the_record
    assert levels(check, good, timed(), record()) == []
    assert levels(check, changed(good, "cell", batch_size=4)) == ["error"]
    assert levels(check, changed(good, "cell", optimization="sdpa")) == ["error"]
    for name, value in (("code", "1" * 16), ("threads", 8), ("packages", {"torch": "9"}), ("weights", "v")):
        assert levels(check, changed(good, "provenance", **{name: value})) == ["error"], name


def test_a_key_that_a_record_does_not_tell_enough_for_is_not_judged() -> None:
    random = changed(of_machine(timed()), "cell", weights="random")
    assert content_key.told_key(changed(random, "provenance", processor="checkpoint")) is None
    assert (
        levels(provenance.key_is_of_the_record, changed(random, "provenance", processor="checkpoint")) == []
    )


def test_the_key_by_the_record_is_the_key_it_is_stored_under(project: Path) -> None:
    of = cell()
    blank = content_key.blank(of, "2026-01-01T00:00:00+00:00")
    assert content_key.told_key(changed(blank, "provenance", threads=slots.threads())) == blank.key


def test_a_machine_that_is_not_the_one_described() -> None:
    good = of_machine(timed())
    check = provenance.machine_is_the_one_it_describes
    assert levels(check, good, timed()) == []
    assert levels(check, of_machine(timed(), gpus=GPUS)) == ["error"]
    assert levels(check, of_machine(timed(), slug="other")) == ["error"]


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
    parts, step = expected_flops.prefill("llava-tiny", 64, 84, 2), expected_flops.step("llava-tiny", 84, 2)
    assert parts is not None
    assert step is not None
    counts = FlopCount(
        fvcore=None, torch=parts.total, formula=parts.total, prefill_torch=parts, prefill_formula=parts,
        unused=expected_flops.unused("llava-tiny", 64, 2),
    )  # fmt: skip
    counts = counts.model_copy(update={"decode_torch": Parts(mlp=step), "decode_formula": Parts(mlp=step)})

    def of(**changes: Any) -> Record:
        return timed(flops=counts.model_copy(update=changes))

    check = flops.flops_of_phases_add_up
    assert levels(check, of(), timed(flops=None)) == []
    assert levels(check, of(torch=2 * parts.total)) == ["error"]
    assert levels(check, of(decode_torch=Parts(mlp=2 * step))) == ["error"]
    assert levels(check, of(decode_torch=Parts(mlp=2 * step), decode_formula=Parts(mlp=2 * step))) == [
        "error"
    ]
    assert levels(check, of(unused=10 * parts.total)) == ["error"]


def test_a_checkpoint_of_another_geometry_is_told_once_and_not_held_against_the_formula_of_its_name() -> None:
    check = provenance.geometry_is_of_the_named_model
    other = changed(held_by(cache_bytes=10), "provenance", geometry="text_config.hidden_size 96 for 4096")
    counts = FlopCount(torch=1000, fvcore=1000, decode_torch=Parts(mlp=10), decode_formula=Parts(mlp=10))
    other = other.model_copy(update={"flops": counts})
    assert levels(check, other) == ["warning"]
    assert levels(check, timed()) == []
    for held_against in (
        flops.flops_three_ways, flops.flops_of_phases_add_up, memory.cache_is_of_its_tokens,
    ):  # fmt: skip
        assert levels(held_against, other) == []
        assert levels(held_against, changed(other, "provenance", geometry="")) == ["error"]


def test_phases_that_were_swapped() -> None:
    def of(**phases: float) -> Record:
        shares = {"vision_s": 0.1, "prefill_s": 0.2, "decode_s": 0.7} | phases
        return timed(**{name: tuple(share * s for s in STEADY) for name, share in shares.items()})

    check = phases_measured.phases_keep_their_proportion
    usual = [of(), of(vision_s=0.12, decode_s=0.68), of(vision_s=0.09)]
    assert levels(check, *usual) == []
    assert set(levels(check, *usual, of(vision_s=0.7, decode_s=0.1))) == {"warning"}
    assert set(levels(check, of(), of(vision_s=0.7, decode_s=0.1))) == {"warning"}
    assert levels(check, *usual, of(vision_s=0.2, prefill_s=0.1)) == []
    assert levels(check, *usual, busy(of(vision_s=0.7, decode_s=0.1))) == []
    assert levels(check, *usual, changed(of(vision_s=0.7, decode_s=0.1), "cell", image_size=128)) == []


def test_phases_that_cannot_be_of_their_work() -> None:
    check = phases_measured.phases_are_of_their_work

    def of(vision: float, prefill: float, decode: float, **settings: Any) -> Record:
        shares = {"vision_s": vision, "prefill_s": prefill, "decode_s": decode}
        return timed(
            of=cell(**settings), **{name: tuple(share * s for s in STEADY) for name, share in shares.items()}
        )

    assert levels(check, of(0.1, 0.3, 0.6), timed(), record()) == []
    assert levels(check, of(0.1, 0.1, 0.8)) == ["warning"]
    assert levels(check, of(0.1, 0.1, 0.8, optimization="prompt_lookup")) == []

    parts, step = expected_flops.prefill("llava-tiny", 64, 84, 2), expected_flops.step("llava-tiny", 84, 2)
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

    check = phases_measured.phases_are_of_their_work
    assert levels(check, of(vision_s=stays, prefill_s=stays, decode_s=grows)) == []
    assert levels(check, of(vision_s=grows, prefill_s=stays, decode_s=stays)) == ["warning"]
    assert levels(check, of(vision_s=stays, prefill_s=grows, decode_s=stays)) == ["warning"]


def test_a_copy_that_was_scaled_is_found_out() -> None:
    one = timed(tuple(s + 1e-5 * i * i for i, s in enumerate(STEADY)), key="1" * 16)
    copied = timed(tuple(1.1 * s for s in one.timing.latencies_s if one.timing), key="2" * 16)
    assert levels(across_records.no_record_twice, one, copied) == ["error"]


def test_a_tampered_file_without_a_digest_is_no_record(tmp_path: Path) -> None:
    path = records_of.write(timed(key="1" * 16), tmp_path)
    told = json.loads(path.read_text())
    del told["digest"]
    path.write_text(json.dumps(told))
    found, problems = records_of.read_all(tmp_path)
    assert found == []
    assert len(problems) == 1
