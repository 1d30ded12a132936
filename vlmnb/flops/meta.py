"""FLOPs counted on meta tensors: the model's own code runs on shapes alone, with no weights and no memory.

The model is built from its geometry on torch's meta device and torch's counter watches its forward passes.
The image and the language model run one after the other instead of through the model's own ``forward``,
which looks at token values to place the image; placing is no product, so the count is the same.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vlmnb import models
from vlmnb.flops import counters, parts
from vlmnb.flops.formula import Parts
from vlmnb.models import geometry, quiet_libraries


def build(name: str, config: Any = None) -> nn.Module:
    """A model of the registry on the meta device, eager attention, evaluation mode.

    Args:
        name: In the registry.
        config: Geometry of the checkpoint that is loaded, which is left as it is; None takes the model's own.
    """
    quiet_libraries.hush()  # transformers imports libraries that speak of what concerns nobody here
    import transformers

    model_class = getattr(transformers, models.family_of(models.get(name)).MODEL_CLASS)
    # The class writes precision and attention into what it is given.
    own = geometry.config(name) if config is None else copy.deepcopy(config)
    with torch.device("meta"):
        model: nn.Module = model_class._from_config(
            own, attn_implementation="eager", dtype=torch.get_default_dtype()
        )
    return model.eval()


def prefill(model: Any, image_size: int, prompt_tokens: int, batch_size: int) -> Parts:
    """Count a batch's forward pass over its prompts, one image each, with logits for every position.

    The batch's images are one image's count times their number: the tower treats each by itself.

    Args:
        model: From ``build``.
        image_size: Side of the image in pixels.
        prompt_tokens: Length of a prompt, image tokens included.
        batch_size: Prompts in the batch.
    """
    with counters.quiet(model):
        image = _count(_Image(model, image_size))
        prompt = _count(_Language(model, batch_size, prompt_tokens))
    return image.times(batch_size).plus(prompt)


def decode(model: Any, prompt_tokens: int, batch_size: int) -> Parts:
    """Count one decoding step of a batch, the first after the prompt: one token for each, with a cache."""
    with counters.quiet(model), torch.no_grad():
        step = _Language(model, batch_size, 1)
        step.cache = _cache(model.config.text_config, batch_size, prompt_tokens)
        step.seen = prompt_tokens
        return _count(step)


class _Image(nn.Module):
    """One image's way to the language model, as a module, so that the counter names what is within."""

    def __init__(self, model: Any, image_size: int) -> None:
        super().__init__()
        self.model = model
        self.inputs = _IMAGES[model.config.model_type](model.config, image_size)

    def forward(self) -> None:
        self.model.model.get_image_features(**self.inputs)


class _Language(nn.Module):
    """The language model and its head over embeddings that are at their places already."""

    def __init__(self, model: Any, batch_size: int, tokens: int) -> None:
        super().__init__()
        self.model = model
        self.shape = (batch_size, tokens)
        self.cache: Any = None
        self.seen = 0

    def forward(self) -> None:
        width = self.model.config.text_config.hidden_size
        positions = torch.arange(self.seen, self.seen + self.shape[1], device="meta").expand(*self.shape)
        out = self.model.model.language_model(
            inputs_embeds=_meta(*self.shape, width),
            # A mask that is complete is taken as it is; making one would look at values.
            attention_mask=_meta(self.shape[0], 1, self.shape[1], self.seen + self.shape[1]),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=self.cache is not None,
        )
        self.model.lm_head(out.last_hidden_state)


def _cache(text: Any, batch_size: int, tokens: int) -> Any:
    """Keys and values of a prompt that has been read."""
    from transformers import DynamicCache

    heads, width = geometry.key_values(text)
    cache = DynamicCache()
    for layer in range(text.num_hidden_layers):
        keys, values = (_meta(batch_size, heads, tokens, width) for _ in range(2))
        cache.update(keys, values, layer)
    return cache


def _count(work: nn.Module) -> Parts:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return parts.split(parts.totals_of(counter))


def _meta(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")


def _llava_image(config: Any, image_size: int) -> dict[str, Any]:
    return {
        "pixel_values": _meta(1, config.vision_config.num_channels, image_size, image_size),
        "vision_feature_layer": config.vision_feature_layer,
        "vision_feature_select_strategy": config.vision_feature_select_strategy,
    }


def _qwen_image(config: Any, image_size: int) -> dict[str, Any]:
    """The grid is a real tensor, as windows are cut by its values; positions are meta, as the image is."""
    vision = config.vision_config
    side = image_size // vision.patch_size
    channels = getattr(vision, "in_channels", None) or vision.in_chans
    return {
        "pixel_values": _meta(side**2, channels * vision.temporal_patch_size * vision.patch_size**2),
        "image_grid_thw": torch.tensor([[1, side, side]]),
        "position_ids": torch.empty(side**2, 2, dtype=torch.long, device="meta"),
    }


def _fuyu_image(config: Any, image_size: int) -> dict[str, Any]:
    patches = (-(-image_size // config.patch_size)) ** 2
    return {"pixel_values": _meta(1, patches, config.patch_size**2 * config.num_channels)}


_IMAGES = {"llava": _llava_image, "qwen2_5_vl": _qwen_image, "fuyu": _fuyu_image}
