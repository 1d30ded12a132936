"""PaliGemma, as a researcher would add it: a SigLIP tower, one linear layer and a Gemma decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vlmnb.models.architecture import ImageFlops, Tensor, Vision, linear, norms
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import PLACES, Family


class PaliGemma(Family):
    """PaliGemma."""

    name = "paligemma"
    entries = (
        ModelEntry(
            name="paligemma-mini", family="paligemma", title="PaliGemma mini",
            summary="A small SigLIP tower, a linear layer and a Gemma decoder with one key-value head.",
            source="nobody/paligemma-mini", revision="0" * 40, base_image_size=32, image_sizes=(32,),
            native_image_size=32, datasets=("textvqa-mini",), speed_dataset="textvqa-mini",
            choice_dataset="textvqa-mini",
        ),
    )  # fmt: skip
    class_name = "PaliGemmaForConditionalGeneration"
    processor_class = ("transformers", "LlavaProcessor")
    stand_in = "llava-tiny"
    configurations = {
        "paligemma-mini": {
            "model_type": "paligemma",
            "image_token_index": 990,
            "projection_dim": 32,
            "tie_word_embeddings": True,
            "text_config": {
                "model_type": "gemma", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 1000,
                "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
            },
            "vision_config": {
                "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 48,
                "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
                "projection_dim": 32, "vision_use_head": False,
            },
        }
    }  # fmt: skip
    places = ((r"vision_tower\.encoder\.layers\.\d+\.self_attn$", "vision_scores"), *PLACES)
    vision_names = ("model.vision_tower", "model.multi_modal_projector")
    projector_name = "model.multi_modal_projector"
    layers_name = "model.vision_tower.encoder.layers"
    patches_name = "model.vision_tower.embeddings.patch_embedding"

    def special_ids(self, config: Any) -> dict[str, int]:
        """Return the id of the image token."""
        return {"<image>": config.image_token_index}

    def match(self, processor: Any, config: Any) -> None:
        """Count the patches of the tower, which has no class token."""
        processor.patch_size, processor.num_additional_image_tokens = config.vision_config.patch_size, 0
        processor.vision_feature_select_strategy = "full"

    def adapt(self, processor: Any, config: Any) -> None:
        """Set the size of the tower."""
        side = config.vision_config.image_size
        processor.image_processor.size = {"height": side, "width": side}

    def sized(self, image_size: int) -> dict[str, Any]:
        """Return nothing: the processor brings every image to the one size of the tower."""
        return {}

    def vision_shape(self, config: Any) -> Vision:
        """Return the numbers of the tower."""
        vision = config.vision_config
        return Vision(
            layers=vision.num_hidden_layers, width=vision.hidden_size, heads=vision.num_attention_heads,
            mlp=vision.intermediate_size, used_layers=vision.num_hidden_layers,
        )  # fmt: skip

    def image_tensors(self, config: Any) -> Iterator[Tensor]:
        """Yield the weights of the tower and of the linear layer."""
        vision, width = config.vision_config, config.vision_config.hidden_size
        patch, positions = (width, 3, vision.patch_size, vision.patch_size), self.image_tokens(config, 0)
        yield Tensor(component="vision", role="patch_embd", shape=patch, kind="conv")
        yield Tensor(component="vision", role="patch_embd.bias", shape=(width,), kind="vector")
        yield Tensor(component="vision", role="position_embd", shape=(positions, width), kind="table")
        for i in range(vision.num_hidden_layers):
            for role in ("attn_q", "attn_k", "attn_v", "attn_output"):
                yield from linear("vision", role, width, width, i)
            yield from linear("vision", "ffn_up", vision.intermediate_size, width, i)
            yield from linear("vision", "ffn_down", width, vision.intermediate_size, i)
            yield from norms("vision", width, i, bias=True, count=2)
        yield from norms("vision", width, bias=True)
        yield from linear("projector", "mm.0", config.text_config.hidden_size, width)

    def image_tokens(self, config: Any, image_size: int, height: int | None = None) -> int:
        """Return one token for each patch of the tower's own size."""
        return int(config.vision_config.image_size // config.vision_config.patch_size) ** 2

    def image_flops(self, config: Any, image_size: int) -> ImageFlops:
        """Count the tower and the linear layer, both over the patches."""
        vision, tokens = config.vision_config, self.image_tokens(config, image_size)
        width, layers = vision.hidden_size, vision.num_hidden_layers
        layer = 4 * width**2 + 2 * width * vision.intermediate_size
        return ImageFlops(
            vision=2 * tokens * (3 * vision.patch_size**2 * width + layers * layer),
            vision_scores=2 * layers * 2 * tokens**2 * width,
            projector=2 * tokens * width * config.text_config.hidden_size,
        )

    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Return one image's pixels without content."""
        import torch

        return {"pixel_values": torch.empty(1, 3, image_size, image_size, device="meta")}


FAMILY = PaliGemma()
