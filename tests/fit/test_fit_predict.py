"""Bounds and predictions: what is known, what is refused, and how errors are told."""

from __future__ import annotations

import pytest

from vlmnb.fit import answer, answer_text, bounds, choice, gpus, memory, predict, quantize, shape
from vlmnb.fit.choice import Constraint
from vlmnb.fit.memory import Load
from vlmnb.fit.predict import Observation, Prediction

FP16 = quantize.get("fp16")
TRUE = {"prefill": 2.0, "decode": 1.5, "layer_s": 2e-4}
SHARE = 0.6


def observation(name: str, gpu: str, batch: int, text: int, new: int, noise: float = 1.0) -> Observation:
    """A batch that takes what known factors say."""
    part = gpus.get(gpu)
    of = shape.of(name)
    side = of.entry.native_image_size or 224
    work = bounds.work(of, FP16, Load(batch_size=batch, image_size=side, text_tokens=text, new_tokens=new))
    bound = bounds.bound(work, FP16, part)
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


def ask(name: str, gpu: str, known: list[Observation], kind: str = "fp16") -> Prediction | str:
    return predict.predict(shape.of(name), quantize.get(kind), Load(image_size=224), gpus.get(gpu), known)


def test_memory_is_not_all_that_counts() -> None:
    q4 = quantize.get("Q4_K_M")
    fermi = gpus.get("C2070")
    assert "compute capability 5.0, it has 2.0" in fermi.obstacle(q4)
    fit = answer.of("qwen2.5-vl-3b", "Q4_K_M", answer.load_of("qwen2.5-vl-3b"), only=[fermi])
    assert fit.gpus[0].fits
    assert not fit.gpus[0].runs
    assert gpus.get("GTX 1080 Ti").obstacle(quantize.get("int8"))
    assert not gpus.get("GTX 1080 Ti").obstacle(quantize.get("nf4"))
    assert gpus.get("M4").usable_bytes == 0.75 * gpus.get("M4").memory_bytes


def test_a_bound_is_never_above_what_the_factors_of_a_slower_run_give() -> None:
    for one in some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM", "T4")):
        assert bounds.bound(one.work, FP16, one.gpu).total_s < one.latency_s


def test_decoding_one_sample_is_bound_by_reading_the_weights() -> None:
    of, h200 = shape.of("llava-1.5-7b"), gpus.get("H200 SXM")
    load = Load(image_size=336, text_tokens=100, new_tokens=2)
    bound = bounds.bound(bounds.work(of, FP16, load), FP16, h200)
    need = memory.need(of, FP16, load)
    embedding = 2 * 32064 * 4096
    read = need.weights_bytes - embedding + need.cache_bytes
    assert bound.step_s == pytest.approx(read / 4.8e12, rel=1e-2)


def test_without_a_matrix_rate_the_bound_is_of_the_bandwidth_and_says_so() -> None:
    work = bounds.work(shape.of("llava-1.5-7b"), FP16, Load(image_size=336))
    assert bounds.bound(work, FP16, gpus.get("M4")).compute_known is False
    # llama.cpp may multiply in 8 bits: fp16's rate alone would not be a bound.
    assert bounds.bound(work, quantize.get("Q4_K_M"), gpus.get("DGX Spark")).compute_known is False


def test_the_rate_is_that_of_the_width_the_tool_multiplies_in() -> None:
    l4, v100 = gpus.get("L4"), gpus.get("V100 PCIe 16GB")
    for name, rate in (("fp16", l4.fp16_tflops), ("nf4", l4.fp16_tflops), ("Q4_K_M", l4.int8_tops)):
        assert bounds.matrix_rate(quantize.get(name), l4) == rate, name
    for name in ("fp16", "nf4", "Q4_K_M"):
        assert bounds.matrix_rate(quantize.get(name), v100) == v100.fp16_tflops, name
        assert bounds.matrix_rate(quantize.get(name), gpus.get("P100 PCIe 16GB")) == 18.7, name
    assert bounds.matrix_rate(quantize.get("int8"), gpus.get("M4")) is None


@pytest.mark.parametrize(
    ("models", "gpu", "kind", "told"),
    [
        ((), "T4", "fp16", "nothing to fit on"),
        (("llava-1.5-7b",), "H200 SXM", "fp16", "could not be checked"),
        (("llava-1.5-7b",), "T4", "fp16", "could not be checked"),
        (("llava-1.5-7b", "fuyu-8b"), "H200 SXM", "nf4", "no record was measured under nf4"),
    ],
)
def test_too_few_records_are_refused_with_a_reason(
    models: tuple[str, ...], gpu: str, kind: str, told: str
) -> None:
    found = ask("fuyu-8b", gpu, some(models, ("H200 SXM",)) * 2, kind)
    assert isinstance(found, str)
    assert told in found


def test_factors_are_found_again_and_predict_a_model_never_seen() -> None:
    known = some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM",))
    factors = predict.fit(known)
    assert tuple(factors.latency) == pytest.approx(
        (TRUE["prefill"], TRUE["decode"], TRUE["layer_s"]), rel=1e-6
    )
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
    found = ask("fuyu-8b", "H200 SXM", known)
    assert isinstance(found, Prediction)
    assert found.worst_error > 0.15
    assert found.worst_error >= found.latency_error > 0
    assert found.energy_error


def test_another_gpu_is_predicted_only_when_several_were_measured() -> None:
    known = some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM", "L4"))
    found = ask("qwen2.5-vl-3b", "T4", known)
    assert isinstance(found, Prediction)
    assert found.held_out == "other GPUs"


def test_another_gpu_is_predicted_only_from_hardware_like_it() -> None:
    """What NVIDIA's cards reach of their roofline says nothing of AMD's libraries or of a Jetson's host."""
    known = some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM", "L4", "A100 SXM 80GB"))
    for name, told in (
        ("Instinct MI300X", "no record is of AMD GPUs without unified memory"),
        ("Jetson AGX Orin 64GB", "no record is of NVIDIA GPUs with unified memory"),
        ("M4", "without a matrix rate"),
        ("GTX 1080 Ti", "without a matrix rate"),
    ):
        found = ask("qwen2.5-vl-3b", name, known)
        assert isinstance(found, str), name
        assert told in found
    assert isinstance(ask("qwen2.5-vl-3b", "RTX 4090", known), Prediction)
    alone = ask("qwen2.5-vl-3b", "RTX 4090", known[:4])
    assert isinstance(alone, str)
    assert "NVIDIA H200 SXM" in alone


def test_a_prediction_below_the_lower_bound_is_refused() -> None:
    names = ("latency_s", "prefill_s", "step_s")
    impossible = [
        one.model_copy(update={name: 0.1 * getattr(one, name) for name in names})
        for one in some(("llava-1.5-7b", "fuyu-8b"), ("H200 SXM",))
    ]
    found = ask("qwen2.5-vl-3b", "H200 SXM", impossible)
    assert isinstance(found, str)
    assert "less than the lower bound" in found


def fits(predictions: dict[str, Prediction | None]) -> list[choice.GpuFit]:
    """GPUs that run a model, with predictions made up."""
    only = [gpus.get(name) for name in predictions]
    fit = answer.of("llava-1.5-7b", "fp16", answer.load_of("llava-1.5-7b"), only=only)
    return [
        row.model_copy(update={"prediction": predictions[row.gpu.name], "refusal": ""}) for row in fit.gpus
    ]


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
    found = ask("fuyu-8b", "H200 SXM", known)
    assert isinstance(found, Prediction)
    fit = answer.of("fuyu-8b", "fp16", answer.load_of("fuyu-8b"))
    rows = tuple(
        row.model_copy(update={"prediction": found, "refusal": ""}) if row.gpu.name == "H200 SXM" else row
        for row in fit.gpus
    )
    running = sum(row.runs for row in rows)
    text = answer_text.lines(fit.model_copy(update={"gpus": rows}))
    assert any(line.startswith(f"No prediction for {running - 1} of {running} GPUs: ") for line in text)
    assert any("held out of the fit (other models on NVIDIA H200 SXM), latency 0 %" in line for line in text)
