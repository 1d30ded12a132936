"""ViP-LLaVA, as a researcher would add it: LLaVA with the features of several layers, and a norm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vlmnb.models.architecture import Tensor, norms
from vlmnb.models.entry import ModelEntry
from vlmnb.models.families.llava import Llava


class VipLlava(Llava):
    """ViP-LLaVA."""

    name = "vipllava"
    rank = 100
    entries = (
        ModelEntry(
            name="vipllava-mini", family="vipllava", title="ViP-LLaVA mini",
            summary="A small CLIP tower, features of two of its layers, a projector and a Llama decoder.",
            source="nobody/vip-llava-mini", revision="0" * 40, base_image_size=32, image_sizes=(32,),
            native_image_size=32, datasets=("textvqa-mini",), speed_dataset="textvqa-mini",
            choice_dataset="textvqa-mini",
        ),
    )  # fmt: skip
    class_name = "VipLlavaForConditionalGeneration"
    configurations = {
        "vipllava-mini": {
            "model_type": "vipllava",
            "architectures": ["VipLlavaForConditionalGeneration"],
            "image_token_index": 990,
            "vision_feature_layer": [-2, 1],
            "tie_word_embeddings": False,
            "text_config": {
                "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 1000,
                "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
            },
            "vision_config": {
                "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 48,
                "num_hidden_layers": 3, "num_attention_heads": 2, "num_channels": 3, "image_size": 32,
                "patch_size": 8,
            },
        }
    }  # fmt: skip

    def special_ids(self, config: Any) -> dict[str, int]:
        """Return the id of the image token."""
        return {"<image>": config.image_token_index}

    def adapt(self, processor: Any, config: Any) -> None:
        """Set the size of the tower; ViP-LLaVA always drops the class token."""
        config.vision_feature_select_strategy = "default"
        super().adapt(processor, config)

    def image_tensors(self, config: Any) -> Iterator[Tensor]:
        """Yield LLaVA's weights, and those of the projector's norm."""
        yield from super().image_tensors(config)
        yield from norms("projector", config.vision_config.hidden_size * 2, bias=True)

    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Return one image's pixels without content."""
        import torch

        pixels = torch.empty(1, 3, image_size, image_size, device="meta")
        return {"pixel_values": pixels, "vision_feature_layer": config.vision_feature_layer}


FAMILY = VipLlava()
