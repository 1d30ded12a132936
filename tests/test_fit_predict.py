"""The catalogue, bounds and predictions: what is known, what is refused, and how errors are stated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import factory
import pytest

from vlmnb import cli, record
from vlmnb.errors import UserError
from vlmnb.fit import choice, gpus, memory, predict, quantize, report, roofline, shape, show, usable
from vlmnb.fit.choice import Constraint
from vlmnb.fit.memory import Load
from vlmnb.fit.predict import Observation, Prediction, Refusal
from vlmnb.record import Record

FP16 = quantize.get("fp16")
TRUE = {"prefill": 2.0, "decode": 1.5, "layer_s": 2e-4}
SHARE = 0.6


def observation(name: str, gpu: str, batch: int, text: int, new: int, noise: float = 1.0) -> Observation:
    """A batch that takes what known factors say."""
    part = gpus.get(gpu)
    of = shape.of(name)
    side = of.entry.native_image_size or 224
    work = roofline.work(of, FP16, Load(batch_size=batch, image_size=side, text_tokens=text, new_tokens=new))
    bound = roofline.bound(work, FP16, part)
    prefill = TRUE["prefill"] * bound.prefill_s + TRUE["layer_s"] * work.prefill_layers
    step = TRUE["decode"] * bound.step_s + TRUE["layer_s"] * work.step_layers
    latency = noise * (prefill + work.steps * step)
    return Observation(
        gpu=part, model=name, quantization="fp16", work=work, latency_s=latency, prefill_s=noise * prefill,
        step_s=noise * step, energy_j=SHARE * (part.power_w or 0) * latency, key="0" * 16,
    )  # fmt: skip


def some(names: tuple[str, ...], parts: tuple[str, ...], noise: float = 1.0) -> list[Observation]:
    return [
        observation(name, part, batch, text, new, noise if name == names[0] else 1.0)
        for name in names for part in parts
        for batch, text, new in ((1, 100, 64), (4, 200, 64), (8, 200, 20), (16, 50, 30))
    ]  # fmt: skip


def test_every_gpu_has_a_source_and_names_are_unique() -> None:
    found = gpus.catalogue()
    assert len(found) > 100
    assert {gpu.vendor for gpu in found} == {"NVIDIA", "AMD", "Intel", "Apple"}
    assert {gpu.segment for gpu in found} >= {"data-centre", "workstation", "consumer", "unified"}
    for gpu in found:
        assert gpus.get(gpu.name) == gpu
        assert all(gpus.sources()[key].address.startswith("http") for key in gpu.sources)
        assert (gpu.price_usd is None) or "page" in gpu.sources


def test_rates_are_dense() -> None:
    """Data sheets give the rate with sparsity, twice as much, in larger type."""
    known = {"H200 SXM": 989.5, "H100 SXM": 989.5, "A100 SXM 80GB": 312, "L4": 121, "GeForce RTX 4090": 165.2}
    for name, rate in known.items():
        assert gpus.get(name).fp16_tflops == rate
    for gpu in gpus.catalogue():
        if gpu.fp16_tflops and gpu.int8_tops:
            assert gpu.fp16_tflops <= gpu.int8_tops * 1.01
        if gpu.bf16_tflops:
            assert gpu.bf16_tflops == gpu.fp16_tflops


def test_the_pages_own_gpus_are_all_there_with_its_prices() -> None:
    listed = {name: gpu for gpu in gpus.catalogue() for name in gpu.page_names}
    assert len(listed) == 30
    assert listed["NVIDIA RTX 3050 6GB"].price_usd == 169
    assert listed["NVIDIA Tesla K20c"].memory_gib == 5
    assert listed["NVIDIA P102-100"].bandwidth_gb_s == 440
    assert sum(gpu.price_usd is not None for gpu in gpus.catalogue()) == 6


@pytest.mark.parametrize(
    ("asked", "found"),
    [("rtx 4090", "GeForce RTX 4090"), ("NVIDIA H200", "H200 SXM"), ("3090", "GeForce RTX 3090"),
     ("mi300x", "Instinct MI300X"), ("T4", "T4")],
)  # fmt: skip
def test_a_gpu_is_found_without_its_vendor_or_series(asked: str, found: str) -> None:
    assert gpus.get(asked).name == found


def test_an_unknown_or_ambiguous_gpu_names_what_there_is() -> None:
    with pytest.raises(UserError, match="did you mean 'H200 SXM'"):
        gpus.get("H200 SXN")
    with pytest.raises(UserError, match="could be several; give one of: A100 SXM 80GB"):
        gpus.get("A100")


def test_memory_is_not_all_that_counts() -> None:
    q4 = quantize.get("Q4_K_M")
    fermi = gpus.get("C2070")
    assert "compute capability 5.0, it has 2.0" in fermi.obstacle(q4)
    fit = report.of("qwen2.5-vl-3b", "Q4_K_M", report.load_of("qwen2.5-vl-3b"), only=[fermi])
    assert fit.gpus[0].fits
    assert not fit.gpus[0].runs
    assert gpus.get("GTX 1080 Ti").obstacle(quantize.get("int8"))
    assert not gpus.get("GTX 1080 Ti").obstacle(quantize.get("nf4"))
    assert gpus.get("M4").usable_bytes == 0.75 * gpus.get("M4").memory_bytes


def test_a_bound_is_never_above_what_the_factors_of_a_slower_run_give() -> None:
    for one in some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM", "T4")):
        assert roofline.bound(one.work, FP16, one.gpu).total_s < one.latency_s


def test_decoding_one_sample_is_bound_by_reading_the_weights() -> None:
    of, h200 = shape.of("llava-1.5-7b"), gpus.get("H200 SXM")
    load = Load(image_size=336, text_tokens=100, new_tokens=2)
    bound = roofline.bound(roofline.work(of, FP16, load), FP16, h200)
    need = memory.need(of, FP16, load)
    embedding = 2 * 32064 * 4096
    assert bound.step_s == pytest.approx(
        (need.weights_bytes - embedding + need.cache_bytes) / 4.8e12, rel=1e-2
    )


def test_without_a_matrix_rate_the_bound_is_of_the_bandwidth_and_says_so() -> None:
    work = roofline.work(shape.of("llava-1.5-7b"), FP16, Load(image_size=336))
    assert roofline.bound(work, FP16, gpus.get("M4")).compute_known is False
    # llama.cpp may multiply in 8 bits: fp16's rate alone would not be a bound.
    assert roofline.bound(work, quantize.get("Q4_K_M"), gpus.get("DGX Spark")).compute_known is False


def test_the_rate_is_that_of_the_width_the_tool_multiplies_in() -> None:
    l4, v100 = gpus.get("L4"), gpus.get("V100 PCIe 16GB")
    assert l4.int8_tops
    assert l4.fp16_tflops
    for name, rate in (("fp16", l4.fp16_tflops), ("nf4", l4.fp16_tflops), ("Q4_K_M", l4.int8_tops)):
        assert roofline.matrix_rate(quantize.get(name), l4) == rate, name
    for name in ("fp16", "nf4", "Q4_K_M"):
        assert roofline.matrix_rate(quantize.get(name), v100) == v100.fp16_tflops, name
        assert roofline.matrix_rate(quantize.get(name), gpus.get("P100 PCIe 16GB")) == 18.7, name
    assert roofline.matrix_rate(quantize.get("int8"), gpus.get("M4")) is None


def test_nothing_is_predicted_without_records() -> None:
    found = predict.predict(shape.of("fuyu-8b"), FP16, Load(image_size=224), gpus.get("T4"), [])
    assert isinstance(found, Refusal)
    assert "nothing to fit on" in found.reason


def test_records_of_one_model_on_one_gpu_are_refused_for_want_of_a_check() -> None:
    known = some(("llava-1.5-7b",), ("H200 SXM",)) * 2
    found = predict.predict(shape.of("fuyu-8b"), FP16, Load(image_size=224), gpus.get("H200 SXM"), known)
    assert isinstance(found, Refusal)
    assert "could not be checked" in found.reason
    other = predict.predict(shape.of("fuyu-8b"), FP16, Load(image_size=224), gpus.get("T4"), known)
    assert isinstance(other, Refusal)


def test_no_quantization_is_predicted_from_another() -> None:
    known = some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM",))
    asked = quantize.get("nf4")
    found = predict.predict(shape.of("fuyu-8b"), asked, Load(image_size=224), gpus.get("H200 SXM"), known)
    assert isinstance(found, Refusal)
    assert "no record was measured under nf4" in found.reason


def test_factors_are_found_again_and_predict_a_model_never_seen() -> None:
    known = some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM",))
    factors = predict.fit(known)
    assert factors.values == pytest.approx((TRUE["prefill"], TRUE["decode"], TRUE["layer_s"]), rel=1e-6)
    truth = observation("qwen2.5-vl-3b", "H200 SXM", 2, 150, 40)
    load = Load(batch_size=2, image_size=224, text_tokens=150, new_tokens=40)
    found = predict.predict(shape.of("qwen2.5-vl-3b"), FP16, load, gpus.get("H200 SXM"), known)
    assert isinstance(found, Prediction)
    assert found.latency_s == pytest.approx(truth.latency_s, rel=1e-6)
    assert found.samples_per_s == pytest.approx(2 / truth.latency_s, rel=1e-6)
    assert truth.energy_j
    assert found.energy_j_per_sample == pytest.approx(truth.energy_j / 2, rel=1e-6)
    assert found.latency_error == pytest.approx(0, abs=1e-6)
    assert found.held_out == "other models on NVIDIA H200 SXM"


def test_the_stated_error_is_that_of_models_held_out() -> None:
    known = some(("llava-1.5-7b", "fuyu-8b", "qwen2.5-vl-3b"), ("H200 SXM",), noise=1.5)
    found = predict.predict(shape.of("fuyu-8b"), FP16, Load(image_size=224), gpus.get("H200 SXM"), known)
    assert isinstance(found, Prediction)
    assert found.worst_error > 0.15
    assert found.worst_error >= found.latency_error > 0
    assert found.energy_error


def test_another_gpu_is_predicted_only_when_several_were_measured() -> None:
    known = some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM", "L4"))
    found = predict.predict(shape.of("qwen2.5-vl-3b"), FP16, Load(image_size=224), gpus.get("T4"), known)
    assert isinstance(found, Prediction)
    assert found.held_out == "other GPUs"


def measured(**changes: Any) -> Record:
    """A record of a GPU run with counted energy."""
    cell = factory.cell(
        model="llava-1.5-7b",
        dataset="textvqa",
        device="cuda",
        dtype="fp16",
        optimization="fp16",
        image_size=336,
    )
    machine = {"gpus": [{"name": "NVIDIA H200"}]}
    given: dict[str, Any] = {
        "energy": [{"source": "gpu", "method": "nvml_counter", "energy_j": 400.0, "detail": "test"}],
        "memory": {
            "peak_bytes": 15_000_000_000,
            "baseline_bytes": 1,
            "method": "torch.cuda.max_memory_allocated",
        },
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
    "changes",
    [{"provenance": {"code": "0" * 16, "machine": {"gpus": [{"name": "Acme 9000"}]}}},
     {"source": "reports"}, {"answers": ()}],
)  # fmt: skip
def test_a_record_without_what_a_fit_needs_is_left_out(changes: dict[str, Any]) -> None:
    assert predict.observed(measured(**changes)) is None


@pytest.mark.parametrize(("gib", "taken"), [(140.4, True), (132.0, True), (70.0, False), (17.5, False)])
def test_a_gpu_of_another_memory_size_under_the_same_name_is_left_out(gib: float, taken: bool) -> None:
    """A slice of an H200, say; RTX 3080 with 10 and with 12 GB differ in bandwidth too."""
    machine = {"gpus": [{"name": "NVIDIA H200", "memory_bytes": int(gib * 2**30)}]}
    found = predict.observed(measured(provenance={"code": "0" * 16, "machine": machine}))
    assert (found is not None) is taken


def test_a_checkpoint_of_another_geometry_is_left_out() -> None:
    """Its work is not that of the model it is named after, by which predictions go."""
    told = measured().provenance.model_dump() | {"geometry": "text_config.hidden_size 96 for 4096"}
    assert predict.observed(measured()) is not None
    assert predict.observed(measured(provenance=told)) is None


def test_a_cpu_record_or_a_compiled_one_is_left_out() -> None:
    assert predict.observed(factory.record()) is None
    assert usable.quantization_of(factory.cell(device="cuda", dtype="fp16", optimization="compile")) is None


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
    fit = report.of("llava-1.5-7b", "fp16", report.load_of("llava-1.5-7b"), [measured(), factory.record()])
    (peak,) = fit.peaks
    assert peak.measured_bytes == 15_000_000_000
    assert peak.estimated_bytes == pytest.approx(15e9, rel=0.1)


def test_the_best_is_named_from_what_is_known_only() -> None:
    load = report.load_of("llava-1.5-7b")
    fit = report.of("llava-1.5-7b", "Q4_K_M", load)
    cheapest, fastest, thriftiest = fit.best
    assert cheapest.gpu == "NVIDIA GeForce GTX 1060 6GB"  # 80 USD; a K20 has no price and no room
    assert "lower bound" in fastest.why
    assert thriftiest.gpu is None
    small = report.of("llava-1.5-7b", "Q4_K_M", load, constraint=Constraint(vram_gib=5))
    assert all(best.gpu is None for best in small.best)
    modest = report.of("llava-1.5-7b", "Q4_K_M", load, constraint=Constraint(power_w=75))
    assert all(row.gpu.power_w and row.gpu.power_w <= 75 for row in modest.gpus)


def run(*arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.argv", ["vlmnb", "fit", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    assert (stop.value.code or 0) == (2 if captured.err else 0)
    return captured.err or captured.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["llava-15"], "did you mean 'llava-1.5-7b'"),
     (["fuyu-8b", "--quantization", "Q4"], "unknown quantization 'Q4'"),
     (["fuyu-8b", "--gpu", "H20"], "unknown GPU 'H20'"),
     (["fuyu-8b", "--batch-size", "0"], "batch size is 0"),
     (["fuyu-8b", "--gpu", "T4", "--vram", "8"], "not both"),
     (["fuyu-8b", "--vram", "-1"], "--vram is -1"),
     (["fuyu-8b", "--vram", "0"], "--vram is 0"),
     (["fuyu-8b", "--vram", "nan"], "--vram is nan"),
     (["fuyu-8b", "--max-price", "0"], "--max-price is 0"),
     (["fuyu-8b", "--max-power", "inf"], "--max-power is inf"),
     (["fuyu-8b", "--gpu", ""], "is no name of a GPU"),
     (["fuyu-8b", "--gpu", "RTX 9090"], "did you mean 'GeForce RTX 5090'"),
     (["fuyu-8b", "--results", "/no/such/folder"], "no folder /no/such/folder")],
)  # fmt: skip
def test_a_users_mistake_is_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = run(*arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert line.startswith("vlmnb: ")
    assert told in line
    assert line.count("\n") == 1


def test_no_figure_is_cut_short_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for batch in ("1", "1000000"):
        text = run("llava-1.5-7b", "--batch-size", batch, capsys=capsys, monkeypatch=monkeypatch)
        assert "\u2026" not in text


def test_what_does_not_run_has_no_time_and_one_gpu_alone_is_no_best(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run("fuyu-8b", "--gpu", "T4", capsys=capsys, monkeypatch=monkeypatch)
    (row,) = (line for line in text.splitlines() if "NVIDIA T4" in line)
    assert row.rstrip().endswith("-")
    assert "Fastest" not in text


def test_an_image_that_the_model_brings_to_its_own_size_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run("llava-1.5-7b", "--image-size", "224", capsys=capsys, monkeypatch=monkeypatch)
    assert "image 224 px (the model sees 336)" in " ".join(text.split())


def test_a_constraint_that_nothing_meets_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run("llava-1.5-7b", "--max-price", "0.5", capsys=capsys, monkeypatch=monkeypatch)
    assert "no GPU of the catalogue is known to keep within 0.5 USD" in " ".join(text.split())


def test_the_command_answers_a_reader_and_a_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record.write(measured(), tmp_path)
    where = ["--results", str(tmp_path)]
    text = run("llava-1.5-7b", "--vram", "8", *where, capsys=capsys, monkeypatch=monkeypatch)
    assert "It does not fit 8 GiB" in text
    assert "nf4" in text
    told = run(
        "llava-1.5-7b", "--quantization", "nf4", "--gpu", "rtx 4090", "--json", *where,
        capsys=capsys, monkeypatch=monkeypatch,
    )  # fmt: skip
    content = json.loads(told)
    (row,) = content["gpus"]
    assert row["runs"] is True
    assert row["prediction"] is None
    assert row["refusal"]
    parts = content["memory"]
    names = ("weights", "vision", "cache", "activations", "overhead")
    assert parts["total_bytes"] == sum(parts[f"{name}_bytes"] for name in names)


def test_another_gpu_is_predicted_only_from_hardware_like_it() -> None:
    """What NVIDIA's cards reach of their roofline says nothing of AMD's libraries or of a Jetson's host."""
    known = some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM", "L4", "A100 SXM 80GB"))
    of, load = shape.of("qwen2.5-vl-3b"), Load(image_size=224)
    for name, told in (
        ("Instinct MI300X", "no record is of AMD GPUs without unified memory"),
        ("Jetson AGX Orin 64GB", "no record is of NVIDIA GPUs with unified memory"),
        ("M4", "without a matrix rate"),
        ("GTX 1080 Ti", "without a matrix rate"),
    ):
        found = predict.predict(of, FP16, load, gpus.get(name), known)
        assert isinstance(found, Refusal), name
        assert told in found.reason
    assert isinstance(predict.predict(of, FP16, load, gpus.get("RTX 4090"), known), Prediction)
    alone = predict.predict(of, FP16, load, gpus.get("RTX 4090"), known[:4])
    assert isinstance(alone, Refusal)
    assert "the records are of one, NVIDIA H200 SXM" in alone.reason


def test_a_prediction_below_the_lower_bound_is_refused() -> None:
    impossible = [
        one.model_copy(
            update={name: 0.1 * getattr(one, name) for name in ("latency_s", "prefill_s", "step_s")}
        )
        for one in some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM",))
    ]
    load = Load(image_size=224)
    found = predict.predict(shape.of("qwen2.5-vl-3b"), FP16, load, gpus.get("H200 SXM"), impossible)
    assert isinstance(found, Refusal)
    assert "less than the lower bound" in found.reason


def fits(predictions: dict[str, Prediction | None]) -> list[choice.GpuFit]:
    """GPUs that run a model, with predictions made up."""
    fit = report.of(
        "llava-1.5-7b", "fp16", report.load_of("llava-1.5-7b"), only=[gpus.get(n) for n in predictions]
    )
    return [
        row.model_copy(update={"prediction": predictions[row.gpu.name], "refusal": ""})
        for row in fit.gpus
    ]  # fmt: skip


def guess(latency_s: float, error: float, joules: float | None = None) -> Prediction:
    return Prediction(
        prefill_s=latency_s / 2, decode_s=latency_s / 2, latency_s=latency_s, samples_per_s=1 / latency_s,
        energy_j_per_sample=joules, latency_error=error, worst_error=error, energy_error=error,
        held_out="other GPUs", records=12,
    )  # fmt: skip


def test_the_best_names_those_that_the_errors_do_not_tell_apart() -> None:
    rows = fits({"L40S": guess(1.0, 0.1, 50.0), "L40": guess(1.15, 0.1, 70.0), "A40": guess(2.0, 0.1, 300.0)})
    _, fastest, thriftiest = choice.best(rows, Constraint())
    assert fastest.gpu == "NVIDIA L40S"
    assert fastest.why.endswith("of 3 with a prediction among 3 that run it; within these errors also L40")
    assert thriftiest.gpu == "NVIDIA L40S"
    assert "within these errors" not in thriftiest.why


def test_without_counted_joules_that_is_the_reason_even_where_the_first_has_no_prediction() -> None:
    rows = fits({"A40": None, "L40S": guess(1.0, 0.1)})
    rows[0] = rows[0].model_copy(update={"refusal": "no record"})
    assert choice.best(rows, Constraint())[2].why == "no record has counted joules"


def test_the_reader_is_told_for_how_many_gpus_there_is_no_prediction_and_what_the_error_is() -> None:
    known = some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM",))
    found = predict.predict(shape.of("fuyu-8b"), FP16, Load(image_size=224), gpus.get("H200 SXM"), known)
    assert isinstance(found, Prediction)
    fit = report.of("fuyu-8b", "fp16", report.load_of("fuyu-8b"))
    rows = tuple(
        row.model_copy(update={"prediction": found, "refusal": ""}) if row.gpu.name == "H200 SXM" else row
        for row in fit.gpus
    )
    running = sum(row.runs for row in rows)
    text = show.lines(fit.model_copy(update={"gpus": rows}))
    assert any(line.startswith(f"No prediction for {running - 1} of {running} GPUs: ") for line in text)
    assert any("held out of the fit (other models on NVIDIA H200 SXM), latency 0 %" in line for line in text)
