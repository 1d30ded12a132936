"""Configurations, fresh models and processors of the tiny checkpoints."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPImageProcessorPil,
    FuyuConfig,
    FuyuForCausalLM,
    FuyuImageProcessorPil,
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from models.training.tokenization import SPECIAL, train_tokenizer
from vlmnb.models.processors.fuyu import CHAT_TEMPLATE as FUYU_CHAT_TEMPLATE
from vlmnb.models.processors.fuyu import ImageOnlyFuyuProcessor
from vlmnb.models.processors.qwen2_5_vl import ImageOnlyQwen2_5_VLProcessor

NAMES = ("llava-tiny", "qwen2.5-vl-tiny", "fuyu-tiny", "smolvlm-tiny")
MODELS = Path(__file__).resolve().parents[1]
BASE_SIZE = 64
PATCH = 8
TILE = 64
"""Side of the tiles that SmolVLM cuts larger pictures into."""
VOCABULARY = 896
INIT_STD = 0.07
EYE_LAYERS = 4
"""Layers at the bottom of Fuyu's decoder that learn to see first, as the vision tower of the others does."""
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def _llama(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
        "initializer_range": INIT_STD,
        "tie_word_embeddings": False,
        "bos_token_id": ids["bos"],
        "eos_token_id": ids["eos"],
        "pad_token_id": ids["pad"],
    }


def _llava_config(ids: dict[str, int]) -> LlavaConfig:
    text = _llama(ids)
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": BASE_SIZE,
        "patch_size": PATCH,
        "projection_dim": 128,
        "initializer_range": INIT_STD,
    }
    return LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=ids["image"],
        image_seq_length=(BASE_SIZE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )


def _qwen_config(ids: dict[str, int]) -> Qwen2_5_VLConfig:
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": INIT_STD,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4]},
        "bos_token_id": None,
        "eos_token_id": ids["eos"],
        "pad_token_id": ids["pad"],
    }
    vision = {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 32,
        "fullatt_block_indexes": [1, 3],
        "out_hidden_size": 128,
        "initializer_range": INIT_STD,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image"],
        video_token_id=ids["video"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=False,
    )


def _fuyu_config(ids: dict[str, int]) -> FuyuConfig:
    text = {
        "model_type": "persimmon",
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": EYE_LAYERS + 5,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
        "initializer_range": INIT_STD,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        "qk_layernorm": True,
        "bos_token_id": ids["bos"],
        "eos_token_id": ids["eos"],
        "pad_token_id": ids["pad"],
        "tie_word_embeddings": False,
    }
    config: Any = FuyuConfig
    return config(  # type: ignore[no-any-return]
        text_config=text,
        patch_size=PATCH,
        num_channels=3,
        image_token_id=ids["image"],
        bos_token_id=ids["bos"],
        eos_token_id=ids["eos"],
        pad_token_id=ids["pad"],
        hidden_size=128,  # older releases of transformers read the width here
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
    )


def _smolvlm_config(ids: dict[str, int]) -> Idefics3Config:
    text = _llama(ids)
    vision = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": TILE,
        "patch_size": PATCH,
        "initializer_range": INIT_STD,
    }
    return Idefics3Config(
        text_config=text,
        vision_config=vision,
        scale_factor=2,
        image_token_id=ids["image"],
        pad_token_id=ids["pad"],
        tie_word_embeddings=False,
    )


def token_ids(name: str, tokenizer: Any) -> dict[str, int]:
    """Ids of a checkpoint's special tokens by role."""
    return {role: int(tokenizer.convert_tokens_to_ids(token)) for role, token in SPECIAL[name].items()}


def new_processor(name: str, tokenizer: PreTrainedTokenizerFast | None = None) -> Any:
    """The processor of a checkpoint, with a freshly trained tokenizer unless one is given."""
    tokenizer = tokenizer or train_tokenizer(name)
    if name == "llava-tiny":
        image_processor: Any = CLIPImageProcessorPil(
            size={"height": BASE_SIZE, "width": BASE_SIZE},
            do_center_crop=False,
            crop_size={"height": BASE_SIZE, "width": BASE_SIZE},
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
        )
        return LlavaProcessor(
            image_processor,
            tokenizer,
            patch_size=PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            image_token="<image>",
            chat_template=tokenizer.chat_template,
        )
    if name == "qwen2.5-vl-tiny":
        image_processor = Qwen2VLImageProcessorPil(
            patch_size=PATCH,
            merge_size=2,
            temporal_patch_size=2,
            size={"shortest_edge": BASE_SIZE**2, "longest_edge": BASE_SIZE**2},
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
        )
        return ImageOnlyQwen2_5_VLProcessor(image_processor, tokenizer, tokenizer.chat_template)
    if name == "smolvlm-tiny":
        image_processor = Idefics3ImageProcessorPil(
            do_resize=False,  # to a fixed longest side; a picture keeps its own, brought to whole tiles
            do_image_splitting=True,
            max_image_size={"longest_edge": TILE},
        )
        side = TILE // PATCH // 2
        return Idefics3Processor(
            image_processor, tokenizer, image_seq_len=side**2, chat_template=tokenizer.chat_template
        )
    image_processor = FuyuImageProcessorPil(
        size={"height": BASE_SIZE, "width": BASE_SIZE},
        patch_size={"height": PATCH, "width": PATCH},  # type: ignore[arg-type]
        do_pad=False,
        resample=3,
    )
    return ImageOnlyFuyuProcessor(image_processor, tokenizer, FUYU_CHAT_TEMPLATE)


def _sincos_table(side: int, width: int) -> torch.Tensor:
    """A 2-D sine/cosine position table for ``side * side`` patches."""
    frequency = torch.exp(-math.log(100.0) * torch.arange(width // 4) / (width // 4))
    angle = torch.arange(side)[:, None] * frequency[None]
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = axis[:, None, :].expand(side, side, -1)
    columns = axis[None, :, :].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, width)


def new_model(name: str, tokenizer: Any) -> PreTrainedModel:
    """A freshly initialized model of one checkpoint; seed torch beforehand."""
    ids = token_ids(name, tokenizer)
    if name == "llava-tiny":
        model: Any = LlavaForConditionalGeneration(_llava_config(ids))
        table = _sincos_table(BASE_SIZE // PATCH, 128)
        position: nn.Embedding = find_module(model, "position_embedding")
        with torch.no_grad():
            position.weight.mul_(0.1)
            position.weight[1:] += 0.5 * table
    elif name == "qwen2.5-vl-tiny":
        model = Qwen2_5_VLForConditionalGeneration(_qwen_config(ids))
    elif name == "smolvlm-tiny":
        model = Idefics3ForConditionalGeneration(_smolvlm_config(ids))
        table = _sincos_table(TILE // PATCH, 128)
        with torch.no_grad():
            find_module(model, "position_embedding").weight.mul_(0.1).add_(0.5 * table)
    else:
        model = FuyuForCausalLM(_fuyu_config(ids))
    model.generation_config = GenerationConfig(
        bos_token_id=ids.get("bos"),
        eos_token_id=ids["eos"],
        pad_token_id=ids["pad"],
        do_sample=False,
        max_new_tokens=24,
    )
    return model  # type: ignore[no-any-return]


def find_module(model: nn.Module, suffix: str) -> Any:
    """The only module whose dotted name ends with ``suffix``."""
    found = [module for name, module in model.named_modules() if name.endswith(suffix)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} modules end with {suffix}")
    return found[0]


def save(name: str, model: PreTrainedModel, processor: Any, folder: Path | None = None) -> Path:
    """Write a checkpoint folder, files replaced one at a time and each at once."""
    target = folder or MODELS / name
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        model.save_pretrained(scratch)
        processor.save_pretrained(scratch)
        for file in sorted(Path(scratch).iterdir()):
            os.chmod(file, 0o644)
            shutil.move(str(file), str(target / file.name))
    return target


def load(name: str, folder: Path | None = None) -> tuple[Any, Any]:
    """A shipped checkpoint: its model and its processor."""
    source = str(folder or MODELS / name)
    if name == "llava-tiny":
        return LlavaForConditionalGeneration.from_pretrained(source), LlavaProcessor.from_pretrained(source)
    if name == "qwen2.5-vl-tiny":
        model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(source)
        return model, ImageOnlyQwen2_5_VLProcessor.from_pretrained(source)
    if name == "smolvlm-tiny":
        model = Idefics3ForConditionalGeneration.from_pretrained(source)
        return model, Idefics3Processor.from_pretrained(source)
    return FuyuForCausalLM.from_pretrained(source), ImageOnlyFuyuProcessor.from_pretrained(source)
