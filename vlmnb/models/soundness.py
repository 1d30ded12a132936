"""What a checkpoint's folder must hold, and must not: what would make another model of it is refused.

Only headers and small files are read here. What needs the weights or the model object is checked where they
are loaded.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlmnb.errors import UserError, one_line
from vlmnb.models import folders, geometry
from vlmnb.models.entry import ModelEntry

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ALL_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf")
OF_TRAINING = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt")
SENTENCEPIECE = ("tokenizer.model", "spiece.model")
"""Tokenizers that transformers converts otherwise for a LLaVA than for the Llama they belong to."""
OTHER_TOKENS = (
    "from which other tokens would be made; write the first with the tokenizer's own class, as "
    "LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)"
)
IMAGE_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""Files that may describe the image processor, the newer layout first."""

QUANTIZED = ("quantization_config", "compression_config")
"""Parts of a ``config.json`` whose weights are stored quantized."""
QUANTIZED_BESIDE = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""Files in which other tools say the same."""
FRACTIONS = ("F64", "F32", "F16", "BF16")
PLAIN_DTYPES = (*FRACTIONS, "I64", "BOOL")
"""Types of stored tensors that are not quantized; whole numbers are positions."""

LEFTOVERS = re.compile(r"(inv_freq|position_ids|masked_bias|attn\.bias|num_batches_tracked)$")
"""Stored tensors that a model computes itself: no weights, so they may be left out."""


def check(entry: ModelEntry, folder: Path) -> None:
    """Refuse a folder that cannot be loaded, or of which another model would be loaded.

    Raises:
        UserError: A file is missing or damaged, or the folder holds something else than the model's weights.
    """
    if lacking := lacking_file(entry, folder):
        raise unusable(entry, f"{folder} has no {lacking}")
    if obstacle := next(_obstacles(entry, folder), ""):
        raise UserError(f"{entry.name}: {obstacle}")


def _obstacles(entry: ModelEntry, folder: Path) -> Iterator[str]:
    config, right = read_json(entry, folder / "config.json"), entry.source or entry.name
    kind, wanted = config.get("model_type"), geometry.document(entry)["model_type"]
    if kind != wanted:
        yield (
            f"{folder / 'config.json'} describes a model of type {kind!r} in place of {wanted!r}; put the "
            f"checkpoint of {right} there"
        )
    for name in ("config.json", "tokenizer_config.json", "generation_config.json", *IMAGE_PROCESSORS):
        if (folder / name).exists() and "auto_map" in read_json(entry, folder / name):
            yield (
                f"{folder / name} asks for code of its own (auto_map), which is never run; use a checkpoint "
                f"that transformers loads by itself, such as {right}"
            )
    for file in sorted(folder.glob("adapter_*")):
        yield (
            f"{file} belongs to an adapter, without which the model would be measured; merge it into the "
            "weights (peft: merge_and_unload), or move its files away"
        )
    files = weight_files(entry, folder)
    for file in sorted(set(folder.glob("model-*-of-*.safetensors")) - set(files)):
        yield (
            f"{folder} has weights twice: {files[0].name} would be loaded and {file.name} would not; keep "
            "those that belong to the model, and move the others away"
        )
    quantized = [f"{folder / name}" for name in QUANTIZED_BESIDE if (folder / name).exists()]
    quantized += [f"{folder / 'config.json'} ({name})" for name in _quantized(config)]
    quantized += [f"{file} ({tensor} is {dtype})" for file in files for tensor, dtype in _odd(entry, file)]
    if quantized:
        yield (
            f"the weights are quantized by {quantized[0]}, and would be measured as something else; use the "
            "unquantized checkpoint, and an optimization such as bnb-4bit"
        )


def beside(entry: ModelEntry, folder: Path) -> tuple[str, ...]:
    """Return a note on files of weights that are not loaded, if there are any."""
    unread = _all_weights(folder) - {file.name for file in weight_files(entry, folder)}
    return (f"beside the weights, and not loaded: {', '.join(sorted(unread))}",) if unread else ()


def _all_weights(folder: Path) -> set[str]:
    names = {file.name for kind in ALL_WEIGHTS for file in folder.glob(kind)}
    return {name for name in names if not name.startswith(OF_TRAINING)}


def lacking_file(entry: ModelEntry, folder: Path) -> str:
    """Name the first file that a folder lacks; empty if it is complete."""
    for file in (*folder.glob("*.json"), *folder.glob("*.safetensors")):
        if file.is_symlink() and not file.exists():
            return f"{file.name}: it is a link to {file.readlink()}, which is not there"
    for names in (("config.json",), (WEIGHTS, INDEX)):
        if not any((folder / name).exists() for name in names):
            only = min(_all_weights(folder), default="") if WEIGHTS in names else ""
            seen = f", only {only}, which is never read" if only else ""
            if (folder / "adapter_config.json").exists() and "config.json" in names:
                seen = ", only an adapter: merge it into its base model (peft: merge_and_unload)"
            return f"{' or '.join(names)}{seen}"
    for file in weight_files(entry, folder):
        if not file.is_file():
            return f"{file.name}, which {INDEX} lists"
    return lacking_processor(folder)


def lacking_processor(folder: Path) -> str:
    """Name the first file of a tokenizer or an image processor that a folder lacks; empty if it has both."""
    if not any((folder / name).exists() for name in TOKENIZERS):
        old = next(
            (f", only {name}, {OTHER_TOKENS}" for name in SENTENCEPIECE if (folder / name).exists()), ""
        )
        return f"tokenizer: {' or '.join(TOKENIZERS)}{old}"
    newer, older = IMAGE_PROCESSORS
    with contextlib.suppress(OSError, ValueError):
        if "image_processor" in json.loads((folder / newer).read_text(encoding="utf-8")):
            return ""
    return "" if (folder / older).exists() else f"image processor: {older}, or image_processor in {newer}"


def weight_files(entry: ModelEntry, folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint that are loaded; a single one comes before shards.

    Raises:
        UserError: The index of the files cannot be read.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = read_json(entry, folder / INDEX)
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not shards or not isinstance(index.get("metadata"), dict):
        raise unusable(entry, f"{folder / INDEX} has no weight_map, or no metadata beside it")
    for weight, file in shards.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise unusable(entry, f"{folder / INDEX} names no file of the folder for {weight}, but {file!r}")
    return [folder / name for name in sorted(set(shards.values()))]


def loaded_bytes(entry: ModelEntry, folder: Path, element_bytes: int) -> int:
    """Return the bytes that the weights of a sound folder take, loaded with so many bytes for a number."""
    from safetensors import safe_open

    total = 0
    for file in weight_files(entry, folder):
        with safe_open(file, "numpy") as held:
            for name in held.keys():  # noqa: SIM118
                stored = held.get_slice(name)
                converted = stored.get_dtype() in FRACTIONS
                total += math.prod(stored.get_shape()) * (element_bytes if converted else 8)
    return total


def unusable(entry: ModelEntry, why: str) -> UserError:
    """Return the error of files that cannot be used, with the ways out."""
    return UserError(f"{entry.name}: {why}; {folders.ways_out(entry)}")


def read_json(entry: ModelEntry, path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or raise a ``UserError``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unusable(entry, f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise unusable(entry, f"{path} holds no JSON object")
    return content


def obstacle(entry: ModelEntry, folder: Path, kind: Any, config: Any) -> str:
    """Say why the weights in a folder would be refused, without loading any; empty if they would not be.

    Args:
        entry: The model.
        folder: Where its files are.
        kind: Its class in transformers.
        config: Its configuration, an object of transformers.
    """
    try:
        check(entry, folder)
        check_report(_report(entry, folder, kind, config), entry.name, folder)
    except UserError as error:
        return str(error).removeprefix(f"{entry.name}: ")
    return ""


def _report(entry: ModelEntry, folder: Path, kind: Any, config: Any) -> Mapping[str, Any]:
    """Return what ``from_pretrained`` reports of loading weights, from their names and shapes alone."""
    from transformers.modeling_utils import load_state_dict
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        held = {
            name: tensor
            for file in weight_files(entry, folder)
            for name, tensor in load_state_dict(str(file), "meta").items()
        }
        report: Mapping[str, Any] = kind.from_pretrained(
            None, config=copy.deepcopy(config), state_dict=held, device_map="meta",
            output_loading_info=True, ignore_mismatched_sizes=True, attn_implementation="eager",
        )[1]  # fmt: skip
        return report
    except Exception:  # of loading without values; what a real loading raises, measuring reports
        return {"missing_keys": (), "mismatched_keys": (), "unexpected_keys": ()}
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def check_report(report: Mapping[str, Any], name: str, folder: Path) -> None:
    """Refuse weights that are not all of a model, by what ``from_pretrained`` reports of loading them.

    Raises:
        UserError: Weights are missing, have another shape, or are left out.
    """
    if absent := sorted(report["missing_keys"]):
        raise UserError(
            f"{folder} lacks {len(absent)} weights that {name} needs, the first is {absent[0]}; "
            "they would be random, so nothing is measured with it"
        )
    if wrong := sorted(report["mismatched_keys"]):
        weight, there, here = wrong[0]
        raise UserError(
            f"{folder}: {weight} has the shape {tuple(there)} in the weights and {tuple(here)} by "
            f"config.json, one of {len(wrong)} that differ; restore the config.json that belongs to the "
            f"weights of {name}"
        )
    if unused := sorted(weight for weight in report["unexpected_keys"] if not LEFTOVERS.search(weight)):
        raise UserError(
            f"{name}: {len(unused)} stored weights are not part of the model that config.json describes, the "
            f"first is {unused[0]}; restore the config.json that belongs to the weights"
        )


def check_model(model: Any, tokenizer: Any, name: str) -> tuple[str, ...]:
    """Compare a model object with its tokenizer.

    Returns:
        What a reader of its numbers should know about its vocabulary and its end token.

    Raises:
        UserError: The end token is not in the vocabulary.
    """
    vocabulary, given = model.config.get_text_config().vocab_size, model.generation_config.eos_token_id
    missing = len(tokenizer) - vocabulary
    notes = (f"{missing} tokens of the tokenizer are not in the model's vocabulary",) if missing > 0 else ()
    if given in (None, []):
        return (*notes, "no eos_token_id is set, so every answer runs to the limit")
    ends = given if isinstance(given, list) else [given]
    if outside := [end for end in ends if not isinstance(end, int) or not 0 <= end < vocabulary]:
        raise UserError(
            f"{name}: eos_token_id in generation_config.json (or config.json) is {outside[0]!r}, outside the "
            f"vocabulary of {vocabulary}: no answer would end; the tokenizer's is {tokenizer.eos_token_id}"
        )
    other = (f"answers end at token {given}, the tokenizer's end is {tokenizer.eos_token_id}",)
    return notes if tokenizer.eos_token_id in ends else notes + other


def check_values(model: Any, entry: ModelEntry, folder: Path) -> str:
    """Say which loaded weight is infinite or no number; empty if none is.

    Raises:
        UserError: The output layer is to be the token embedding, and has other values.
    """
    tied = read_json(entry, folder / "config.json").get("tie_word_embeddings")
    if tied and model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        raise UserError(
            f"{entry.name}: by tie_word_embeddings in config.json the output layer is the token embedding, "
            "and the stored one has other values; set it to false, or take that weight away"
        )
    for weight, values in model.named_parameters():
        if not all(bound.isfinite() for bound in values.aminmax()):
            return f"{weight} has values that are infinite or no numbers in {values.dtype}"
    return ""


def _quantized(config: dict[str, Any], place: str = "") -> Iterator[str]:
    """Yield the parts of a configuration, however deep, that say that the weights are quantized."""
    for name, value in config.items():
        if name in QUANTIZED and value:
            yield f"{place}{name}"
        elif isinstance(value, dict):
            yield from _quantized(value, f"{place}{name}.")


def _odd(entry: ModelEntry, file: Path) -> Iterator[tuple[str, str]]:
    """Yield tensors of a file that are no plain numbers; opening it finds a download that was cut off."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as held:
            dtypes = {name: held.get_slice(name).get_dtype() for name in held.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        why = f"is truncated, damaged or no safetensors file ({one_line(error)}), so replace it"
        if isinstance(error, OSError):
            why = f"cannot be read ({one_line(error)})"
        elif file.read_bytes()[:23] == b"version https://git-lfs":
            why = "is a pointer of Git LFS in place of the weights, which `git lfs pull` brings"
        raise unusable(entry, f"{file} {why}") from None
    yield from ((name, dtype) for name, dtype in dtypes.items() if dtype not in PLAIN_DTYPES)
