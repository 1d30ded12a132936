"""Write small checkpoints of many families: random weights, a tokenizer of bytes, the family's own processor.

Widths are 64, two layers on each side, patches of 8 pixels, pictures of 64. The tokenizer has the 256 bytes
and the family's marks. Folders look as on the Hub: config.json, weights, tokenizer and processor files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import small_family_table
import small_newer_families
import small_older_families
import small_unlike_families
from small_family_table import FIRST_MARK, TEXT, Small

FAMILIES: dict[str, Small] = {
    **small_family_table.FAMILIES, **small_unlike_families.FAMILIES, **small_older_families.FAMILIES,
    **small_newer_families.FAMILIES,
}  # fmt: skip


_DEFAULT = (
    "blip", "diffusion_gemma", "evolla", "fast_vlm", "florence2", "gemma3n", "gemma4_unified", "git",
    "inkling2", "instructblipvideo", "minicpm_ocr", "mistral4", "mistral_large4", "muse_glimmer",
    "perception_lm", "pi0", "pix2struct", "pp_formulanet", "t5gemma2", "udop", "unlimited_ocr",
)  # fmt: skip
SKETCHED: dict[str, dict[str, Any]] = {
    **{name: {} for name in _DEFAULT},
    "nemotron_h_omni": {"text_config": {"time_step_limit": [0.0, 100.0]}},
    "vision-encoder-decoder": {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "gpt2"}},
}
"""Fields of the configuration of families that are refused before there are weights."""

MARKED = ("image_token", "audio_token", "boi_token", "eoi_token", "boa_token", "eoa_token")
"""Names under which their processors ask the tokenizer for marks."""


def sketch(name: str, folder: Path) -> Path:
    """Write a family's default configuration, tokenizer and processor files without weights."""
    import transformers as tf

    small = Small(("<mark>",), "", {}, images={}, names=dict.fromkeys(MARKED, "<mark>"))
    _tokenizer(small).save_pretrained(folder)
    tf.CONFIG_MAPPING[name](**SKETCHED[name]).save_pretrained(folder)
    _processor_files(name, small, folder)
    return folder


def build(name: str, folder: Path, *, std: float = 0.1, seed: int = 0) -> Path:
    """Write a small checkpoint of a family and return its folder."""
    import torch
    import transformers as tf

    small = FAMILIES[name]
    tokenizer = _tokenizer(small)
    tokenizer.save_pretrained(folder)
    for further in small.further:
        tokenizer.save_pretrained(folder / further)
    torch.manual_seed(seed)
    model = tf.AutoModelForImageTextToText.from_config(configuration(name, small))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, std)
    model.generation_config = tf.GenerationConfig(pad_token_id=256, bos_token_id=257, eos_token_id=258)
    model.save_pretrained(folder)
    _processor_files(name, small, folder)
    return folder


def _processor_files(name: str, small: Small, folder: Path) -> None:
    import transformers as tf
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as IMAGES
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    whole = small.like or name.removesuffix("_thinker")  # processors are those of the model that also speaks
    kinds = IMAGES.get(whole) or IMAGES.get(name.removesuffix("_moe")) or {}
    if "pil" in kinds:
        getattr(tf, kinds["pil"])(**small.images).save_pretrained(folder)
    elif kinds:  # a class that needs torchvision
        described = {"image_processor_type": kinds["torchvision"], **small.images}
        (folder / "preprocessor_config.json").write_text(json.dumps(described), encoding="utf-8")
    settings = {"processor_class": PROCESSOR_MAPPING_NAMES.get(whole), **small.processor}
    (folder / "processor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(_template(small.template), encoding="utf-8")


def configuration(name: str, small: Small) -> Any:
    """Return the configuration of a family built small."""
    from transformers import CONFIG_MAPPING

    ids = {mark: FIRST_MARK + i for i, mark in enumerate(small.marks)}
    text = {**TEXT, **small.text}
    return CONFIG_MAPPING[name](
        **(text if small.flat else {"text_config": text}), **small.top,
        **({"vision_config": dict(small.vision)} if small.vision else {}),
        **{field: ids[mark] for field, mark in small.ids.items()},
    )  # fmt: skip


def _tokenizer(small: Small) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<pad>", "<bos>", "<eos>", *small.marks])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>",
        model_input_names=["input_ids", "attention_mask"], extra_special_tokens=dict(small.names),
        **small.special,
    )  # fmt: skip


def _template(image: str) -> str:
    return (
        "{% for m in messages %}{{ m.role }}: {% for c in m.content %}{% if c.type == 'image' %}"
        + image
        + "{% else %}{{ c.text }}{% endif %}{% endfor %}<eos>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
