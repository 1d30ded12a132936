"""Rules over the reports' FLOPs and prompts."""

from __future__ import annotations

import pytest
from auditing import check, findings, levels
from printing import printed

from vlmnb.audit import expected_flops
from vlmnb.records.record import Record


def test_text_tokens_are_recovered_from_a_count() -> None:
    exact = expected_flops.most("fuyu-8b", 224, 100)
    found = expected_flops.text_tokens("fuyu-8b", 224, exact)
    assert found is not None
    assert found[0] == 100 <= found[1]
    assert expected_flops.text_tokens("fuyu-8b", 224, expected_flops.least("fuyu-8b", 224, 0) * 0.9) is None


def counted(model: str, one: str, many: str) -> list[Record]:
    return [printed(model, flops=one), printed(model, flops=many, batch_size=16, dataset="scienceqa")]


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
    assert levels("flops-of-the-geometry", found) == expected


@pytest.mark.parametrize(
    ("rule", "model", "one", "right", "wrong", "level"),
    [
        ("flops-of-a-batch", "qwen2.5-vl-3b", "617.84 G", "12.09 T", "96.3 T", "error"),
        ("flops-of-the-batch-named", "llava-1.5-7b", "11.03 T", "176.5 T", "132.39 T", "warning"),
        ("flops-follow-the-prompt", "fuyu-8b", "806.5 G", "14.1 T", "12.90 T", "note"),
    ],
)
def test_a_count_of_a_batch(rule: str, model: str, one: str, right: str, wrong: str, level: str) -> None:
    first, good = counted(model, one, right)
    check(rule, level, [good], counted(model, one, wrong)[1], beside=[first])


def test_a_count_that_the_slack_lets_through_is_named() -> None:
    rule = "counts-fit-the-prompt-limit"
    assert levels(rule, printed(flops="10.90 T"), printed(flops="8.58 T", device="cpu")) == []
    (found,) = findings(rule, printed(flops="11.03 T"), printed(flops="8.58 T", device="cpu"))
    tokens = {name.split(" (")[0]: text.split()[0] for name, text in found.figures.items() if "batch" in name}
    assert tokens == {"11.03 T": "204", "8.58 T": "28"}
    assert found.figures["Slack of flops-of-the-geometry"] == "5 %"


def test_text_tokens_above_the_limit_are_named() -> None:
    flops = f"{expected_flops.most('llava-1.5-7b', 224, 210) / 1e12:.2f} T"
    (found,) = findings("counts-fit-the-prompt-limit", printed(flops=flops))
    assert any(text.startswith("210 text tokens") for text in found.figures.values())


def test_batches_that_are_counted_in_two_ways() -> None:
    llava = counted("llava-1.5-7b", "11.03 T", "132.39 T")
    same, other = (counted("fuyu-8b", "806.5 G", text) for text in ("9.678 T", "12.9 T"))
    assert levels("batches-are-counted-alike", *llava) == []
    assert levels("batches-are-counted-alike", *llava, *same) == []
    assert levels("batches-are-counted-alike", *llava, *other) == ["note"]
