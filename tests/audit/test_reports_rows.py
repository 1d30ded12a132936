"""Rules over the reports that two rows show, one of them right or wrong."""

from __future__ import annotations

from typing import Any

import pytest
from auditing import levels
from printing import printed

from vlmnb.records.report_transcripts import NO_REASON

FLASH = {"optimization": "flash_attention_2"}
FUYU = {"model": "fuyu-8b", "file": "002", "latency_s": "1.795"}
BATCH = {"batch_size": 16}
ROW = {"latency_s": "1.795", "energy_j_per_sample": "53.027"}


@pytest.mark.parametrize(("rule", "first", "second", "expected"), [
    ("row-of-one-model", ROW, FUYU | {"energy_j_per_sample": "20.432"}, []),
    ("row-of-one-model", ROW, FUYU | {"energy_j_per_sample": "53.027"}, ["error"]),
    ("flops-do-not-depend-on-setting", {"flops": "11.03 T"}, {"flops": "11.03 T", "device": "cpu"}, []),
    ("flops-do-not-depend-on-setting", {"flops": "11.03 T"}, {"flops": "8.58 T", "device": "cpu"}, ["error"]),
    ("flops-do-not-depend-on-setting", {"flops": "11.03 T"}, {"flops": "11.03 T"} | FLASH, []),
    ("flops-do-not-depend-on-setting", {"flops": "11.03 T"}, {"flops": "8.58 T"} | FLASH, ["error"]),
    ("flops-in-one-unit", {"flops": "11.03 T"}, {"flops": "11.03 T", "device": "cpu"}, []),
    ("flops-in-one-unit", {"flops": "11.03 T"}, {"flops": "617.84 G", "model": "qwen2.5-vl-3b"}, ["warning"]),
    ("answers-do-not-depend-on-setting", {"wer": "28.216"}, {"wer": "28.3", "batch_size": 16}, []),
    ("answers-do-not-depend-on-setting", {"wer": "28.216"}, {"wer": "11.116", "batch_size": 16}, ["error"]),
    ("answers-do-not-depend-on-setting", {"wer": "28.216"}, {"wer": "28.3"} | FLASH, []),
    ("answers-do-not-depend-on-setting", {"wer": "28.216"}, {"wer": "11.116"} | FLASH, ["error"]),
    ("wer-does-not-profit-from-less", {"wer": "31.723"}, {"wer": "33.0", "seq_len": 50}, []),
    ("wer-does-not-profit-from-less", {"wer": "31.723"}, {"wer": "29.899", "seq_len": 50}, ["note"]),
    ("latency-grows-with-size", {"latency_s": "0.263"}, {"latency_s": "0.300"} | BATCH, []),
    ("latency-grows-with-size", {"latency_s": "0.263"}, {"latency_s": "0.260"} | BATCH, ["note"]),
    ("latency-grows-with-size", {"latency_s": "0.263"}, {"latency_s": "0.200"} | BATCH, ["warning"]),
    ("optimization-is-faster", {"latency_s": "1.795"}, {"latency_s": "1.668"} | FLASH, []),
    ("optimization-is-faster", {"latency_s": "1.795"}, {"latency_s": "1.807"} | FLASH, []),
    ("optimization-is-faster", {"latency_s": "1.795"}, {"latency_s": "2.196"} | FLASH, ["warning"]),
])  # fmt: skip
def test_a_second_row(rule: str, first: dict[str, Any], second: dict[str, Any], expected: list[str]) -> None:
    assert levels(rule, printed(**first), printed(**second)) == expected


def test_an_image_size_that_the_model_does_not_see() -> None:
    assert levels("image-size-that-is-seen", printed("qwen2.5-vl-3b", latency_s="1.0")) == []
    assert levels("image-size-that-is-seen", printed(latency_s="1.0")) == ["note"]


@pytest.mark.parametrize(("status", "reason", "expected"), [
    ("unstated", NO_REASON, ["note"]), ("not_enough_tokens", "not enough tokens", []),
])  # fmt: skip
def test_blanks_without_a_reason(status: str, reason: str, expected: list[str]) -> None:
    blank = printed(latency_s="-").model_copy(update={"status": status, "reason": reason})
    assert levels("blank-with-a-reason", blank) == expected
