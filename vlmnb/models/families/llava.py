"""LLaVA: a CLIP vision tower, a projector and a Llama decoder; one fixed image size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmnb.models import prompting
from vlmnb.models.architecture import ImageFlops, Tensor, Vision, linear, norms
from vlmnb.models.entry import BUNDLED_DEFAULTS, REPORTED_DEFAULTS, ModelEntry
from vlmnb.models.family import Family, Sizing, chat_template
from vlmnb.models.gguf_files import GgufParts, image_values, interleaved

CHAT_TEMPLATE = chat_template("llava")
"""``USER: <image>\\nquestion ASSISTANT:``, for checkpoint folders without a template."""


@dataclass(frozen=True)
class AnySize(Sizing):
    """Image sizing of a model with interpolated position embeddings; patches have a side in pixels."""

    patch_size: int

    def sized(self, image_size: int) -> dict[str, Any]:
        """Return the processor's arguments for a size."""
        return {key: {"height": image_size, "width": image_size} for key in ("size", "crop_size")}

    def own_size(self) -> None:
        """Return nothing: a tower takes squares."""

    def image_side(self, processor: Any, image_size: int) -> int:
        """Return the nearest whole number of patches."""
        return max(1, round(image_size / self.patch_size)) * self.patch_size


class Llava(Family):
    """LLaVA 1.5."""

    name = "llava"
    rank = 0
    entries = (
        ModelEntry(
            name="llava-1.5-7b",
            family="llava",
            title="LLaVA-1.5 7B",
            summary="A CLIP ViT-L/14 vision tower of 336 pixels, a two-layer projector and Vicuna 7B.",
            source="llava-hf/llava-1.5-7b-hf",
            revision="b234b804b114d9e37bb655e11cbbb5f5e971b7a9",
            native_image_size=336,
            **REPORTED_DEFAULTS,
        ),
        ModelEntry(
            name="llava-tiny",
            family="llava",
            title="LLaVA tiny",
            summary="LLaVA's architecture at two million parameters: CLIP tower, projector, Llama decoder.",
            native_image_size=64,
            **BUNDLED_DEFAULTS,
        ),
    )
    class_name = "LlavaForConditionalGeneration"
    processor_class = ("transformers", "LlavaProcessor")
    processor_note = "`AutoProcessor` finds the same processor."
    stand_in = "llava-tiny"
    defaults = {  # of LlamaConfig and CLIPVisionConfig
        "text_config": {
            "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 2048,
        },
        "vision_config": {"num_channels": 3},
    }  # fmt: skip
    vision_names = ("model.vision_tower", "model.multi_modal_projector")
    projector_name = "model.multi_modal_projector"
    layers_name = "model.vision_tower.encoder.layers"
    patches_name = "model.vision_tower.embeddings.patch_embedding"

    def load_processor(self, folder: str | Path) -> Any:
        """Load the checkpoint's own processor, padding on the left."""
        processor = super().load_processor(folder)
        if processor.tokenizer.pad_token_id is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        processor.tokenizer.padding_side = "left"
        prompting.choose_template(processor, CHAT_TEMPLATE)
        return processor

    def match(self, processor: Any, config: Any) -> None:
        """Count image tokens as the model does: CLIP has a class token, which is dropped by default."""
        processor.patch_size = int(config.vision_config.patch_size)
        processor.vision_feature_select_strategy = _strategy(config)
        processor.num_additional_image_tokens = int(config.vision_config.model_type.startswith("clip"))

    def gguf(self, config: Any, images: Any) -> GgufParts:
        """Write a Llama and a CLIP tower so that llama.cpp computes almost the same.

        llama.cpp leaves out the last layer of the file, so a layer of zeros follows those that are used, and
        it puts the class embedding behind the patches, so its position moves there. It then drops the first
        patch instead of the class embedding, which no file can change (findings/llama-cpp-llava-drops-*).
        """
        import numpy as np

        vision, text, used = config.vision_config, config.text_config, _feature_layers(config)
        if len(used) > 1 or _strategy(config) != "default":
            raise ValueError("llama.cpp takes the features of one layer, without the class token")
        heads = {"q": text.num_attention_heads, "k": text.num_key_value_heads or text.num_attention_heads}

        def tensors(name: str, values: Any) -> Iterator[tuple[str, Any]]:
            name = name.removeprefix("model.")
            layer = int(name.split("encoder.layers.")[1].split(".")[0]) if "encoder.layers." in name else -1
            if name.startswith("language_model.") or name == "lm_head.weight":
                part = name.split("self_attn.")[-1][0]
                if "self_attn." in name and part in heads:
                    values = interleaved(values, heads[part])
                yield name.replace("language_model.", "model."), values
            elif name.startswith("multi_modal_projector.linear_"):
                number, kind = name.removeprefix("multi_modal_projector.linear_").split(".")
                yield f"mm.{2 * int(number) - 2}.{kind}", values
            elif name.endswith("class_embedding"):
                yield "v.class_embd", values
            elif name.endswith("position_embedding.weight"):
                yield "v.position_embd.weight", np.concatenate([values[1:], values[:1]])
            elif "post_layernorm" not in name and layer < used[0]:
                plain = name.replace("vision_tower.", "vision_tower.vision_model.")
                yield plain, values
                if layer == used[0] - 1:
                    yield plain.replace(f".layers.{layer}.", f".layers.{layer + 1}."), np.zeros_like(values)

        return GgufParts("llama", {}, {
            "clip.projector_type": "mlp",
            "clip.use_gelu": vision.hidden_act == "gelu",
            "clip.vision.image_size": int(vision.image_size),
            "clip.vision.patch_size": int(vision.patch_size),
            "clip.vision.embedding_length": int(vision.hidden_size),
            "clip.vision.feed_forward_length": int(vision.intermediate_size),
            "clip.vision.projection_dim": int(text.hidden_size),
            "clip.vision.attention.head_count": int(vision.num_attention_heads),
            "clip.vision.attention.layer_norm_epsilon": float(vision.layer_norm_eps),
            "clip.vision.block_count": used[0] + 1,
            **image_values(images),
        }, tensors)  # fmt: skip

    def special_ids(self, config: Any) -> dict[str, int]:
        """Return the ids of the image token and of padding."""
        return {"<image>": config.image_token_index, "<pad>": config.pad_token_id}

    def adapt(self, processor: Any, config: Any) -> None:
        """Set CLIP's preprocessing to the size of the tower."""
        side = int(config.vision_config.image_size)
        processor.image_processor.size = {"height": side, "width": side}
        processor.image_processor.crop_size = {"height": side, "width": side}

    def sized(self, image_size: int) -> dict[str, Any]:
        """Return nothing: the processor brings every image to the one size of the tower."""
        return {}

    def own_size(self) -> None:
        """Return nothing: the tower takes squares."""

    def interpolated(self, model: Any, processor: Any) -> Sizing:
        """Let the tower take images of any whole number of patches, by interpolated position embeddings."""
        model.model.vision_tower.register_forward_pre_hook(
            lambda module, args, kwargs: (args, {**kwargs, "interpolate_pos_encoding": True}),
            with_kwargs=True,
        )
        return AnySize(int(processor.patch_size))

    def vision_shape(self, config: Any) -> Vision:
        """Return the numbers of the CLIP tower."""
        vision, used = config.vision_config, max(_feature_layers(config))
        return Vision(
            layers=vision.num_hidden_layers, width=vision.hidden_size, heads=vision.num_attention_heads,
            mlp=vision.intermediate_size, class_token=True, used_layers=used,
        )  # fmt: skip

    def image_tensors(self, config: Any) -> Iterator[Tensor]:
        """Yield the weights of the CLIP tower and of the projector."""
        vision, width = config.vision_config, config.vision_config.hidden_size
        patch = (width, vision.num_channels, vision.patch_size, vision.patch_size)
        positions = (vision.image_size // vision.patch_size) ** 2 + 1
        yield Tensor(component="vision", role="patch_embd", shape=patch, kind="conv")
        yield Tensor(component="vision", role="class_embd", shape=(width,), kind="vector")
        yield Tensor(component="vision", role="position_embd", shape=(positions, width), kind="table")
        yield from norms("vision", width, bias=True, count=2)  # before and after the layers
        for i in range(vision.num_hidden_layers):
            for role in ("attn_q", "attn_k", "attn_v", "attn_output"):
                yield from linear("vision", role, width, width, i)
            yield from linear("vision", "ffn_up", vision.intermediate_size, width, i)
            yield from linear("vision", "ffn_down", width, vision.intermediate_size, i)
            yield from norms("vision", width, i, bias=True, count=2)
        outer = config.text_config.hidden_size
        yield from linear("projector", "mm.0", outer, width * len(_feature_layers(config)))
        yield from linear("projector", "mm.2", outer, outer)

    def image_tokens(self, config: Any, image_size: int, height: int | None = None) -> int:
        """Return one token for each patch of the tower's own size, whatever the size of the image.

        The class token is one more, unless the features are taken without it, as usual.
        """
        patches = int(config.vision_config.image_size // config.vision_config.patch_size) ** 2
        return patches + (_strategy(config) == "full")

    def seen_side(self, config: Any, image_size: int) -> int:
        """Return the one size of the tower."""
        return int(config.vision_config.image_size)

    def image_flops(self, config: Any, image_size: int) -> ImageFlops:
        """Count the tower over its patches and class token, and the projector over the patches.

        The layers after the one that is taken (``vision_feature_layer`` is -2) run and are not used.
        """
        vision, outer = config.vision_config, config.text_config.hidden_size
        width, layers, taken = vision.hidden_size, vision.num_hidden_layers, _feature_layers(config)
        patches = (image_size // vision.patch_size) ** 2
        tokens, taken_tokens = patches + 1, patches + (_strategy(config) == "full")
        embedding = patches * vision.num_channels * vision.patch_size**2 * width
        layer = tokens * (4 * width**2 + 2 * width * vision.intermediate_size)
        scores = 2 * tokens**2 * width
        return ImageFlops(
            vision=2 * (embedding + layers * layer),
            vision_scores=2 * layers * scores,
            projector=2 * taken_tokens * (len(taken) * width * outer + outer**2),
            unused=2 * (layers - max(taken)) * (layer + scores),
        )

    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Return one image's pixels without content."""
        import torch

        channels = config.vision_config.num_channels
        return {
            "pixel_values": torch.empty(1, channels, image_size, image_size, device="meta"),
            "vision_feature_layer": config.vision_feature_layer,
            "vision_feature_select_strategy": config.vision_feature_select_strategy,
        }


def _strategy(config: Any) -> str:
    return str(getattr(config, "vision_feature_select_strategy", "default"))


def _feature_layers(config: Any) -> list[int]:
    """Return the numbers of the layers whose output the projector gets, counted from 1."""
    taken, layers = config.vision_feature_layer, config.vision_config.num_hidden_layers
    return [layer % (layers + 1) for layer in (taken if isinstance(taken, list) else [taken])]


FAMILY = Llava()
