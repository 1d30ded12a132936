"""Rules over FLOPs, layers, answers and provenance of a measured record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from auditing import GPUS, changed, held_by, layered, levels, of_machine
from factory import cell, record, timed
from stored import measured

from vlmnb.audit import expected_flops
from vlmnb.device import slots
from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.meters.readings import MemoryUsage
from vlmnb.quality import metrics
from vlmnb.records import content_key
from vlmnb.records.layer_profile import Ceilings
from vlmnb.records.provenance import Provenance
from vlmnb.records.record import Record


def test_flops_that_counters_or_formula_disagree_on() -> None:
    parts = expected_flops.prefill("llava-tiny", 64, 84, 2)
    assert parts is not None
    unused = expected_flops.unused("llava-tiny", 64, 2)
    good = timed(flops=FlopCount(fvcore=parts.total - unused, torch=parts.total))
    assert levels("flops-three-ways", good, timed(flops=None)) == []
    halved = timed(flops=FlopCount(fvcore=parts.total // 2, torch=parts.total))
    assert levels("flops-three-ways", halved) == ["error"]
    other = timed(flops=FlopCount(fvcore=None, torch=parts.total * 2))
    assert levels("flops-three-ways", other) == ["error"]


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
    assert levels("layers-add-up", layered(**changes)) == expected


def test_a_rate_above_the_peak() -> None:
    assert levels("rates-below-the-ceiling", layered()) == []
    assert levels("rates-below-the-ceiling", layered(ceiling=5000)) == ["error"]
    # On a CPU background load slows the measurement of the peak: no proof of a mistake.
    assert levels("rates-below-the-ceiling", layered(ceiling=5000, device="cpu")) == ["warning"]


def test_a_cell_above_its_peak() -> None:
    def of(flops_per_s: float, bytes_per_s: float, device: str = "cuda") -> Record:
        at = cell(device=device, dtype="fp16", optimization="fp16", length="fixed")
        memory = MemoryUsage(
            peak_bytes=10_000, baseline_bytes=1, method="test", decode_weights_bytes=500, cache_bytes=0
        )
        ceilings = Ceilings(flops_per_s=flops_per_s, bytes_per_s=bytes_per_s, method="test")
        return timed(of=at, memory=memory, ceilings=ceilings)

    assert levels("rates-below-the-ceiling", of(1e9, 1e6)) == []
    assert levels("rates-below-the-ceiling", of(1e6, 1e6)) == ["error"]
    assert levels("rates-below-the-ceiling", of(1e6, 1e6, "cpu")) == ["warning"]
    assert levels("rates-below-the-ceiling", of(1e9, 1e3)) == ["note"]


def test_word_errors_that_are_not_those_of_the_answers() -> None:
    good = timed()
    assert levels("word-errors-are-of-the-answers", good) == []
    for change in ({"word_errors": 5}, {"score": 1.5}):
        first = good.answers[0].model_copy(update=change)
        wrong = good.model_copy(update={"answers": (first, *good.answers[1:])})
        assert levels("word-errors-are-of-the-answers", wrong) == ["error"], change


def test_word_errors_are_recomputed_without_the_code_that_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "word_errors", None)
    good = timed()
    changes = {"answer": "A\u00a0GOOD\n sign", "references": ("GOOD",) * 10, "word_errors": 2, "score": 0.0}
    for errors, found in ((2, []), (1, ["error"])):
        first = good.answers[0].model_copy(update=changes | {"word_errors": errors})
        spaced = good.model_copy(update={"answers": (first, *good.answers[1:])})
        assert levels("word-errors-are-of-the-answers", spaced) == found


@pytest.mark.parametrize(
    ("text", "tokens", "found"),
    [
        ("", 24, ["warning"]),
        ("", 1, ["warning"]),
        ("the the the the the the", 24, ["warning"]),
        ("!!!!!!!!", 24, ["warning"]),
        ("a cat\na cat\na cat\na cat\na cat", 24, ["warning"]),
        ("0000000", 3, []),
        ("the cat the dog the cat", 24, []),
    ],
)
def test_answers_that_say_nothing(text: str, tokens: int, found: list[str]) -> None:
    good = timed()
    change = {"answer": text, "output_tokens": tokens}
    said = good.model_copy(update={"answers": tuple(a.model_copy(update=change) for a in good.answers)})
    assert levels("answers-say-something", good, record()) == []
    assert levels("answers-say-something", said) == found
    assert levels("answers-say-something", changed(said, "cell", length="fixed")) == []
    half = said.model_copy(update={"answers": (*said.answers[:12], *good.answers[12:])})
    assert levels("answers-say-something", half) == []


def test_prompts_beyond_their_length() -> None:
    assert levels("tokens-within-limits", timed()) == []
    assert levels("tokens-within-limits", timed(of=cell(seq_len=10))) == ["error"]


def test_a_key_that_is_not_of_its_cell() -> None:
    good = of_machine(timed())
    check = "key-is-of-the-record"
    assert levels(check, good, timed(), record()) == []
    assert levels(check, changed(good, "cell", batch_size=4)) == ["error"]
    assert levels(check, changed(good, "cell", optimization="sdpa")) == ["error"]
    for name, value in (("code", "1" * 16), ("threads", 8), ("packages", {"torch": "9"}), ("weights", "v")):
        assert levels(check, changed(good, "provenance", **{name: value})) == ["error"], name


def test_a_key_of_a_record_without_all_its_inputs_is_not_judged() -> None:
    random = changed(of_machine(timed()), "cell", weights="random")
    incomplete = changed(random, "provenance", processor="checkpoint")
    assert content_key.of_record(incomplete) is None
    assert levels("key-is-of-the-record", incomplete) == []


def test_a_machine_that_is_not_the_one_described() -> None:
    good = of_machine(timed())
    check = "machine-is-the-one-it-describes"
    assert levels(check, good, timed()) == []
    assert levels(check, of_machine(timed(), gpus=GPUS)) == ["error"]
    assert levels(check, of_machine(timed(), slug="other")) == ["error"]


def test_scores_that_are_not_those_of_the_answers() -> None:
    check, good = "scores-are-of-the-answers", timed()

    def scored(first: int | None = None, **scores: Any) -> Record:
        again = tuple(a.model_copy(update=scores) for a in good.answers[:first])
        return good.model_copy(update={"answers": (*again, *good.answers[len(again) :])})

    nothing = {"word_errors": None, "reference_words": None, "score": None}
    assert levels(check, good, record(), changed(scored(**nothing), "cell", length="fixed")) == []
    assert levels(check, scored(score=1.0)) == levels(check, scored(score=None)) == ["error"]
    assert levels(check, scored(**nothing)) == levels(check, scored(1, **nothing)) == ["error"]
    assert levels(check, timed(of=cell(length="fixed"))) == ["error"]
    assert levels(check, scored(1, **nothing, note="the first reference has no words")) == []


def test_answers_of_fixed_length_that_have_another() -> None:
    def of(tokens: int) -> Record:
        return timed(of=cell(length="fixed", max_new_tokens=tokens))

    check = "fixed-answers-have-one-length"
    assert levels(check, of(3), timed()) == []
    assert levels(check, of(6)) == ["error"]


def test_one_question_with_two_references_or_prompts() -> None:
    check, good = "a-question-is-one-question", timed()
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

    check = "flops-of-phases-add-up"
    assert levels(check, of(), timed(flops=None)) == []
    assert levels(check, of(torch=2 * parts.total)) == ["error"]
    assert levels(check, of(decode_torch=Parts(mlp=2 * step))) == ["error"]
    twice = Parts(mlp=2 * step)
    assert levels(check, of(decode_torch=twice, decode_formula=twice)) == ["error"]
    assert levels(check, of(unused=10 * parts.total)) == ["error"]


def test_another_geometry_is_reported_once_and_not_compared_with_the_formula() -> None:
    check = "geometry-is-of-the-named-model"
    other = changed(held_by(cache_bytes=10), "provenance", geometry="text_config.hidden_size 96 for 4096")
    counts = FlopCount(torch=1000, fvcore=1000, decode_torch=Parts(mlp=10), decode_formula=Parts(mlp=10))
    other = other.model_copy(update={"flops": counts})
    assert levels(check, other) == ["warning"]
    assert levels(check, timed()) == []
    for by_formula in ("flops-three-ways", "flops-of-phases-add-up", "cache-is-of-its-tokens"):
        assert levels(by_formula, other) == []
        assert levels(by_formula, changed(other, "provenance", geometry="")) == ["error"]


def test_the_key_by_the_record_is_the_key_it_is_stored_under(project: Path) -> None:
    of = cell()
    blank = measured(of)
    assert content_key.of_record(changed(blank, "provenance", threads=slots.threads())) == blank.key
