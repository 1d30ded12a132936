"""Rules that hold reports' rows against each other and against the log: a planted error, good figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from printing import levels, printed, together

from vlmnb import paths
from vlmnb.audit import expected_flops
from vlmnb.audit.reports import log as log_reports
from vlmnb.audit.reports import power_and_latency, prompts, series
from vlmnb.audit.reports import wer as wer_reports
from vlmnb.book.pages import audit_page
from vlmnb.records.record import Record


def test_another_number_is_no_rounding() -> None:
    cut = together(printed(latency_s="1.431"), printed(latency_s="1.4315514", kind="log", file="004"))
    other = together(
        printed(energy_j_per_sample="129.212", batch_size=2),
        printed(energy_j_per_sample="129.94122", kind="log", file="004", batch_size=2),
    )
    up = together(
        printed(energy_j_per_sample="28", batch_size=4),
        printed(energy_j_per_sample="27.695714", kind="log", file="004", batch_size=4),
    )
    (found,) = log_reports.digits_rounded([cut, other, up])
    assert found.figures["Cut off"] == "1 of 2 figures"
    assert found.figures["Rounded up"] == "1"
    assert found.figures["Another number, and not counted"] == "1"


def logged(flops: str, in_log: str, optimization: str = "fp16") -> Record:
    settings = {"batch_size": 16, "dataset": "scienceqa", "optimization": optimization}
    return together(
        printed("qwen2.5-vl-3b", file="001", flops=flops, **settings),
        printed("qwen2.5-vl-3b", file="004", kind="log", flops=in_log, **settings),
    )


def test_a_figure_that_its_log_does_not_have() -> None:
    good = [logged("12.09 T", "12.09 TFLOPS", name) for name in ("fp16", "compile")]
    assert levels(log_reports.figures_stand_in_their_log, *good) == []
    (found,) = log_reports.figures_stand_in_their_log(
        [logged("96.3 T", "null"), logged("96.3 T", "12.09 TFLOPS", "flash_attention_2")]
    )
    assert found.level == "warning"
    assert "1 of them are blank and 1 is 12.09 TFLOPS" in found.meaning
    assert "96.3 T cannot be one forward pass" in found.meaning
    assert "12.09 TFLOPS can be one forward pass" in found.meaning


def quality(wer: str, axis: str, batch_size: int) -> Record:
    told = {"axis": axis, "table": axis, "batch_size": batch_size}
    return printed("qwen2.5-vl-3b", file="004", kind="log", wer=wer, latency_s="1.4", **told)


@pytest.mark.parametrize(("stated", "expected"), [(1, ["warning"]), (16, []), (None, [])])
def test_a_batch_size_that_the_logs_heading_states(
    stated: int | None, expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heading = {"file": "004", "kind": "log", "model": "qwen2.5-vl-3b", "checkpoint": "x", "samples": 300}
    log = heading | {"quality_batch_size": stated, "tables": []}
    (tmp_path / "log.yaml").write_text(yaml.safe_dump(log))
    monkeypatch.setattr(paths, "transcripts", lambda: tmp_path)
    by_batch = quality("28.216279", "batch_size", 1)
    at_16 = together(quality("11.116278", "batch_size", 16), quality("11.116278", "image_size", 16))
    assert levels(log_reports.batch_that_the_log_states, by_batch, at_16) == expected


def test_answers_that_change_with_a_limit_that_cuts_nothing() -> None:
    at = {limit: printed(wer="8.134", seq_len=limit) for limit in (50, 100, 200)}
    other, cut = printed(wer="8.181", seq_len=200), printed(wer="9.2", seq_len=50)
    rule = wer_reports.answers_do_not_change_with_an_unused_limit
    assert levels(rule, at[50], at[100], at[200]) == []
    assert levels(rule, cut, at[100], other) == []
    assert levels(rule, at[50], at[100], other) == ["note"]


def test_a_count_that_the_slack_lets_through_is_named() -> None:
    rule = prompts.counts_fit_the_prompt_limit
    assert levels(rule, printed(flops="10.90 T"), printed(flops="8.58 T", device="cpu")) == []
    (found,) = rule([printed(flops="11.03 T"), printed(flops="8.58 T", device="cpu")])
    assert "over 204 text tokens" in found.meaning
    assert "that over 28" in found.meaning
    assert found.figures["Slack of flops-of-the-geometry"] == "5 %"


def test_the_text_tokens_named_are_those_the_count_was_made_of() -> None:
    flops = f"{expected_flops.most('llava-1.5-7b', 224, 210) / 1e12:.2f} T"
    (found,) = prompts.counts_fit_the_prompt_limit([printed(flops=flops)])
    assert "over 210 text tokens" in found.meaning


def counted(model: str, one: str, many: str) -> list[Record]:
    return [printed(model, flops=one), printed(model, flops=many, batch_size=16, dataset="scienceqa")]


def test_batches_that_are_counted_in_two_ways() -> None:
    llava = counted("llava-1.5-7b", "11.03 T", "132.39 T")
    same, other = (counted("fuyu-8b", "806.5 G", text) for text in ("9.678 T", "12.9 T"))
    assert levels(prompts.batches_are_counted_alike, *llava) == []
    assert levels(prompts.batches_are_counted_alike, *llava, *same) == []
    assert levels(prompts.batches_are_counted_alike, *llava, *other) == ["note"]


@pytest.mark.parametrize(
    ("middle", "joules", "expected"),
    [("0.180", "6.3", []), ("0.240", "6.3", []), ("0.263", "7.72", ["note"]), ("0.263", "6.3", ["note"])],
)
def test_a_batch_size_out_of_line(middle: str, joules: str, expected: list[str]) -> None:
    rows = [
        printed("fuyu-8b", batch_size=size, latency_s=seconds, energy_j_per_sample=energy)
        for size, seconds, energy in ((4, "0.129", "7.8"), (8, middle, joules), (16, "0.260", "5.02"))
    ]
    found = list(series.batch_row_in_line(rows))
    assert [one.level for one in found] == expected
    if found:
        assert ("times the energy" in found[0].meaning) == (joules == "7.72")


def sizes(dataset: str, *seconds: str) -> list[Record]:
    return [
        printed("fuyu-8b", dataset=dataset, image_size=size, latency_s=text)
        for size, text in zip((224, 336, 448), seconds, strict=True)
    ]


def test_an_image_size_out_of_line_with_its_tokens() -> None:
    even = sizes("scienceqa", "0.981", "1.020", "1.141")
    odd = sizes("textvqa", "0.260", "0.251", "0.400")
    assert levels(series.image_tokens_cost_alike, *even) == []
    (found,) = series.image_tokens_cost_alike([*even, *odd])
    assert {where.model for where in found.records} == {"fuyu-8b"}
    assert "textvqa takes 84 image tokens more with -0.009 s" in found.meaning
    assert "On scienceqa the same two steps add +0.039 and +0.121 s" in found.meaning


def test_findings_on_power_say_that_units_are_inferred() -> None:
    high = printed(batch_size=16, energy_j_per_sample="50", latency_s="1.624")
    (found,) = power_and_latency.power_within_a_gpus_limit([high])
    assert "the reports print no unit" in found.unknown


def test_headings_of_the_page_spell_whole_words() -> None:
    rows = [
        printed(batch_size=16, energy_j_per_sample="50", latency_s="1.624"),
        printed("qwen2.5-vl-3b", flops="96.3 T", batch_size=16),
    ]
    text = audit_page.reports_page(rows)
    assert "### Power within a GPU's limit" in text
    assert "### FLOPs of the geometry" in text
