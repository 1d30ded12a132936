"""Write a loaded model as GGUF, for llama.cpp: the language model, and the vision side (mmproj).

The package ``gguf`` knows llama.cpp's names of keys and tensors; a family says what is its own
(``Family.gguf``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OF_VISION = ("v.", "mm.", "vision_tower.", "visual.")
"""How the names of tensors begin that belong to the mmproj file."""


@dataclass(frozen=True)
class GgufParts:
    """What a family must say of its GGUF files.

    Attributes:
        architecture: llama.cpp's name of the language model.
        language: Values of the language model's file that its sizes do not give, by key.
        vision: Values of the mmproj file, by key.
        tensors: Returns the tensors that a weight becomes, as name and values; names as a checkpoint of the
            language model alone or of the vision side has them, or as llama.cpp has them.
    """

    architecture: str
    language: Mapping[str, Any]
    vision: Mapping[str, Any]
    tensors: Callable[[str, Any], Iterable[tuple[str, Any]]]


def write(
    parts: GgufParts, model: Any, tokenizer: Any, weights: Iterable[tuple[str, Any]], folder: Path
) -> tuple[Path, Path]:
    """Write a model into a folder; return the files of the language model and of the vision side.

    Matrices have 32 bits if the weights do, else 16 (F16). Only one weight is held at a time.

    Args:
        parts: What its family says of its files.
        model: The model; its weights are not read.
        tokenizer: Its tokenizer.
        weights: Names and values of its weights.
        folder: Where the files go. The package ``gguf`` needs room for a second copy beside them.

    Raises:
        ValueError: llama.cpp has no name for a weight.
    """
    import gguf

    config = model.config
    text, layers = config.text_config, int(config.text_config.num_hidden_layers)
    files = folder / "model.gguf", folder / "mmproj.gguf"
    language = gguf.GGUFWriter(files[0], parts.architecture, use_temp_file=True)
    vision = gguf.GGUFWriter(files[1], "clip", use_temp_file=True)
    _put(language, _sizes(parts.architecture, text) | dict(parts.language))
    _put(language, _vocabulary(tokenizer, int(text.vocab_size)))
    _put(vision, {"clip.has_vision_encoder": True, "general.file_type": 0, **parts.vision})
    of_language = gguf.get_tensor_name_map(gguf.MODEL_ARCH[parts.architecture.upper()], layers)
    of_vision = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, int(parts.vision["clip.vision.block_count"]))
    tied = bool(getattr(config, "tie_word_embeddings", False))
    for name, weight in weights:
        if tied and name == "lm_head.weight":
            continue
        for own, values in parts.tensors(name, _array(weight)):
            file, names = (vision, of_vision) if own.startswith(OF_VISION) else (language, of_language)
            made = (
                own
                if own.startswith(("v.", "mm."))
                else names.get_name(own, try_suffixes=(".weight", ".bias"))
            )
            if made is None:
                raise ValueError(f"llama.cpp has no name for the weight {name}")
            file.add_tensor(made, values)
    for file in (language, vision):
        file.write_header_to_file()
        file.write_kv_data_to_file()
        file.write_tensors_to_file()
        file.close()
    return files


def _array(weight: Any) -> Any:
    """Return a weight as it is written: vectors, and what had 32 bits, in 32 bits, all else in 16."""
    whole = weight.dim() < 2 or weight.element_size() == 4
    return (weight.float() if whole else weight.half()).detach().cpu().numpy()


def interleaved(weight: Any, heads: int) -> Any:
    """Return a query or key matrix with the halves of each head interleaved, as llama.cpp rotates them."""
    rows, *rest = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2).reshape(weight.shape)


def image_values(images: Any) -> dict[str, Any]:
    """Return mean and deviation of an image processor as the mmproj file has them."""
    return {
        "clip.vision.image_mean": [float(value) for value in images.image_mean],
        "clip.vision.image_std": [float(value) for value in images.image_std],
    }


def _sizes(architecture: str, text: Any) -> dict[str, Any]:
    heads = int(text.num_attention_heads)
    width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    values = {
        "context_length": int(text.max_position_embeddings),
        "embedding_length": int(text.hidden_size),
        "block_count": int(text.num_hidden_layers),
        "feed_forward_length": int(text.intermediate_size),
        "attention.head_count": heads,
        "attention.head_count_kv": int(text.num_key_value_heads or heads),
        "attention.key_length": width,
        "attention.value_length": width,
        "attention.layer_norm_rms_epsilon": float(text.rms_norm_eps),
        "rope.dimension_count": width,
        "rope.freq_base": float(text.rope_parameters["rope_theta"]),
        "vocab_size": int(text.vocab_size),
    }
    return {"general.file_type": 0} | {f"{architecture}.{key}": value for key, value in values.items()}


def _vocabulary(tokenizer: Any, size: int) -> dict[str, Any]:
    """Return the vocabulary, which names tokens; prompts are put to llama.cpp as the numbers of tokens."""
    from gguf import TokenType

    names = [f"[PAD{number}]" for number in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for name, number in tokenizer.get_vocab().items():
        if number < size:
            names[number] = name
            kinds[number] = int(TokenType.CONTROL if number in special else TokenType.NORMAL)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"].get("merges", [])
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in merges],
        "tokenizer.ggml.eos_token_id": int(tokenizer.eos_token_id),
        "tokenizer.ggml.add_bos_token": False,
    }


def _put(file: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key == "tokenizer.ggml.token_type" or (isinstance(value, list) and value):
            file.add_array(key, value)
        elif isinstance(value, bool):
            file.add_bool(key, value)
        elif isinstance(value, int):
            file.add_uint32(key, value)
        elif isinstance(value, float):
            file.add_float32(key, value)
        elif isinstance(value, str):
            file.add_string(key, value)
