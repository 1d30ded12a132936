"""ViP-LLaVA, as a researcher would add it: a CLIP tower whose features of several layers are projected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlmnb.models.architecture import ImageFlops, Tensor, Vision, linear, norms
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import Family


class VipLlava(Family):
    """ViP-LLaVA."""

    name = "vipllava"
    entries = (
        ModelEntry(
            name="vipllava-mini",
            family="vipllava",
            title="ViP-LLaVA mini",
            summary="A small CLIP tower, features of two of its layers, a projector and a Llama decoder.",
            source="nobody/vip-llava-mini",
            revision="0" * 40,
            base_image_size=32,
            image_sizes=(32,),
            native_image_size=32,
            datasets=("textvqa-mini",),
            speed_dataset="textvqa-mini",
            choice_dataset="textvqa-mini",
        ),
    )
    class_name = "VipLlavaForConditionalGeneration"
    processor_class = ("transformers", "LlavaProcessor")
    stand_in = "llava-tiny"
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

    def load_processor(self, folder: str | Path) -> Any:
        """Load LLaVA's processor, padding on the left."""
        from transformers import LlavaProcessor

        processor = LlavaProcessor.from_pretrained(folder)
        processor.tokenizer.padding_side = "left"
        return processor

    def special_ids(self, config: Any) -> dict[str, int]:
        """Return the id of the image token."""
        return {"<image>": config.image_token_index}

    def adapt(self, processor: Any, config: Any) -> None:
        """Set the size of the tower."""
        side = config.vision_config.image_size
        processor.patch_size = config.vision_config.patch_size
        processor.image_processor.size = processor.image_processor.crop_size = {"height": side, "width": side}

    def sized(self, image_size: int) -> dict[str, Any]:
        """Return nothing: the tower has one size."""
        return {}

    def seen_side(self, config: Any, image_size: int) -> int:
        """Return the one size of the tower."""
        return int(config.vision_config.image_size)

    def vision_modules(self, model: Any) -> list[Any]:
        """Return the tower and the projector."""
        return [model.model.vision_tower, model.model.multi_modal_projector]

    def projector(self, model: Any) -> Any:
        """Return the projector."""
        return model.model.multi_modal_projector

    def vision_shape(self, config: Any) -> Vision:
        """Return the numbers of the tower, whose last layer is not used."""
        vision = config.vision_config
        return Vision(
            layers=vision.num_hidden_layers, width=vision.hidden_size, heads=vision.num_attention_heads,
            mlp=vision.intermediate_size, class_token=True, used_layers=vision.num_hidden_layers - 1,
        )  # fmt: skip

    def image_tensors(self, config: Any) -> Iterator[Tensor]:
        """Yield the weights of the tower and of the projector with its norm."""
        vision, width = config.vision_config, config.vision_config.hidden_size
        patch = (width, vision.num_channels, vision.patch_size, vision.patch_size)
        positions = self.image_tokens(config, vision.image_size) + 1
        yield Tensor(component="vision", role="patch_embd", shape=patch, kind="conv")
        yield Tensor(component="vision", role="class_embd", shape=(width,), kind="vector")
        yield Tensor(component="vision", role="position_embd", shape=(positions, width), kind="table")
        yield from norms("vision", width, bias=True, count=2)
        for i in range(vision.num_hidden_layers):
            for role in ("attn_q", "attn_k", "attn_v", "attn_output"):
                yield from linear("vision", role, width, width, i)
            yield from linear("vision", "ffn_up", vision.intermediate_size, width, i)
            yield from linear("vision", "ffn_down", width, vision.intermediate_size, i)
            yield from norms("vision", width, i, bias=True, count=2)
        features, outer = width * len(config.vision_feature_layer), config.text_config.hidden_size
        yield from norms("projector", features, bias=True)
        yield from linear("projector", "mm.0", outer, features)
        yield from linear("projector", "mm.2", outer, outer)

    def image_tokens(self, config: Any, image_size: int) -> int:
        """Return one token for each patch."""
        return int(config.vision_config.image_size // config.vision_config.patch_size) ** 2

    def image_flops(self, config: Any, image_size: int) -> ImageFlops:
        """Count the tower over its patches and class token, and the projector over the patches."""
        vision, outer = config.vision_config, config.text_config.hidden_size
        width, patches = vision.hidden_size, self.image_tokens(config, image_size)
        embedding = patches * vision.num_channels * vision.patch_size**2 * width
        layer = (patches + 1) * (4 * width**2 + 2 * width * vision.intermediate_size)
        scores = 2 * (patches + 1) ** 2 * width
        features = width * len(config.vision_feature_layer)
        return ImageFlops(
            vision=2 * (embedding + vision.num_hidden_layers * layer),
            vision_scores=2 * vision.num_hidden_layers * scores,
            projector=2 * patches * (features * outer + outer**2),
            unused=2 * (layer + scores),
        )

    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Return one image's pixels without content."""
        import torch

        pixels = torch.empty(1, 3, image_size, image_size, device="meta")
        return {"pixel_values": pixels, "vision_feature_layer": config.vision_feature_layer}


FAMILY = VipLlava()
