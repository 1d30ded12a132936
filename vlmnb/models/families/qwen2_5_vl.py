"""Qwen2.5-VL: a vision transformer with windowed attention, a patch merger and a Qwen2.5 decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from vlmnb.models.architecture import Decoder, ImageFlops, Tensor, Vision, linear, norms
from vlmnb.models.entry import BUNDLED_DEFAULTS, REPORTED_DEFAULTS, ModelEntry
from vlmnb.models.family import PLACES, Family
from vlmnb.models.gguf_files import GgufParts, image_values


class Qwen25VL(Family):
    """Qwen2.5-VL."""

    name = "qwen2_5_vl"
    rank = 1
    entries = (
        ModelEntry(
            name="qwen2.5-vl-3b",
            family="qwen2_5_vl",
            title="Qwen2.5-VL 3B",
            summary=(
                "A vision transformer with windowed attention, a patch merger and the Qwen2.5 3B decoder."
            ),
            source="Qwen/Qwen2.5-VL-3B-Instruct",
            revision="66285546d2b821cf421d4f5eb2576359d3770cd3",
            **REPORTED_DEFAULTS,
        ),
        ModelEntry(
            name="qwen2.5-vl-tiny",
            family="qwen2_5_vl",
            title="Qwen2.5-VL tiny",
            summary=(
                "Qwen2.5-VL's architecture at two million parameters: windowed vision transformer, "
                "patch merger, Qwen2.5 decoder."
            ),
            **BUNDLED_DEFAULTS,
        ),
    )
    class_name = "Qwen2_5_VLForConditionalGeneration"
    processor_class = ("vlmnb.models.processors.qwen2_5_vl", "ImageOnlyQwen2_5_VLProcessor")
    processor_note = (
        "transformers' own processor of this family also prepares videos, for which it needs torchvision. "
        "The class above is the project's and does images only."
    )
    serves_named = True
    stand_in = "qwen2.5-vl-tiny"
    places = (
        (r"visual\.merger", "projector"),
        (r"visual\..*\.attn$", "vision_scores"),
        (r"visual", "vision"),
        *PLACES,
    )
    vision_names = ("model.visual",)  # which holds the merger
    projector_name = "model.visual.merger"
    layers_name = "model.visual.blocks"
    patches_name = "model.visual.patch_embed"
    attention_obstacle = "transformers' vision tower of Qwen2.5-VL returns no attention weights"

    def special_ids(self, config: Any) -> dict[str, int]:
        """Return the ids of the chat marks and of the vision marks."""
        return {
            "<|endoftext|>": config.text_config.bos_token_id,
            "<|im_start|>": config.text_config.bos_token_id + 1,
            "<|im_end|>": config.text_config.eos_token_id,
            "<|vision_start|>": config.vision_start_token_id,
            "<|vision_end|>": config.vision_end_token_id,
            "<|image_pad|>": config.image_token_id,
            "<|video_pad|>": config.video_token_id,
        }

    def match(self, processor: Any, config: Any) -> None:
        """Cut and merge patches as the tower does."""
        images, vision = processor.image_processor, config.vision_config
        images.patch_size, images.merge_size = int(vision.patch_size), int(vision.spatial_merge_size)
        images.temporal_patch_size = int(vision.temporal_patch_size)

    def gguf(self, config: Any, images: Any) -> GgufParts:
        """Write a Qwen2 and its tower, with query, key and value apart and the patches of two frames apart.

        llama.cpp's windows have 112 pixels, whatever the configuration says
        (findings/llama-cpp-qwen-windows-*).
        """
        import numpy as np

        vision, text = config.vision_config, config.text_config
        whole, step = vision.fullatt_block_indexes, vision.fullatt_block_indexes[0] + 1
        if list(whole) != list(range(step - 1, vision.depth, step)):
            raise ValueError(f"llama.cpp cannot run full attention in the layers {whole} of the tower")

        def tensors(name: str, values: Any) -> Iterator[tuple[str, Any]]:
            name = name.removeprefix("model.")
            if "patch_embed.proj" in name:
                for frame, end in enumerate(("", ".1")):
                    yield f"v.patch_embd.weight{end}", np.ascontiguousarray(values[:, :, frame])
            elif ".qkv." in name:
                for part, piece in zip("qkv", np.split(values, 3), strict=True):
                    yield name.replace("qkv", part), piece
            else:
                yield name.replace("language_model.", "model."), values

        sections = [*text.rope_parameters["mrope_section"], 0]
        return GgufParts("qwen2vl", {"qwen2vl.rope.dimension_sections": sections}, {
            "clip.projector_type": "qwen2.5vl_merger",
            "clip.use_silu": True,
            "clip.vision.image_size": 560,
            "clip.vision.image_min_pixels": 1,
            "clip.vision.image_max_pixels": 16_777_216,
            "clip.vision.n_wa_pattern": step,
            "clip.vision.patch_size": int(vision.patch_size),
            "clip.vision.spatial_merge_size": int(vision.spatial_merge_size),
            "clip.vision.embedding_length": int(vision.hidden_size),
            "clip.vision.feed_forward_length": int(vision.intermediate_size),
            "clip.vision.projection_dim": int(text.hidden_size),
            "clip.vision.attention.head_count": int(vision.num_heads),
            "clip.vision.attention.layer_norm_epsilon": 1e-6,  # of Qwen2_5_VLVisionBlock
            "clip.vision.block_count": int(vision.depth),
            **image_values(images),
        }, tensors)  # fmt: skip

    def adapt(self, processor: Any, config: Any) -> None:
        """Set the checkpoint's template with its system prompt."""
        from vlmnb.models.processors.qwen2_5_vl import CHAT_TEMPLATE, SYSTEM

        processor.chat_template = SYSTEM + CHAT_TEMPLATE

    def image_side(self, processor: Any, image_size: int) -> int:
        """Return the nearest multiple of a merged patch (28 pixels, bundled model 16)."""
        return int(processor.resized_to(image_size, None)[0])

    def image_positions(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """Return the positions in time, height and width."""
        names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        return model.model.get_rope_index(**{name: inputs[name] for name in names})[0]

    def decoder_shape(self, config: Any) -> Decoder:
        """Return the numbers of Qwen2.5: a Llama with biases on query, key and value."""
        return super().decoder_shape(config).model_copy(update={"qkv_bias": True})

    def vision_shape(self, config: Any) -> Vision:
        """Return the numbers of the tower."""
        vision = config.vision_config
        return Vision(
            layers=vision.depth,
            width=vision.hidden_size,
            heads=vision.num_heads,
            mlp=vision.intermediate_size,
            merge=vision.spatial_merge_size,
            gated=True,
            used_layers=vision.depth,
        )

    def image_tensors(self, config: Any) -> Iterator[Tensor]:
        """Yield the weights of the tower and of the merger."""
        vision, width = config.vision_config, config.vision_config.hidden_size
        patch = (width, _channels(vision), vision.temporal_patch_size, vision.patch_size, vision.patch_size)
        yield Tensor(component="vision", role="patch_embd", shape=patch, kind="conv")
        for i in range(vision.depth):
            yield from linear("vision", "attn_qkv", 3 * width, width, i)
            yield from linear("vision", "attn_output", width, width, i)
            yield from linear("vision", "ffn_gate", vision.intermediate_size, width, i)
            yield from linear("vision", "ffn_up", vision.intermediate_size, width, i)
            yield from linear("vision", "ffn_down", width, vision.intermediate_size, i)
            yield from norms("vision", width, i, bias=False, count=2)
        merged = width * vision.spatial_merge_size**2
        yield from norms("projector", width, bias=False)
        yield from linear("projector", "mm.0", merged, merged)
        yield from linear("projector", "mm.2", config.text_config.hidden_size, merged)

    def image_tokens(self, config: Any, image_size: int, height: int | None = None) -> int:
        """Return one token for each merged patch of the image at the nearest whole size."""
        sides = (
            self.seen_side(config, side) // _merged_patch(config)
            for side in (image_size, height or image_size)
        )
        return int(math.prod(sides))

    def seen_side(self, config: Any, image_size: int) -> int:
        """Return the nearest whole number of merged patches."""
        return int(max(1, round(image_size / _merged_patch(config))) * _merged_patch(config))

    def image_flops(self, config: Any, image_size: int) -> ImageFlops:
        """Count the tower over its patches, and the merger over the merged patches.

        An image is doubled to fill the temporal patch. All layers but ``fullatt_block_indexes`` attend
        within windows of whole merged patches; those at the right and lower edges may be smaller.
        """
        side = self.seen_side(config, image_size) // config.vision_config.patch_size
        return _grid_flops(config.vision_config, side, side)

    def image_flops_of(self, model: Any, inputs: Mapping[str, Any], image_size: int) -> ImageFlops:
        """Count every image in the tensors by its grid of patches."""
        total = ImageFlops()
        for _, rows, columns in inputs["image_grid_thw"].tolist():
            total = total.plus(_grid_flops(model.config.vision_config, rows, columns))
        return total

    def meta_image(self, config: Any, image_size: int) -> dict[str, Any]:
        """Return one image's patches and positions without content.

        The grid has its values, because the model cuts windows by them.
        """
        import torch

        vision = config.vision_config
        side = image_size // vision.patch_size
        values = _channels(vision) * vision.temporal_patch_size * vision.patch_size**2
        return {
            "pixel_values": torch.empty(side**2, values, device="meta"),
            "image_grid_thw": torch.tensor([[1, side, side]]),
            "position_ids": torch.empty(side**2, 2, dtype=torch.long, device="meta"),
        }


def _grid_flops(vision: Any, rows: int, columns: int) -> ImageFlops:
    """Count the tower and the merger over an image of so many rows and columns of patches."""
    width, merge = vision.hidden_size, vision.spatial_merge_size
    patches = rows * columns
    embedding = patches * _channels(vision) * vision.temporal_patch_size * vision.patch_size**2 * width
    layer = patches * (4 * width**2 + 3 * width * vision.intermediate_size)
    window = vision.window_size // vision.patch_size
    in_windows = math.prod(
        side // window * window**2 + (side % window) ** 2 for side in (rows, columns)
    )  # positions that each position sees, summed over an image
    full = len(set(vision.fullatt_block_indexes) & set(range(vision.depth)))
    pairs = full * patches**2 + (vision.depth - full) * in_windows
    merged = merge**2 * width
    return ImageFlops(
        vision=2 * (embedding + vision.depth * layer),
        vision_scores=2 * 2 * pairs * width,
        projector=2 * patches // merge**2 * (merged**2 + merged * vision.out_hidden_size),
    )


def _merged_patch(config: Any) -> int:
    return int(config.vision_config.patch_size * config.vision_config.spatial_merge_size)


def _channels(vision: Any) -> int:
    return int(getattr(vision, "in_channels", None) or getattr(vision, "in_chans", None) or 3)


FAMILY = Qwen25VL()
