"""Rules over the reports' power and latency."""

from __future__ import annotations

import pytest
from auditing import findings, levels
from printing import printed

from vlmnb.records.record import Record

SLOWER = {"optimization": "flash_attention_2"}


def sizes(dataset: str, *seconds: str) -> list[Record]:
    return [
        printed("fuyu-8b", dataset=dataset, image_size=size, latency_s=text)
        for size, text in zip((224, 336, 448), seconds, strict=True)
    ]


def test_a_constant_power_over_models_is_an_estimate() -> None:
    joules = {"llava-1.5-7b": "961.269", "qwen2.5-vl-3b": "523.995", "fuyu-8b": "298.418"}
    seconds = {"llava-1.5-7b": "8.373", "qwen2.5-vl-3b": "4.561", "fuyu-8b": "2.599"}
    rows = [printed(m, device="cpu", energy_j_per_sample=joules[m], latency_s=seconds[m]) for m in joules]
    (found,) = findings("power-follows-the-work", *rows)
    assert (found.level, found.figures["Spread"]) == ("warning", "0.07 %")
    rows[2] = printed("fuyu-8b", device="cpu", energy_j_per_sample="250.0", latency_s="2.599")
    assert levels("power-follows-the-work", *rows) == []


def test_power_beyond_every_gpu() -> None:
    high = printed(batch_size=16, energy_j_per_sample="50", latency_s="1.624")
    (found,) = findings("power-within-a-gpus-limit", high)
    assert found.level == "note"
    assert "inferred" in found.unknown, "the units are not printed"
    impossible = printed(batch_size=16, energy_j_per_sample="500", latency_s="1.624")
    assert levels("power-within-a-gpus-limit", impossible) == ["error"]


@pytest.mark.parametrize(("wer", "longer"), [("56.94", True), ("40.0", True), ("31.9", False)])
def test_a_slower_optimization_may_have_longer_answers(wer: str, longer: bool) -> None:
    base = printed(latency_s="1.398", wer="31.9")
    slower = printed(latency_s="1.939", wer=wer, **SLOWER)
    (found,) = findings("optimization-is-faster", base, slower)
    assert ("answers-do-not-depend-on-setting" in found.unknown) == longer


@pytest.mark.parametrize(
    ("middle", "joules", "expected"),
    [("0.180", "6.3", []), ("0.240", "6.3", []), ("0.263", "7.72", ["warning"]), ("0.263", "6.3", ["note"])],
)
def test_a_batch_size_out_of_line(middle: str, joules: str, expected: list[str]) -> None:
    rows = [
        printed("fuyu-8b", batch_size=size, latency_s=seconds, energy_j_per_sample=energy)
        for size, seconds, energy in ((4, "0.129", "7.8"), (8, middle, joules), (16, "0.260", "5.02"))
    ]
    found = findings("batch-row-in-line", *rows)
    assert [one.level for one in found] == expected
    if found:
        assert ("energy" in found[0].meaning) == (joules == "7.72")


def test_an_image_size_out_of_line_with_its_tokens() -> None:
    even = sizes("scienceqa", "0.981", "1.020", "1.141")
    odd = sizes("textvqa", "0.260", "0.251", "0.400")
    assert levels("image-tokens-cost-alike", *even) == []
    (found,) = findings("image-tokens-cost-alike", *even, *odd)
    assert {where.model for where in found.records} == {"fuyu-8b"}
    for number in ("textvqa", "84 more image tokens", "-0.009 s", "scienceqa", "+0.039", "+0.121 s"):
        assert number in found.meaning
