"""Rules over FLOPs, layers, answers and provenance of a measured record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from auditing import GPUS, answered, by_formula, check, gpu, held_by, layered, levels, of_machine
from factory import cell, changed, record, timed
from stored import measured

from vlmnb.audit import expected_flops, registry
from vlmnb.audit.measured import flops
from vlmnb.device import slots
from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.meters.readings import MemoryUsage
from vlmnb.quality import metrics
from vlmnb.records import content_key, record_file
from vlmnb.records.parts import Ceilings, Provenance
from vlmnb.records.record import Record

UNSCORED = {"word_errors": None, "reference_words": None, "score": None}
FIXED = [timed(of=cell(length="fixed", max_new_tokens=tokens)) for tokens in (3, 6)]
KEYED = of_machine(timed())
NOTED = answered(timed(), **UNSCORED, note="the first reference has no words")


@pytest.mark.parametrize(("rule", "level", "good", "bad"), [
    ("tokens-within-limits", "error", [timed()], [timed(of=cell(seq_len=10))]),
    ("fixed-answers-have-one-length", "error", [FIXED[0], timed()], [FIXED[1]]),
    ("word-errors-are-of-the-answers", "error", [timed()],
     [answered(timed(), word_errors=5), answered(timed(), score=1.5)]),
    ("scores-are-of-the-answers", "error",
     [timed(), record(), changed(answered(timed(), None, **UNSCORED), "cell", length="fixed"), NOTED],
     [answered(timed(), None, score=1.0), answered(timed(), None, score=None),
      answered(timed(), None, **UNSCORED), answered(timed(), **UNSCORED), timed(of=cell(length="fixed"))]),
    ("machine-is-the-one-it-describes", "error", [KEYED, timed()],
     [of_machine(timed(), gpus=GPUS), of_machine(timed(), slug="other")]),
    ("key-is-of-the-record", "error", [KEYED, timed(), record()],
     [changed(KEYED, part, **change) for part, change in (
         ("cell", {"batch_size": 4}), ("cell", {"optimization": "sdpa"}), ("provenance", {"weights": "v"}),
         ("provenance", {"code": "1" * 16}), ("provenance", {"threads": 8}),
         ("provenance", {"packages": {"torch": "9"}}))]),
])  # fmt: skip
def test_a_planted_contradiction(rule: str, level: str, good: list[Record], bad: list[Record]) -> None:
    check(rule, level, good, *bad)


def test_flops_that_counters_or_formula_disagree_on() -> None:
    total, unused = by_formula()[0].total, expected_flops.unused("llava-tiny", 64, 2)
    good, halved, other = (
        timed(flops=FlopCount(fvcore=fvcore, torch=torch))
        for fvcore, torch in ((total - unused, total), (total // 2, total), (None, total * 2))
    )
    check("flops-three-ways", "error", [good, timed(flops=None)], halved, other)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, []), ({"scale": 1.5}, ["error"]), ({"scale": 0.8}, ["warning"]), ({"flops": 1500}, ["error"]),
     ({"flops": 800}, ["warning"])],
)  # fmt: skip
def test_layers_that_do_not_add_up(changes: dict[str, Any], expected: list[str]) -> None:
    assert levels("layers-add-up", layered(**changes)) == expected


def test_a_rate_above_the_peak() -> None:
    check("rates-below-the-ceiling", "error", [layered()], layered(ceiling=5000))
    # On a CPU background load slows the measurement of the peak: no proof of a mistake.
    assert levels("rates-below-the-ceiling", layered(ceiling=5000, device="cpu")) == ["warning"]


def test_a_cell_above_its_peak() -> None:
    def of(flops_per_s: float, bytes_per_s: float, device: str = "cuda", **load: Any) -> Record:
        at = cell(device=device, dtype="fp16", optimization="fp16", length="fixed")
        memory = MemoryUsage(
            peak_bytes=10_000, baseline_bytes=1, method="test", decode_weights_bytes=500, cache_bytes=0
        )
        ceilings = Ceilings(flops_per_s=flops_per_s, bytes_per_s=bytes_per_s, method="test", **load)
        return timed(of=at, memory=memory, ceilings=ceilings)

    assert levels("rates-below-the-ceiling", of(1e9, 1e6)) == []
    assert levels("rates-below-the-ceiling", of(1e6, 1e6)) == ["error"]
    assert levels("rates-below-the-ceiling", of(1e6, 1e6, "cpu")) == ["warning"]
    assert levels("rates-below-the-ceiling", of(1e9, 1e3)) == ["note"]
    # As on pages, the peak is the best that any record of the device measured.
    assert levels("rates-below-the-ceiling", of(1e6, 1e6), of(1e9, 1e6)) == []
    assert levels("rates-below-the-ceiling", of(1e6, 1e6, "cpu"), of(1e9, 1e6)) == ["warning"]
    for load, said in ({"other_load": 0.88, "contaminated": True}, True), ({"other_load": 0.01}, False):
        (finding,) = registry.run([of(1e6, 1e6, **load)], "measured", [flops.rates_below_the_ceiling])
        assert ("background load, at least 88 %" in finding.meaning) == said


@pytest.mark.parametrize(
    ("dataset", "answer", "references", "score"),
    [("textvqa-mini", "The sign", ("sign", "a sign", *["stop"] * 8), 0.6),
     ("textvqa-mini", "Two", ("2",) * 10, 1.0), ("scienceqa-mini", "The answer is B.", ("B",), 1.0)],
)  # fmt: skip
def test_scores_are_recomputed_without_the_code_that_scores(
    dataset: str, answer: str, references: tuple[str, ...], score: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "accuracy", None)
    of = changed(timed(), "cell", dataset=dataset)
    changes = {"answer": answer, "references": references, "choices": ("red", "blue")}
    right, wrong = (answered(of, None, **changes, score=value) for value in (score, score / 2))
    check("scores-are-of-the-answers", "error", [right], wrong)


CAPTIONS = ("a red square and a blue circle", "two shapes: a green cross, a red ring", "a red square.", "red")
OF_OPTIONS = "B", "B. blue", "The answer is A. The answer is B.", "The answer is B"


@pytest.mark.parametrize(
    ("dataset", "given", "wanted", "metric"),
    [("coco-mini", CAPTIONS, CAPTIONS[::-1], "cider"), ("coco-mini", CAPTIONS, CAPTIONS, "bleu"),
     ("scienceqa-mini", OF_OPTIONS, ("B",) * 4, "accuracy_official")],
)  # fmt: skip
def test_metrics_are_recomputed_without_the_code_that_scores(
    dataset: str, given: tuple[str, ...], wanted: tuple[str, ...], metric: str, monkeypatch: Any
) -> None:
    rule, of = "metrics-are-of-the-answers", changed(timed(), "cell", dataset=dataset)
    made = tuple(
        one.model_copy(update={"answer": a, "references": (b, *CAPTIONS[:2]), "choices": ("red", "blue")})
        for one, a, b in zip(of.answers, given, wanted, strict=False)
    )
    of = of.model_copy(update={"answers": made})
    assert metric in of.scores
    assert levels(rule, of, record(), timed()) == []
    raised = {name: one._replace(value=one.value + 0.01) for name, one in of.scores.items()}
    monkeypatch.setattr(Record, "scores", raised)
    assert set(levels(rule, of)) == {"error"}


def test_numbers_that_are_not_finite() -> None:
    bad = timed().model_copy(update={"codecarbon": {"cpu_energy": math.nan}})
    check("numbers-are-finite", "error", [timed(), record(), gpu()], bad)
    assert levels("numbers-are-finite", record_file.finite(bad)) == ["warning"]


def test_word_errors_are_recomputed_without_the_code_that_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "word_errors", None)
    changes = {"answer": "A\u00a0GOOD\n sign", "references": ("GOOD",) * 10, "score": 0.0}
    right, wrong = (answered(timed(), **changes, word_errors=errors) for errors in (2, 1))
    check("word-errors-are-of-the-answers", "error", [right], wrong)


@pytest.mark.parametrize(
    ("text", "tokens", "found"),
    [("", 24, ["warning"]), ("", 1, ["warning"]), ("the the the the the the", 24, ["warning"]),
     ("!!!!!!!!", 24, ["warning"]), ("a cat\na cat\na cat\na cat\na cat", 24, ["warning"]),
     ("0000000", 3, []), ("the cat the dog the cat", 24, [])],
)  # fmt: skip
def test_answers_that_say_nothing(text: str, tokens: int, found: list[str]) -> None:
    good, rule = timed(), "answers-say-something"
    said = answered(good, None, answer=text, output_tokens=tokens)
    half = answered(good, 12, answer=text, output_tokens=tokens)
    assert levels(rule, good, record(), half, changed(said, "cell", length="fixed")) == []
    assert levels(rule, said) == found


def test_a_key_of_a_record_without_all_its_inputs_is_not_judged() -> None:
    random = changed(of_machine(timed()), "cell", weights="random")
    incomplete = changed(random, "provenance", processor="checkpoint")
    assert content_key.of_record(incomplete) is None
    assert levels("key-is-of-the-record", incomplete) == []


def test_one_question_with_two_references_or_prompts() -> None:
    good = timed()
    other = changed(good, "cell", batch_size=4)
    longer = answered(other, text_tokens=21)
    elsewhere = longer.model_copy(update={"provenance": Provenance(code="1" * 16, threads=1)})
    bad = answered(other, references=("BAD",) * 10), longer
    fine = [other, changed(longer, "cell", seq_len=50), elsewhere]
    check("a-question-is-one-question", "error", fine, *bad, beside=[good])


def test_flops_by_phase_that_are_not_the_whole() -> None:
    parts, step = by_formula()
    counts = FlopCount(
        fvcore=None, torch=parts.total, formula=parts.total, prefill_torch=parts, prefill_formula=parts,
        unused=expected_flops.unused("llava-tiny", 64, 2), decode_torch=Parts(mlp=step),
        decode_formula=Parts(mlp=step),
    )  # fmt: skip
    twice, many = Parts(mlp=2 * step), 10 * parts.total
    steps = {"decode_torch": twice}, {"decode_torch": twice, "decode_formula": twice}
    bad = ({"torch": 2 * parts.total}, {"unused": many}, *steps)
    wrong = (timed(flops=counts.model_copy(update=changes)) for changes in bad)
    check("flops-of-phases-add-up", "error", [timed(flops=counts), timed(flops=None)], *wrong)


def test_another_geometry_is_reported_once_and_not_compared_with_the_formula() -> None:
    other = changed(held_by(cache_bytes=10), "provenance", geometry="text_config.hidden_size 96 for 4096")
    counts = FlopCount(torch=1000, fvcore=1000, decode_torch=Parts(mlp=10), decode_formula=Parts(mlp=10))
    other = other.model_copy(update={"flops": counts})
    check("geometry-is-of-the-named-model", "warning", [timed()], other)
    for rule in ("flops-three-ways", "flops-of-phases-add-up", "cache-is-of-its-tokens"):
        check(rule, "error", [other], changed(other, "provenance", geometry=""))


def test_the_key_by_the_record_is_the_key_it_is_stored_under(project: Path) -> None:
    blank, here = measured(cell()), {"threads": slots.threads(), "tuning": slots.tuning()}
    assert content_key.of_record(changed(blank, "provenance", **here)) == blank.key
