"""Rules over the cells of the reports, and over their log."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from auditing import check, findings, levels
from printing import printed, together

from vlmnb import paths
from vlmnb.audit.reports.log import NO_PASS
from vlmnb.records.record import Record

LOG = {"kind": "log", "file": "004"}


def logged(flops: str, in_log: str, optimization: str = "fp16") -> Record:
    settings = {"batch_size": 16, "dataset": "scienceqa", "optimization": optimization}
    return together(
        printed("qwen2.5-vl-3b", file="001", flops=flops, **settings),
        printed("qwen2.5-vl-3b", **LOG, flops=in_log, **settings),
    )


def quality(wer: str, axis: str, batch_size: int) -> Record:
    return printed(
        "qwen2.5-vl-3b", **LOG, axis=axis, table=axis, wer=wer, latency_s="1.4", batch_size=batch_size
    )


def test_two_values_of_one_cell() -> None:
    texts = (("129.2", "A"), ("129", "B"), ("131", "C"))
    one, same, other = (printed(energy_j_per_sample=text, table=table) for text, table in texts)
    check("one-value-for-one-cell", "error", [together(one, same)], together(one, other))


@pytest.mark.parametrize(
    ("base", "joules", "percent", "right"),
    [("15.913", "16.079", "101.0", None), ("15.913", "16.079", "101.4", "101.04 %"),
     *(("20.432", "20.325", percent, None) for percent in ("99.4", "99.5", "99"))],  # rounded or cut off
)  # fmt: skip
def test_a_percentage_that_is_not_its_rows(base: str, joules: str, percent: str, right: str | None) -> None:
    original = printed(energy_j_per_sample=base, energy_percent="100")
    row = printed(energy_j_per_sample=joules, energy_percent=percent, optimization="compile")
    found = findings("percent-of-its-base", original, row)
    assert [(one.level, one.figures["Recomputed"]) for one in found] == ([("error", right)] if right else [])


def test_a_row_of_another_model_in_a_source() -> None:
    own = [printed("qwen2.5-vl-3b", file="004", latency_s="0.8", batch_size=size) for size in (1, 4)]
    strange = printed(file="004", kind="log", latency_s="1.7954043", energy_j_per_sample="53.02778")
    theirs = printed(file="000", latency_s="1.795", energy_j_per_sample="53.027")
    assert levels("source-of-one-model", *own, theirs) == []
    (found,) = findings("source-of-one-model", *own, together(strange, theirs))
    assert (found.level, len(found.figures)) == ("error", 2)
    assert len({where.key for where in found.records}) == len(found.records)


def rounded(quantity: str, text: str, full: str, batch_size: int = 1) -> Record:
    """Make a figure of a report with the log's in full."""
    short, long = {quantity: text}, {quantity: full} | LOG
    return together(printed(**short, batch_size=batch_size), printed(**long, batch_size=batch_size))


def test_digits_that_were_cut_off_are_noted() -> None:
    up, cut = (rounded("latency_s", text, "1.4315514") for text in ("1.432", "1.431"))
    check("digits-rounded", "note", [up], cut)


def test_another_number_is_no_rounding() -> None:
    cut = rounded("latency_s", "1.431", "1.4315514")
    other = rounded("energy_j_per_sample", "129.212", "129.94122", 2)
    up = rounded("energy_j_per_sample", "28", "27.695714", 4)
    (found,) = findings("digits-rounded", cut, other, up)
    assert found.figures["Cut off"] == "1 of 2 figures"
    assert found.figures["Rounded up"] == "1"
    assert found.figures["Another number, and not counted"] == "1"


def test_a_figure_that_its_log_does_not_have() -> None:
    good = [logged("12.09 T", "12.09 TFLOPS", name) for name in ("fp16", "compile")]
    assert levels("figures-stand-in-their-log", *good) == []
    assert levels("figures-stand-in-their-log", logged("96.3 T", "null")) == ["warning"]
    others = logged("96.3 T", "null"), logged("96.3 T", "12.09 TFLOPS", "flash_attention_2")
    (found,) = findings("figures-stand-in-their-log", *others)
    assert found.level == "warning"
    assert {"null", "12.09 TFLOPS", "96.3 T"} <= set(found.figures.values())
    assert found.figures["96.3 T as a pass over prompts"] == NO_PASS
    assert "text tokens" in found.figures["12.09 TFLOPS as a pass over prompts"]


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
    assert levels("batch-that-the-log-states", by_batch, at_16) == expected
