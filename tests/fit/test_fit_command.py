"""The records that ``vlmnb fit`` learns from, what it names as the best, and how it answers and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import factory
import pytest

from vlmnb.fit import answer, predict
from vlmnb.fit.choice import Constraint
from vlmnb.records import record_file
from vlmnb.records.record import Record

Run = Callable[..., str]


def measured(**changes: Any) -> Record:
    """A record of a GPU run with counted energy."""
    cell = factory.cell(
        model="llava-1.5-7b", dataset="textvqa", device="cuda", dtype="fp16", optimization="fp16",
        image_size=336,
    )  # fmt: skip
    machine = {"gpus": [{"name": "NVIDIA H200"}]}
    given: dict[str, Any] = {
        "energy": [{"source": "gpu", "method": "nvml_counter", "energy_j": 400.0, "detail": "test"}],
        "memory": {"peak_bytes": 15_000_000_000, "baseline_bytes": 1, "method": "test"},
        "provenance": {"code": "0" * 16, "machine": machine, "attention": "eager"},
    }
    return factory.record(cell, **(given | changes))


def test_a_record_becomes_an_observation_with_its_own_tokens() -> None:
    found = predict.observed(measured())
    assert found
    assert found.gpu.name == "H200 SXM"
    assert found.energy_j == 200.0  # a batch of 2 of 4 samples
    assert found.work.steps == 2  # 3 tokens, the first from the prompt's pass


@pytest.mark.parametrize(
    "left_out",
    [measured(provenance={"code": "0" * 16, "machine": {"gpus": [{"name": "Acme 9000"}]}}),
     measured(source="reports"), measured(answers=()), factory.record(),
     factory.changed(measured(), "provenance", geometry="text_config.hidden_size 96 for 4096")],
)  # fmt: skip
def test_a_record_without_what_a_fit_needs_is_left_out(left_out: Record) -> None:
    """Of another GPU, of no run, without answers, of a CPU, of other work than that of the model named."""
    assert predict.observed(left_out) is None


@pytest.mark.parametrize(("gib", "taken"), [(140.4, True), (132.0, True), (70.0, False), (17.5, False)])
def test_a_gpu_of_another_memory_size_under_the_same_name_is_left_out(gib: float, taken: bool) -> None:
    """A slice of an H200, say; RTX 3080 with 10 and with 12 GB differ in bandwidth too."""
    machine = {"gpus": [{"name": "NVIDIA H200", "memory_bytes": int(gib * 2**30)}]}
    found = predict.observed(measured(provenance={"code": "0" * 16, "machine": machine}))
    assert (found is not None) is taken


@pytest.mark.parametrize(
    ("optimization", "quantization"),
    [("fp16", "fp16"), ("fp16+sdpa", "fp16"), ("fp16+bnb-4bit", "nf4"), ("fp16+bnb-8bit", "int8"),
     ("fp16+torchao-int8", None), ("fp16+compile", None), ("fp16+prompt_lookup", None)],
)  # fmt: skip
def test_a_record_is_of_the_quantization_that_it_was_measured_under(
    optimization: str, quantization: str | None
) -> None:
    at = measured().cell.model_copy(update={"optimization": optimization})
    found = predict.observed(measured().model_copy(update={"cell": at}))
    assert (found and found.quantization) == quantization


def test_of_a_cell_measured_twice_the_newer_record_counts() -> None:
    old, new = measured(key="1" * 16), measured(key="2" * 16)
    later = new.provenance.model_copy(update={"started_at": "2026-06-01T00:00:00+00:00"})
    found = predict.observations([new.model_copy(update={"provenance": later}), old])
    assert [one.key for one in found] == ["2" * 16]


def test_measured_peaks_stand_beside_the_estimates() -> None:
    fit = answer.of("llava-1.5-7b", "fp16", answer.load_of("llava-1.5-7b"), [measured(), factory.record()])
    (peak,) = fit.peaks
    assert peak.measured_bytes == 15_000_000_000
    assert peak.estimated_bytes == pytest.approx(15e9, rel=0.1)


def test_the_best_is_named_from_what_is_known_only() -> None:
    load = answer.load_of("llava-1.5-7b")
    fit = answer.of("llava-1.5-7b", "Q4_K_M", load)
    cheapest, fastest, thriftiest = fit.best
    assert cheapest.gpu == "NVIDIA GeForce GTX 1060 6GB"  # 80 USD; a K20 has no price and no room
    assert "lower bound" in fastest.why
    assert thriftiest.gpu is None
    small = answer.of("llava-1.5-7b", "Q4_K_M", load, constraint=Constraint(vram_gib=5))
    assert all(best.gpu is None for best in small.best)
    modest = answer.of("llava-1.5-7b", "Q4_K_M", load, constraint=Constraint(power_w=75))
    assert all(row.gpu.power_w and row.gpu.power_w <= 75 for row in modest.gpus)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["llava-15"], "did you mean 'llava-1.5-7b'"),
     (["fuyu-8b", "--quantization", "Q4"], "unknown quantization 'Q4'"),
     (["fuyu-8b", "--gpu", "H20"], "unknown GPU 'H20'"),
     (["fuyu-8b", "--batch-size", "0"], "batch size is 0"),
     (["fuyu-8b", "--gpu", "T4", "--vram", "8"], "not both"),
     (["fuyu-8b", "--gpu", "T4", "--max-price", "100"], "either --gpu or --max-price, not both"),
     (["fuyu-8b", "--gpu", "T4", "--max-power", "100"], "either --gpu or --max-power, not both"),
     (["fuyu-8b", "--gpu", "Acme 9000"], "or give --vram in GiB"),
     (["fuyu-8b", "--batch-size", "9" * 400], "batch size is more than 1000000"),
     (["fuyu-8b", "--image-size", "9" * 24], "image size is more than 1000000"),
     (["fuyu-8b", "--vram", "1e30"], "--vram is 1e+30; give at most 1000000"),
     (["fuyu-8b", "--vram", "-1"], "--vram is -1"),
     (["fuyu-8b", "--vram", "0"], "--vram is 0"),
     (["fuyu-8b", "--vram", "nan"], "--vram is nan"),
     (["fuyu-8b", "--max-price", "0"], "--max-price is 0"),
     (["fuyu-8b", "--max-power", "inf"], "--max-power is inf"),
     (["fuyu-8b", "--gpu", ""], "is no name of a GPU"),
     (["fuyu-8b", "--gpu", "RTX 9090"], "did you mean 'GeForce RTX 5090'"),
     (["fuyu-8b", "--results", "/no/such/folder"], "no folder /no/such/folder")],
)  # fmt: skip
def test_a_users_mistake_is_one_line(arguments: list[str], told: str, run: Run) -> None:
    line = run(*arguments)
    assert line.startswith("vlmnb: ")
    assert told in line
    assert line.count("\n") == 1


def test_no_figure_is_cut_short_on_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for batch in ("1", "1000000"):
        text = run("llava-1.5-7b", "--batch-size", batch)
        assert "\u2026" not in text


def test_what_does_not_run_has_no_time_and_one_gpu_alone_is_no_best(run: Run) -> None:
    text = run("fuyu-8b", "--gpu", "T4")
    (row,) = (line for line in text.splitlines() if "NVIDIA T4" in line)
    assert row.rstrip().endswith("-")
    assert "Fastest" not in text


def test_an_image_that_the_model_brings_to_its_own_size_is_told(run: Run) -> None:
    text = run("llava-1.5-7b", "--image-size", "224")
    assert "image 224 px (the model sees 336)" in " ".join(text.split())


def test_a_constraint_that_nothing_meets_is_named(run: Run) -> None:
    text = run("llava-1.5-7b", "--max-price", "0.5")
    assert "No GPU of the catalogue is known to keep within 0.5 USD" in " ".join(text.split())


def test_the_command_answers_a_reader_and_a_program(run: Run, tmp_path: Path) -> None:
    record_file.write(measured(), tmp_path)
    where = ["--results", str(tmp_path)]
    text = run("llava-1.5-7b", "--vram", "8", *where)
    assert "It does not fit 8 GiB" in text
    said = " ".join(text.split())
    assert "GPUs within 8 GiB runs it as fp16; try --quantization Q6_K." in said
    assert said.count("runs it") == 1
    assert "nf4" in text
    asked = ("llava-1.5-7b", "--quantization", "nf4", "--gpu", "rtx 4090", "--json", *where)
    content = json.loads(run(*asked))
    (row,) = content["gpus"]
    assert row["runs"] is True
    assert row["prediction"] is None
    assert row["refusal"]
    parts = content["memory"]
    names = ("weights", "vision", "cache", "activations", "overhead")
    assert parts["total_bytes"] == sum(parts[f"{name}_bytes"] for name in names)
