"""Facts and memory from the geometry: held against real model objects, real files and real quantizers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from vlmnb import models
from vlmnb.errors import UserError
from vlmnb.fit import memory, model_facts, quantize, shape
from vlmnb.fit.memory import Load
from vlmnb.meters import memory as meters_memory
from vlmnb.models import geometry
from vlmnb.spec import optimizations

EVERY = sorted(models.registry())
TINY = [name for name in EVERY if name.endswith("-tiny")]


def size(name: str, quantization: str, *parts: str) -> int:
    found = quantize.stored(shape.of(name), quantize.get(quantization))
    return sum(one.size_bytes for one in found if not parts or one.tensor.component in parts)


def built(name: str) -> Any:
    """The model with its geometry and no weights."""
    import torch

    config = geometry.config(models.get(name))
    with torch.device("meta"):
        return models.family_of(models.get(name)).model_class(config)(config)


def test_a_folder_of_llava_has_the_memory_of_its_entry(tmp_path: Path) -> None:
    """Llama.cpp's converter drops the last layer of the tower, whatever the model is named by."""
    name = "llava-1.5-7b"
    (tmp_path / "config.json").write_text(json.dumps(geometry.document(models.get(name))))
    assert shape.of(str(tmp_path)).vision == shape.of(name).vision
    for kind in quantize.QUANTIZATIONS:
        assert size(str(tmp_path), kind) == size(name, kind), kind


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_tensors_by_formula_are_those_of_the_model_object(name: str) -> None:
    ours = sorted(tensor.shape for tensor in shape.of(name).tensors)
    theirs = sorted(tuple(parameter.shape) for parameter in built(name).parameters())
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_the_numbers_read_from_the_file_are_those_transformers_reads(name: str) -> None:
    config, found = geometry.config(models.get(name)), shape.of(name)
    text = config.text_config
    assert found.decoder.layers == text.num_hidden_layers
    assert found.decoder.width == text.hidden_size
    assert found.decoder.context == text.max_position_embeddings
    assert found.decoder.tied == config.tie_word_embeddings
    family = models.family_of(models.get(name))
    for side in (56, 224, 336, 448):
        assert found.image_tokens(side) == family.image_tokens(config, side)


def test_parameters_by_component_add_up_and_are_the_published_count() -> None:
    parts = shape.of("llava-1.5-7b").parameters
    assert sum(parts.values()) == 7_063_427_072  # of the checkpoint's safetensors index
    assert list(parts) == ["vision", "projector", "embedding", "decoder", "output"]
    assert "output" not in shape.of("qwen2.5-vl-3b").parameters  # tied
    assert "vision" not in shape.of("fuyu-8b").parameters


def test_bundled_weights_have_the_computed_number_of_parameters(project: Any) -> None:
    for name in TINY:
        file = project / "models" / name / "model.safetensors"
        computed = 4 * sum(tensor.count for tensor in shape.of(name).tensors)  # stored in float32
        assert 0 <= file.stat().st_size - computed < 50_000  # the header


@pytest.mark.parametrize(
    ("quantization", "file_bytes"),
    [("Q4_K_M", 4_081_004_224), ("Q6_K", 5_529_194_176), ("Q8_0", 7_161_089_632)],
)
def test_gguf_sizes_are_those_of_published_files(quantization: str, file_bytes: int) -> None:
    """Files of Llama-2-7B-GGUF; LLaVA's decoder is it with 64 more words, a file has a header of 0.7 MB."""
    ours = size("llava-1.5-7b", quantization, "embedding", "decoder", "output")
    assert ours == pytest.approx(file_bytes, rel=2e-4)


def test_the_vision_side_under_gguf_is_the_published_mmproj_file() -> None:
    """mmproj-model-f16.gguf of LLaVA-1.5 7B: 624 MB, without the tower's last layer, which nothing reads."""
    assert size("llava-1.5-7b", "Q4_K_M", "vision", "projector") == pytest.approx(624.4e6, rel=1e-3)
    tower = shape.of("llava-1.5-7b").parameters["vision"]
    assert size("llava-1.5-7b", "Q4_K_M", "vision") < 2 * tower * 23.5 / 24


def test_q4_k_m_gives_more_bits_to_half_of_the_layers() -> None:
    chosen = [layer for layer in range(32) if quantize.more_bits(layer, 32)]
    assert chosen == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    found = quantize.stored(shape.of("llava-1.5-7b"), quantize.get("Q4_K_M"))
    downs = [one.type for one in found if one.tensor.role == "ffn_down" and one.tensor.component == "decoder"]
    assert downs.count("Q6_K") == 16
    assert downs.count("Q4_K") == 16
    types = quantize.bits_by_type(found)
    assert types["Q4_K"].bits == 4.5
    assert types["Q6_K"].bits == 6.5625


def test_bits_by_layer_are_those_of_the_tensor_types_and_add_up_to_the_whole() -> None:
    of = shape.of("llava-1.5-7b")
    found = quantize.stored(of, quantize.get("Q4_K_M"))
    told = quantize.bits_by_layer(found)
    assert (told["query"].bits, told["query"].types) == (4.5, ("Q4_K",))
    # Half of the 32 layers have more bits.
    assert told["value"].bits == told["MLP down"].bits == (4.5 + 6.5625) / 2
    assert set(told["value"].types) == {"Q4_K", "Q6_K"}
    assert told["output layer"].bits == 6.5625
    assert sum(one.weights * one.bits for one in told.values()) == 8 * sum(one.size_bytes for one in found)
    assert "query, key and value" in quantize.bits_by_layer(
        quantize.stored(shape.of("fuyu-8b"), quantize.get("Q8_0"))
    )


def test_a_tied_embedding_is_stored_as_an_output_layer() -> None:
    found = quantize.stored(shape.of("qwen2.5-vl-3b"), quantize.get("Q4_K_M"))
    (embedding,) = [one.type for one in found if one.tensor.role == "token_embd"]
    assert embedding == "Q6_K"


def test_rows_that_are_no_whole_blocks_fall_back_as_in_llama_cpp() -> None:
    found = quantize.stored(shape.of("llava-tiny"), quantize.get("Q4_K_M"))
    roles = {(one.tensor.role, one.type) for one in found if one.tensor.component == "decoder"}
    assert ("attn_q", "Q5_0") in roles  # 128 wide
    assert ("attn_v", "Q8_0") in roles
    assert ("ffn_down", "Q5_0") in roles  # 384 wide


def bytes_of(model: Any) -> int:
    """Bytes of all that a loaded model keeps of its weights, quantizer's state included."""
    total = 0
    for parameter in model.parameters():
        total += parameter.numel() * parameter.element_size()
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            total += sum(t.numel() * t.element_size() for t in (state.absmax, state.code))
        scales = getattr(parameter, "SCB", None)
        if scales is not None:
            total += scales.numel() * scales.element_size()
    return total


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("quantization", ["fp16", "int8", "nf4"])
def test_bytes_of_a_loaded_model_are_the_computed_ones(project: Any, name: str, quantization: str) -> None:
    import torch
    import transformers

    options: dict[str, Any] = {}
    if quantization != "fp16":
        pytest.importorskip("bitsandbytes", reason="quantizes with bitsandbytes, see requirements-dev.txt")
        four = quantization == "nf4"
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=four, load_in_8bit=not four, bnb_4bit_quant_type="nf4"
        )
    family = models.family_of(models.get(name))
    model = family.model_class().from_pretrained(project / "models" / name, dtype=torch.float16, **options)
    assert bytes_of(model) == size(name, quantization)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "kind"), [("bnb-4bit", "nf4"), ("bnb-8bit", "int8"), ("torchao-int8",) * 2]
)
def test_weights_that_are_measured_are_the_computed_ones(project: Any, setting: str, kind: str) -> None:
    pytest.importorskip(setting.split("-")[0].replace("bnb", "bitsandbytes"))
    of, family = shape.of("llava-tiny"), models.family_of(models.get("llava-tiny"))
    model = family.model_class().from_pretrained(project / "models" / "llava-tiny")
    optimizations.settings()[setting].prepare(model, "cpu")
    packed = [quantize.is_replaced(one) for one in of.tensors]
    sizes = (
        quantize.packed_bytes(t, kind) if p else 4 * t.count for t, p in zip(of.tensors, packed, strict=True)
    )
    assert sum(meters_memory.weights_by_type(model).values()) == pytest.approx(sum(sizes), rel=2e-3)


def test_the_cache_is_keys_and_values_of_every_layer() -> None:
    of = shape.of("llava-1.5-7b")
    assert of.decoder.cache_bytes(4096, 2) == 2 * 32 * 4096 * 4096 * 2  # 2 GiB
    grouped = shape.of("qwen2.5-vl-3b")
    assert grouped.decoder.cache_bytes(1, 2) == 2 * 36 * 2 * 128 * 2
    need = memory.need(of, quantize.get("fp16"), Load(batch_size=4, image_size=336))
    assert need.cache_bytes == 4 * of.decoder.cache_bytes(200 + 576 + 64, 2)


def test_memory_grows_with_everything_asked_for() -> None:
    of, fp16 = shape.of("qwen2.5-vl-3b"), quantize.get("fp16")
    base = memory.need(of, fp16, Load(image_size=224)).total_bytes
    for more in ({"batch_size": 2}, {"image_size": 448}, {"text_tokens": 2000}, {"new_tokens": 2000}):
        assert memory.need(of, fp16, Load(**{"image_size": 224, **more})).total_bytes > base


@pytest.mark.parametrize(
    ("name", "load", "gigabytes"),
    [("qwen2.5-vl-3b", {"image_size": 1932}, 47.2),
     ("qwen2.5-vl-3b", {"image_size": 1932, "batch_size": 2}, 48.1),
     ("llava-1.5-7b", {"image_size": 336, "text_tokens": 2000}, 1.87),
     ("qwen2.5-vl-tiny", {"image_size": 448, "text_tokens": 60}, 0.327)],
)  # fmt: skip
def test_eager_attention_writes_out_its_scores(name: str, load: dict[str, Any], gigabytes: float) -> None:
    """A tower with windows takes one picture after the other; 0.327 GB were measured of the bundled model."""
    of = shape.of(name)
    eager, sdpa = (memory.activations_bytes(of, Load(**load, attention=kind)) for kind in ("eager", "sdpa"))
    assert eager == pytest.approx(gigabytes * 1e9, rel=0.03)
    assert sdpa < eager / 5


def test_buffers_of_llama_cpp_are_those_of_its_logs() -> None:
    """Logged: 70.50 MiB for Llama 2 7B, 300.75 for Qwen2.5 3B, 704.79 for the tower at 1288 pixels."""
    qwen, q4 = shape.of("qwen2.5-vl-3b"), quantize.get("Q4_K_M")
    llava = memory.llama_cpp_bytes(shape.of("llava-1.5-7b"), Load(image_size=336))
    assert llava / 2**20 == pytest.approx(70.5 + 14, abs=1)  # the tower's of 577 patches
    small, warm, large, four = (
        memory.need(qwen, q4, Load(image_size=side, batch_size=batch).under(qwen, q4)).activations_bytes
        for side, batch in ((224, 1), (1288, 1), (1932, 1), (1932, 4))
    )
    assert small == warm == pytest.approx((300.75 + 704.79) * 2**20, rel=0.02)
    assert large == four == pytest.approx(2.54e9, rel=0.01)  # 16384 patches
    seen = Load(image_size=1932).under(qwen, q4)
    assert (qwen.side(seen.image_size), seen.prompt_tokens(qwen)) == (1792, 200 + 4096)
    assert Load(image_size=1932).under(qwen, quantize.get("fp16")).image_size == 1932


def test_a_cache_for_the_whole_context_counts_every_slot() -> None:
    of, q4 = shape.of("qwen2.5-vl-3b"), quantize.get("Q4_K_M")
    load = Load(image_size=224, batch_size=4, context=128_000)
    assert memory.need(of, q4, load).cache_bytes == 4 * of.decoder.cache_bytes(128_000, 2)
    with pytest.raises(UserError, match="context of 200 tokens, asked for 328"):
        memory.need(of, q4, Load(image_size=224, context=200))
    with pytest.raises(UserError, match="--context asks for 200000"):
        memory.need(of, q4, Load(image_size=224, context=200_000))


@pytest.mark.parametrize("kind", ["nf4", "Q4_K_M"])
def test_the_largest_batch_fits_and_one_more_does_not(kind: str) -> None:
    of, kind = shape.of("llava-1.5-7b"), quantize.get(kind)
    load, usable = Load(image_size=336, attention="eager"), 16 * 2**30
    batch = memory.largest_batch(of, kind, load, usable)
    assert batch > 1
    for samples, fits in ((batch, True), (batch + 1, False)):
        asked = load.model_copy(update={"batch_size": samples})
        assert (memory.need(of, kind, asked).total_bytes <= usable) is fits
    assert memory.largest_batch(of, kind, load, 2**30) == 0


def test_the_pages_figures_follow_from_its_rule_and_leave_something_out() -> None:
    of, page = shape.of("llava-1.5-7b"), model_facts.published()["llava-1.5-7b"]
    found = memory.claims(of, page.memory_claimed, page.parameters_claimed, Load(image_size=336))
    claims = {one.quantization: one for one in found}
    for one in found:
        assert one.rule_bytes == pytest.approx(one.claimed_bytes, abs=0.05e9)
        assert one.error < 0
    assert claims["Q4_K_M"].claimed_bytes < claims["Q4_K_M"].weights_bytes
    assert math.isclose(claims["fp16"].error, -0.03, abs_tol=0.01)


def test_more_tokens_than_the_context_is_an_error_that_says_so() -> None:
    with pytest.raises(UserError, match="context of 4096 tokens, asked for 5640: 576 image, 5000"):
        memory.need(shape.of("llava-1.5-7b"), quantize.get("fp16"), Load(image_size=336, text_tokens=5000))


def test_an_unknown_quantization_names_the_nearest() -> None:
    assert quantize.get("q4_k_m").name == "Q4_K_M"
    with pytest.raises(UserError, match="did you mean 'Q4_K_M'"):
        quantize.get("Q4KM")


@pytest.mark.parametrize("name", EVERY)
def test_a_card_has_facts_and_sources(name: str) -> None:
    card = model_facts.of(shape.of(name))
    assert card.parameters_total == sum(card.parameters.values())
    assert card.head_size * card.heads == card.width
    assert (card.published is None) == name.endswith("-tiny")
    assert card.scores if card.published is None else card.published.benchmarks
    assert all(one.source for one in (card.published.benchmarks if card.published else ()))


def test_the_card_of_llava_agrees_with_the_published_page() -> None:
    card = model_facts.of(shape.of("llava-1.5-7b"))
    assert round(card.parameters_total / 1e9, 1) == 7.1
    assert (card.layers, card.kv_heads, card.head_size, card.context) == (32, 32, 128, 4096)
    assert card.published
    assert {one.name: one.score for one in card.published.benchmarks} == {"MMBench": 64.3, "MMMU": 34.8}
