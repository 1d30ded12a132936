"""Rules over the reports' figures: each finds a planted error and is silent on good figures."""

from __future__ import annotations

from typing import Any

import pytest
from printing import levels, printed, together

from vlmnb.audit import expected_flops, registry
from vlmnb.audit.reports import cells, log, power_and_latency
from vlmnb.audit.reports import flops as flops_reports
from vlmnb.audit.reports import wer as wer_reports
from vlmnb.audit.rule import Finding
from vlmnb.records import report_transcripts
from vlmnb.records.record import Record

EXACT = {300: ("31.899999618530273", "31.729999542236328", "30.753334045410156")}


def test_two_values_of_one_cell() -> None:
    one, same, other = (
        printed(energy_j_per_sample=text, table=table)
        for text, table in (("129.2", "A"), ("129", "B"), ("131", "C"))
    )
    assert levels(cells.one_value_for_one_cell, together(one, same)) == []
    assert levels(cells.one_value_for_one_cell, together(one, other)) == ["error"]


def test_a_percentage_that_is_not_its_rows() -> None:
    base = printed(energy_j_per_sample="15.913", energy_percent="100")
    good = printed(energy_j_per_sample="16.079", energy_percent="101.0", optimization="compile")
    wrong = printed(energy_j_per_sample="16.079", energy_percent="101.4", optimization="compile")
    assert levels(cells.percent_of_its_base, base, good) == []
    (found,) = cells.percent_of_its_base([base, wrong])
    assert (found.level, found.figures["Recomputed"]) == ("error", "101.04 %")


def test_a_percentage_may_be_rounded_or_cut_off() -> None:
    base = printed(energy_j_per_sample="20.432", energy_percent="100")
    for shown in ("99.4", "99.5", "99"):
        row = printed(energy_j_per_sample="20.325", energy_percent=shown, optimization="compile")
        assert levels(cells.percent_of_its_base, base, row) == [], shown


def test_a_row_of_another_model_in_a_source() -> None:
    own = [printed("qwen2.5-vl-3b", file="004", latency_s="0.8", batch_size=size) for size in (1, 4)]
    strange = printed(file="004", kind="log", latency_s="1.7954043", energy_j_per_sample="53.02778")
    theirs = printed(file="000", latency_s="1.795", energy_j_per_sample="53.027")
    assert levels(cells.source_of_one_model, *own, theirs) == []
    (found,) = cells.source_of_one_model([*own, together(strange, theirs)])
    assert found.level == "error"
    assert "2 figures are" in found.meaning
    assert len({where.key for where in found.records}) == len(found.records)


def test_a_row_under_two_models() -> None:
    one = printed(latency_s="1.795", energy_j_per_sample="53.027")
    pasted = printed("fuyu-8b", latency_s="1.795", energy_j_per_sample="53.027", file="002")
    other = printed("fuyu-8b", latency_s="1.795", energy_j_per_sample="20.432", file="002")
    assert levels(cells.row_of_one_model, one, other) == []
    assert levels(cells.row_of_one_model, one, pasted) == ["error"]


def test_digits_that_were_cut_off_are_noted() -> None:
    full = printed(latency_s="1.4315514", kind="log", file="004")
    assert levels(log.digits_rounded, together(printed(latency_s="1.432"), full)) == []
    assert levels(log.digits_rounded, together(printed(latency_s="1.431"), full)) == ["note"]


def test_an_image_size_that_the_model_does_not_see() -> None:
    assert levels(cells.image_size_that_is_seen, printed("qwen2.5-vl-3b", latency_s="1.0")) == []
    assert levels(cells.image_size_that_is_seen, printed(latency_s="1.0")) == ["note"]


def test_blanks_without_a_reason() -> None:
    blank = printed(latency_s="-").model_copy(
        update={"status": "unstated", "reason": report_transcripts.NO_REASON}
    )
    told = blank.model_copy(update={"status": "not_enough_tokens", "reason": "not enough tokens"})
    assert levels(cells.blank_with_a_reason, told) == []
    assert levels(cells.blank_with_a_reason, blank) == ["note"]


@pytest.mark.parametrize(("field", "value"), [("device", "cpu"), ("optimization", "compile")])
def test_flops_that_change_with_device_or_kernel(field: str, value: str) -> None:
    base = printed(flops="11.03 T")
    changed = [printed(flops=text, **{field: value}) for text in ("11.03 T", "8.58 T")]
    assert levels(flops_reports.flops_do_not_depend_on_setting, base, changed[0]) == []
    assert levels(flops_reports.flops_do_not_depend_on_setting, base, changed[1]) == ["error"]


@pytest.mark.parametrize(
    ("model", "flops", "batch", "expected"),
    [
        ("llava-1.5-7b", "11.03 T", 1, []),
        ("llava-1.5-7b", "132.39 T", 16, []),
        ("llava-1.5-7b", "114.28 T", 16, ["warning"]),
        ("qwen2.5-vl-3b", "617.84 G", 1, ["warning"]),
        ("qwen2.5-vl-3b", "96.3 T", 16, ["error"]),
        ("qwen2.5-vl-3b", "1.9 T", 1, []),
    ],
)
def test_flops_against_the_geometry(model: str, flops: str, batch: int, expected: list[str]) -> None:
    found = printed(model, flops=flops, batch_size=batch)
    assert levels(flops_reports.flops_of_the_geometry, found) == expected


def test_the_text_tokens_that_a_count_stands_for_are_those_it_was_made_of() -> None:
    exact = expected_flops.most("fuyu-8b", 224, 100)
    found = expected_flops.text_tokens("fuyu-8b", 224, exact)
    assert found is not None
    assert found[0] == 100 <= found[1]
    assert expected_flops.text_tokens("fuyu-8b", 224, expected_flops.least("fuyu-8b", 224, 0) * 0.9) is None


def test_counts_of_a_model_that_no_prompts_explain() -> None:
    one = printed("qwen2.5-vl-3b", flops="617.84 G")
    near, far = (printed("qwen2.5-vl-3b", flops=f, batch_size=16) for f in ("12.09 T", "96.3 T"))
    assert levels(flops_reports.flops_of_a_batch, one, near) == []
    assert levels(flops_reports.flops_of_a_batch, one, far) == ["error"]


def test_counts_in_two_units() -> None:
    llava, qwen = printed(flops="11.03 T"), printed("qwen2.5-vl-3b", flops="617.84 G")
    assert levels(flops_reports.flops_in_one_unit, llava) == []
    assert levels(flops_reports.flops_in_one_unit, llava, qwen) == ["warning"]


def test_a_count_of_the_last_smaller_batch() -> None:
    one = printed(flops="11.03 T")
    whole, last = (
        printed(flops=text, batch_size=16, dataset="scienceqa") for text in ("176.5 T", "132.39 T")
    )
    assert levels(flops_reports.flops_of_the_batch_named, one, whole) == []
    assert levels(flops_reports.flops_of_the_batch_named, one, last) == ["warning"]


def test_a_count_that_does_not_follow_the_questions() -> None:
    one = printed("fuyu-8b", flops="806.5 G")
    same, other = (
        printed("fuyu-8b", flops=text, batch_size=16, dataset="scienceqa") for text in ("12.90 T", "14.1 T")
    )
    assert levels(flops_reports.flops_follow_the_prompt, one, other) == []
    assert levels(flops_reports.flops_follow_the_prompt, one, same) == ["note"]


def grid(*more: str) -> list[Record]:
    """Figures of a log on the grid of 300 words, and others."""
    texts = (*EXACT[300], *more)
    return [printed(wer=text, kind="log", seq_len=100 + i) for i, text in enumerate(texts)]


def test_the_reference_words_are_found_from_full_figures() -> None:
    assert wer_reports.reference_words(grid()) == {"textvqa": 300}
    assert wer_reports.reference_words(grid("31.123456954956055")) == {}


def test_a_wer_that_is_no_fraction_of_the_words() -> None:
    assert levels(wer_reports.wer_is_a_fraction_of_words, *grid("20.299")) == ["note"]
    assert levels(wer_reports.wer_is_a_fraction_of_words, *grid("20.298")) == ["error", "note"]


def test_a_wer_above_one_is_of_long_texts() -> None:
    (found,) = wer_reports.wer_of_short_answers(grid())
    assert found.level == "warning"
    assert found.figures["Words of a scored text, at least"] == "29.8 to 30.9"
    small = [f"{round(k) / 300:.3f}" for k in (30, 60)]
    good = [printed(wer=text, model="fuyu-8b", seq_len=100 + i) for i, text in enumerate(small)]
    assert {w.model for one in wer_reports.wer_of_short_answers([*grid(), *good]) for w in one.records} == {
        "llava-1.5-7b"
    }


@pytest.mark.parametrize(("field", "value"), [("batch_size", 16), ("optimization", "flash_attention_2")])
def test_answers_that_change_with_batch_size_or_kernel(field: str, value: Any) -> None:
    base = printed(wer="28.216")
    same, other = (printed(wer=text, **{field: value}) for text in ("28.3", "11.116"))
    assert levels(wer_reports.answers_do_not_depend_on_setting, base, same) == []
    assert levels(wer_reports.answers_do_not_depend_on_setting, base, other) == ["error"]


def test_a_wer_that_falls_as_the_question_is_cut() -> None:
    full = printed(wer="31.723", seq_len=200)
    worse, better = (printed(wer=text, seq_len=50) for text in ("33.0", "29.899"))
    assert levels(wer_reports.wer_does_not_profit_from_less, full, worse) == []
    assert levels(wer_reports.wer_does_not_profit_from_less, full, better) == ["note"]


def test_a_limit_that_cuts_nothing_and_yet_costs_time() -> None:
    full = printed(wer="3.351", latency_s="1.835", seq_len=200)
    good, odd = (printed(wer="3.348", latency_s=text, seq_len=100) for text in ("1.830", "1.582"))
    assert levels(wer_reports.limit_that_cuts_nothing_costs_nothing, full, good) == []
    (found,) = wer_reports.limit_that_cuts_nothing_costs_nothing([full, odd])
    assert "no third limit tells" in found.unknown
    for text, told in (("1.569", "speaks against"), ("1.450", "about as much a token")):
        third = printed(wer="3.348", latency_s=text, seq_len=50)
        *_, found = wer_reports.limit_that_cuts_nothing_costs_nothing([full, odd, third])
        assert told in found.unknown
        assert found.figures["At 50 tokens"] == f"WER 3.348, {text} s"


def test_a_constant_power_over_models_is_an_estimate() -> None:
    told = {"llava-1.5-7b": "961.269", "qwen2.5-vl-3b": "523.995", "fuyu-8b": "298.418"}
    seconds = {"llava-1.5-7b": "8.373", "qwen2.5-vl-3b": "4.561", "fuyu-8b": "2.599"}
    rows = [printed(m, device="cpu", energy_j_per_sample=told[m], latency_s=seconds[m]) for m in told]
    (found,) = power_and_latency.power_follows_the_work(rows)
    assert (found.level, found.figures["Spread"]) == ("warning", "0.07 %")
    rows[2] = printed("fuyu-8b", device="cpu", energy_j_per_sample="250.0", latency_s="2.599")
    assert levels(power_and_latency.power_follows_the_work, *rows) == []


def test_power_beyond_every_gpu() -> None:
    high = printed(batch_size=16, energy_j_per_sample="50", latency_s="1.624")
    assert levels(power_and_latency.power_within_a_gpus_limit, high) == ["note"]
    impossible = printed(batch_size=16, energy_j_per_sample="500", latency_s="1.624")
    assert levels(power_and_latency.power_within_a_gpus_limit, impossible) == ["error"]


def test_latency_that_falls_as_the_batch_grows() -> None:
    small = printed(latency_s="0.263", batch_size=8)
    for text, expected in (("0.300", []), ("0.260", ["note"]), ("0.200", ["warning"])):
        large = printed(latency_s=text, batch_size=16)
        assert levels(power_and_latency.latency_grows_with_size, small, large) == expected


def test_an_optimization_that_is_slower() -> None:
    base = printed(latency_s="1.795")
    for text, expected in (("1.668", []), ("1.807", []), ("2.196", ["warning"])):
        row = printed(latency_s=text, optimization="flash_attention_2")
        assert levels(power_and_latency.optimization_is_faster, base, row) == expected


@pytest.mark.parametrize(("wer", "told"), [("56.94", "longer answers may be"), ("31.9", "cannot be told")])
def test_a_slower_optimization_is_held_against_the_length_of_its_answers(wer: str, told: str) -> None:
    base = printed(latency_s="1.398", wer="31.9")
    slower = printed(latency_s="1.939", wer=wer, optimization="flash_attention_2")
    (found,) = power_and_latency.optimization_is_faster([base, slower])
    assert told in found.unknown


def test_every_rule_says_what_must_hold() -> None:
    assert len({(rule.name, rule.source) for rule in registry.RULES}) == len(registry.RULES)
    assert all(rule.says.endswith(".") for rule in registry.RULES)


@pytest.fixture(scope="module")
def committed() -> list[Finding]:
    """Findings over the committed records of the reports."""
    return registry.run(
        report_transcripts.records(report_transcripts.load(report_transcripts.paths.transcripts())), "reports"
    )


def test_what_is_known_of_the_reports_is_found(committed: list[Finding]) -> None:
    told = {(one.rule, text) for one in committed for text in one.figures.values()}
    assert ("percent-of-its-base", "101.4 %") in told
    assert ("source-of-one-model", "132.39 TFLOPS") in told
    assert ("power-follows-the-work", "0.07 %") in told
    assert ("flops-of-the-batch-named", "300 = 18 x 16 + 12") in told
    assert ("answers-do-not-depend-on-setting", "56.94") in told
    assert ("digits-rounded", "29 of 49 figures") in told
    assert ("figures-stand-in-their-log", "null") in told
    assert ("batch-that-the-log-states", "batch size 1") in told
    assert ("answers-do-not-change-with-an-unused-limit", "8.181 (3518/430)") in told
    assert ("batches-are-counted-alike", "12.9 T / 806.5 G = 15.995") in told
    assert ("batch-row-in-line", "0.263 s, 7.72 J, 235 W") in told
    assert ("image-tokens-cost-alike", "0.251 s, 156 image tokens") in told
    words = [one.figures["Reference words"] for one in committed if one.rule == "wer-is-a-fraction-of-words"]
    assert sorted(words) == ["300", "3177", "430"]
    assert not [text for one in committed for text in one.figures.values() if "{" in text]


def test_every_finding_names_records_and_says_what_cannot_be_concluded(committed: list[Finding]) -> None:
    assert [one.rule for one in committed if not (one.records and one.figures and one.unknown)] == []
