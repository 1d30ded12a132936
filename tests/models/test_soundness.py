"""A folder of which another model would be measured is refused by one line before measuring, others pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from altered import Change, both, cell, copied, cut, edited, removed, reweighted, sharded, without, written
from PIL import Image

from vlmnb.data.catalogue import Sample
from vlmnb.errors import UserError
from vlmnb.measure import encoding, loading
from vlmnb.measure.cells import measure_cells
from vlmnb.models import folders
from vlmnb.records.resolved import resolve_cell

Q = "language_model.model.layers.0.self_attn.q_proj.weight"
INDEX, SHARD = "model.safetensors.index.json", "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    monkeypatch.setenv(folders.FOLDERS, str(tmp_path / "checkpoints"))
    return copied(tmp_path / "checkpoints", getattr(request, "param", "llava-tiny"))


def set_to(**values: Any) -> Change:
    return reweighted(lambda held: held.update(values))


def index_names(value: Any) -> Change:
    return both(sharded, written(INDEX, json.dumps({"metadata": {}, "weight_map": value})))


def linked_nowhere(folder: Path) -> None:
    removed("model.safetensors")(folder)
    (folder / "model.safetensors").symlink_to("/nowhere")


NO_HEADER = (12).to_bytes(8, "little") + b"no json at all"
QUANTIZED = {"quant_method": "bitsandbytes", "load_in_4bit": True}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut("model.safetensors", -10), ("model.safetensors", "truncated", "hf download llava-hf/")),
        (written("model.safetensors", b"\x00\x10"), ("model.safetensors", "truncated")),
        (written("model.safetensors", NO_HEADER), ("model.safetensors", "no safetensors file")),
        (written("model.safetensors", "version https://git-lfs.github.com/spec/v1"), ("git lfs pull",)),
        (edited("config.json", auto_map={"AutoModel": "own.Own"}), ("config.json", "auto_map", "never run")),
        (edited("processor_config.json", auto_map={}), ("processor_config.json", "auto_map")),
        (
            both(written("pytorch_model.bin"), removed("model.safetensors")),
            ("has no model.safetensors or", "pytorch_model.bin", "weights: random"),
        ),
        (removed("tokenizer.json"), ("has no tokenizer: tokenizer.json", "hf download")),
        (
            both(removed("tokenizer.json"), written("tokenizer.model", "")),
            ("has no tokenizer", "only tokenizer.model", "LlamaTokenizer.from_pretrained"),
        ),
        (written("tokenizer.json", "{}"), ("cannot load llava-1.5-7b",)),
        (removed("processor_config.json"), ("has no image processor: preprocessor_config.json",)),
        (edited("config.json", text_config__vocab_size=777), ("has the shape", "(896, 128)", "(777, 128)")),
        (reweighted(lambda held: held.pop("language_model.lm_head.weight")), ("lacks 1 weights", "lm_head")),
        (removed("config.json"), ("has no config.json",)),
        (
            both(removed("config.json"), written("adapter_config.json")),
            ("no config.json", "adapter", "merge"),
        ),
        (linked_nowhere, ("has no model.safetensors", "a link to /nowhere")),
        (written("config.json", "{"), ("config.json cannot be read",)),
        (edited("config.json", model_type="fuyu"), ("'llava'", "'fuyu'")),
        (both(sharded, removed(SHARD)), (f"has no {SHARD}",)),
        (index_names(None), (INDEX, "no weight_map")),
        (both(sharded, without(INDEX, "metadata")), (INDEX, "no metadata")),
        (index_names({Q: None}), (INDEX, Q, "None")),
        (index_names({Q: 3}), (INDEX, Q, "3")),
        (index_names({Q: ["a"]}), (INDEX, Q)),
        (index_names({Q: "../other.safetensors"}), (INDEX, Q)),
        (both(sharded, written("model.safetensors", b"x")), ("weights twice", "model-00001")),
        (written(SHARD, b"x"), ("weights twice", SHARD)),
        (edited("config.json", text_config__num_hidden_layers=3), ("27 stored weights", "layers.3")),
        (set_to(extra=torch.ones(2)), ("1 stored weights", "extra")),
        (written("adapter_config.json", "{}"), ("adapter_config.json", "merge")),
        (written("adapter_model.safetensors", b"x"), ("adapter_model.safetensors", "merge")),
        (edited("config.json", quantization_config=QUANTIZED), ("quantized", "(quantization_config)")),
        (edited("config.json", text_config__quantization_config=QUANTIZED), ("text_config.quantization",)),
        (edited("config.json", compression_config={"format": "int"}), ("quantized", "compression_config")),
        (written("quantize_config.json", "{}"), ("quantized", "quantize_config.json")),
        (set_to(**{Q: torch.ones(128, 128, dtype=torch.int8)}), ("quantized", "I8")),
        (set_to(**{Q: torch.ones(128, 128).to(torch.float8_e4m3fn)}), ("quantized", "F8_E4M3")),
        (edited("generation_config.json", eos_token_id=99999), ("eos_token_id", "99999", "896", "is 2")),
        (edited("generation_config.json", eos_token_id=[2, -1]), ("eos_token_id", "-1")),
        (edited("generation_config.json", eos_token_id="2"), ("eos_token_id", "'2'")),
        (written("generation_config.json", "{"), ("generation_config.json cannot be read",)),
        (edited("config.json", image_token_index=7), ("token 3", "config.json has 7")),
    ],
)
def test_what_cannot_be_loaded_or_would_be_another_model_is_refused_in_one_line(
    change: Change, said: tuple[str, ...], folder: Path
) -> None:
    change(folder)
    with pytest.raises(UserError) as error:
        loading.require([resolve_cell(cell())])
    message = str(error.value)
    assert "\n" not in message
    assert [part for part in ("llava-1.5-7b", *said) if part not in message] == []


def positions(held: dict[str, Any]) -> None:
    held["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(65)[None]
    held["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)


def old_processor(folder: Path) -> None:
    settings = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    settings |= {"size": 64, "crop_size": 64, "feature_extractor_type": "CLIPFeatureExtractor"}
    del settings["image_processor_type"]
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "processor_config.json").unlink()


def smaller_vocabulary(folder: Path) -> None:
    embeds = ("language_model.lm_head.weight", "language_model.model.embed_tokens.weight")
    reweighted(lambda held: held.update({name: held[name][:800] for name in embeds}))(folder)
    edited("config.json", text_config__vocab_size=800)(folder)


COUNTING = ("patch_size", "num_additional_image_tokens", "vision_feature_select_strategy")
OLD = ("image_seq_length", "vision_feature_layer", "vision_feature_select_strategy", "dtype")


@pytest.mark.parametrize(
    ("change", "image_tokens", "note"),
    [
        (reweighted(positions), 64, ""),
        (sharded, 64, ""),
        (edited("config.json", quantization_config={}), 64, ""),
        (written(INDEX, "{}"), 64, ""),
        (written("pytorch_model.bin"), 64, "not loaded: pytorch_model.bin"),
        (written("model.fp16.safetensors"), 64, "not loaded: model.fp16.safetensors"),
        (written("training_args.bin"), 64, ""),
        (edited("generation_config.json", eos_token_id=[2, 5]), 64, ""),
        (edited("generation_config.json", eos_token_id=5), 64, "end at token 5, the tokenizer's end is 2"),
        (without("generation_config.json", "eos_token_id"), 64, "no eos_token_id"),
        (edited("generation_config.json", eos_token_id=[]), 64, "no eos_token_id"),
        (edited("config.json", _attn_implementation="flash_attention_2"), 64, ""),
        (
            written("chat_template.jinja", "{{ raise_exception('no') }}"),
            64,
            "chat template in chat_template.jinja",
        ),
        (smaller_vocabulary, 64, "77 tokens of the tokenizer"),
        (removed("generation_config.json"), 64, ""),
        *((without("processor_config.json", key), 64, "") for key in COUNTING),
        (without("processor_config.json", *COUNTING), 64, ""),
        (old_processor, 64, ""),
        (both(without("config.json", *OLD), edited("config.json", torch_dtype="float16")), 64, ""),
        (edited("config.json", vision_feature_select_strategy="full"), 65, ""),
    ],
)
def test_what_older_checkpoints_lack_and_harmless_leftovers_pass(
    change: Change, image_tokens: int, note: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder)
    loaded, found = load_and_encode(folder.name)
    assert found == image_tokens == loaded.family.image_tokens(loaded.model.config, 64)
    assert [note in one for one in loaded.notes] == ([True] if note else [])
    assert note in capsys.readouterr().err


PATCHES = [f"image_processor__{key}" for key in ("patch_size", "merge_size", "temporal_patch_size")]


@pytest.mark.parametrize(
    ("folder", "keys", "image_tokens"),
    [("qwen2.5-vl-tiny", PATCHES, 196), ("fuyu-tiny", PATCHES[:1], 28 * 29)],
    indirect=["folder"],
)
def test_patches_are_cut_as_the_model_does_it(folder: Path, keys: list[str], image_tokens: int) -> None:
    without("processor_config.json", *keys)(folder)
    assert load_and_encode(folder.name)[1] == image_tokens


def load_and_encode(name: str) -> tuple[loading.Loaded, int]:
    """A model that has generated for a picture of 224 pixels, and the tokens of the picture."""
    resolved = resolve_cell(cell(name))
    loading.require([resolved])
    loaded = loading.load(loading.configuration(resolved))
    prompt = encoding.fit(loaded.processor, "what is it?", 100)
    samples = [Sample("0", (Image.new("RGB", (224, 224)),), "", ("a",))]
    batch = encoding.encode(loaded.sizing, loaded.processor, samples, [prompt], 224)
    assert loaded.model.generate(**batch, max_new_tokens=1, pad_token_id=0).shape[0] == 1
    return loaded, encoding.image_tokens(batch, [prompt])[0]


TIED = edited("config.json", tie_word_embeddings=True, text_config__tie_word_embeddings=True)


@pytest.mark.slow
def test_an_output_layer_beside_a_tied_embedding_is_refused_unless_it_is_the_same(folder: Path) -> None:
    TIED(folder)
    with pytest.raises(UserError, match="tie_word_embeddings"):
        measure_cells([cell()], folder / "results")
    reweighted(
        lambda held: held.update(
            {"language_model.lm_head.weight": held["language_model.model.embed_tokens.weight"].clone()}
        )
    )(folder)
    (found,) = measure_cells([cell()], folder / "results")
    assert (found.status, found.reason) == ("ok", "")


@pytest.mark.slow
@pytest.mark.parametrize(("value", "dtype"), [("nan", "fp32"), ("inf", "fp32"), (1e5, "fp16")])
def test_weights_that_are_no_numbers_are_the_result_of_the_cell(
    value: str | float, dtype: str, folder: Path
) -> None:
    reweighted(lambda held: held[Q].__setitem__((0, 0), float(value)))(folder)
    (found,) = measure_cells([cell(dtype=dtype, optimization=dtype)], folder / "results")
    assert found.status == "failed"
    assert "layers.0.self_attn.q_proj.weight" in found.reason


READ = ["added_tokens.json", "special_tokens_map.json", "vocab.json", "merges.txt", "tokenizer.model",
         "spiece.model", "generation_config.json", "chat_template.json", "preprocessor_config.json",
         "additional_chat_templates/tools.jinja", "video_preprocessor_config.json", "chat_template.jinja",
         "tokenizer.json", "model.safetensors"]  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_every_file_that_loading_reads_is_in_the_key(name: str, folder: Path) -> None:
    keys = {resolve_cell(cell()).key}
    for content in (b"{}", b"[]"):
        written(name, content)(folder)
        keys.add(resolve_cell(cell()).key)
    assert len(keys) == 3


@pytest.mark.parametrize("name", ["README.md", "scores.json", "training_args.bin", "pytorch_model.bin"])
def test_a_file_that_is_not_read_is_not_in_the_key(name: str, folder: Path) -> None:
    before = resolve_cell(cell()).key
    written(name)(folder)
    assert resolve_cell(cell()).key == before


@pytest.mark.parametrize("folder", ["llava-tiny"], indirect=True)
def test_memory_is_asked_for_in_the_precision_that_weights_are_loaded_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halved = reweighted(lambda held: held.update({name: one.half() for name, one in held.items()}))
    halved(folder)
    asked: list[int] = []
    monkeypatch.setattr(loading.host_memory, "require", lambda needed, what: asked.append(needed))
    loaded = loading.load(loading.configuration(resolve_cell(cell())))
    weights = sum(one.nbytes for one in loaded.model.parameters())
    assert loaded.model.dtype == torch.float32
    assert asked == [pytest.approx(weights, rel=0.01)]
