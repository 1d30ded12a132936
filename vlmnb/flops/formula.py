"""FLOPs by formula: arithmetic over the numbers of a geometry, nothing else.

A FLOP is one floating-point operation, a multiply-add is two. Counted are matrix products and convolutions,
as torch's counter counts them; norms, activations, softmax and rotary angles are left out. Attention is full:
every query against every key, which is what eager attention computes also where a causal mask discards half.
Padding does not occur: all prompts of the batch are equally long. Sources: Kaplan et al. 2020, section 2.1
(https://arxiv.org/abs/2001.08361) for the products of a transformer layer; the models' code in transformers
for what is peculiar to each family.

A configuration (``config``) is anything with the attributes of the family's ``PreTrainedConfig``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vlmnb.errors import UserError
from vlmnb.models import geometry
from vlmnb.types import Frozen

FLOPS_PER_MAC = 2


class Parts(Frozen):
    """FLOPs of one pass, split by where they are spent.

    Attributes:
        vision: Vision tower without attention scores: patch embedding, projections, MLP.
        vision_scores: Attention scores of the tower: queries times keys, and weights times values.
        projector: What brings image features to the width of the language model: LLaVA's two layers, Qwen's
            patch merger, Fuyu's patch embedding.
        projections: The language model's query, key, value and output projections.
        mlp: Its MLPs.
        scores: Its attention scores.
        head: Its logits, for every position of the pass.
    """

    vision: int = 0
    vision_scores: int = 0
    projector: int = 0
    projections: int = 0
    mlp: int = 0
    scores: int = 0
    head: int = 0

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return sum(self.model_dump().values())

    def times(self, factor: int) -> Parts:
        """The parts of so many equal passes."""
        return Parts(**{name: factor * value for name, value in self.model_dump().items()})

    def plus(self, other: Parts) -> Parts:
        """The parts of two passes together."""
        theirs = other.model_dump()
        return Parts(**{name: value + theirs[name] for name, value in self.model_dump().items()})


def prefill(config: Any, image_size: int, prompt_tokens: int, batch_size: int) -> Parts:
    """A batch's forward pass over its prompts, one image each, with logits for every position.

    Args:
        config: Geometry of the model.
        image_size: Side of the image in pixels.
        prompt_tokens: Length of a prompt, image tokens included.
        batch_size: Prompts in the batch.
    """
    language = _language(config.text_config, queries=prompt_tokens, keys=prompt_tokens)
    return image(config, image_size).plus(language).times(batch_size)


def decode(config: Any, prompt_tokens: int, batch_size: int) -> Parts:
    """One decoding step of a batch, the first after the prompt: one token for each prompt, with a cache."""
    return _language(config.text_config, queries=1, keys=prompt_tokens + 1).times(batch_size)


def image(config: Any, image_size: int) -> Parts:
    """What one image costs before the language model sees it."""
    return _IMAGES[config.model_type][0](config, image_size)


def check_image_size(config: Any, image_size: int) -> None:
    """Refuse a side that the model cannot take as it is.

    Raises:
        UserError: The message names a side that it can.
    """
    _IMAGES[config.model_type][1](config, image_size)


def unused(config: Any, image_size: int, batch_size: int) -> int:
    """FLOPs of the pass over a batch of images that are executed and never used.

    LLaVA takes the features of the last but one layer of its tower (``vision_feature_layer`` is -2); the last
    layer runs all the same.
    """
    if config.model_type != "llava":
        return 0
    vision, taken = config.vision_config, config.vision_feature_layer
    layers = vision.num_hidden_layers
    deepest = max(layer % (layers + 1) for layer in (taken if isinstance(taken, list) else [taken]))
    one = _clip_layer(vision, image_size)
    return int(batch_size * (layers - deepest) * (one.vision + one.vision_scores))


def _language(text: Any, queries: int, keys: int) -> Parts:
    """A decoder over ``queries`` tokens that attend to ``keys`` positions, with grouped key-value heads."""
    width, heads = text.hidden_size, text.num_attention_heads
    key_value_heads, head_width = geometry.key_values(text)
    gates = 0 if text.model_type == "persimmon" else 1
    projections = width * head_width * (2 * heads + 2 * key_value_heads)
    mlp = (2 + gates) * width * text.intermediate_size
    layers = FLOPS_PER_MAC * queries * text.num_hidden_layers
    return Parts(
        projections=layers * projections,
        mlp=layers * mlp,
        scores=layers * 2 * keys * heads * head_width,
        head=FLOPS_PER_MAC * queries * width * text.vocab_size,
    )


def _clip_layer(vision: Any, image_size: int) -> Parts:
    """One layer of a CLIP tower: its tokens are the patches and the class token."""
    width, tokens = vision.hidden_size, (image_size // vision.patch_size) ** 2 + 1
    linear = tokens * (4 * width**2 + 2 * width * vision.intermediate_size)
    return Parts(vision=FLOPS_PER_MAC * linear, vision_scores=FLOPS_PER_MAC * 2 * tokens**2 * width)


def _llava(config: Any, image_size: int) -> Parts:
    vision, text = config.vision_config, config.text_config
    patches = (image_size // vision.patch_size) ** 2
    embedding = patches * vision.num_channels * vision.patch_size**2 * vision.hidden_size
    taken = config.vision_feature_layer
    depth = len(taken) if isinstance(taken, list) else 1
    projector = patches * (depth * vision.hidden_size * text.hidden_size + text.hidden_size**2)
    tower = _clip_layer(vision, image_size).times(vision.num_hidden_layers)
    return tower.plus(Parts(vision=FLOPS_PER_MAC * embedding, projector=FLOPS_PER_MAC * projector))


def _qwen(config: Any, image_size: int) -> Parts:
    vision = config.vision_config
    width, merge = vision.hidden_size, vision.spatial_merge_size
    side = image_size // vision.patch_size
    patches = side**2
    channels = getattr(vision, "in_channels", None) or vision.in_chans
    # A picture is doubled to fill the temporal patch.
    embedding = patches * channels * vision.temporal_patch_size * vision.patch_size**2 * width
    layer = patches * (4 * width**2 + 3 * width * vision.intermediate_size)
    # Windows of whole merged patches; those at the right and lower edges may be smaller.
    window = vision.window_size // vision.patch_size
    edges = [window] * (side // window) + ([side % window] if side % window else [])
    in_windows = sum(edge**2 for edge in edges) ** 2
    full = len(set(vision.fullatt_block_indexes) & set(range(vision.depth)))
    pairs = full * patches**2 + (vision.depth - full) * in_windows
    merged = merge**2 * width
    merger = patches // merge**2 * (merged**2 + merged * vision.out_hidden_size)
    return Parts(
        vision=FLOPS_PER_MAC * (embedding + vision.depth * layer),
        vision_scores=FLOPS_PER_MAC * 2 * pairs * width,
        projector=FLOPS_PER_MAC * merger,
    )


def _fuyu(config: Any, image_size: int) -> Parts:
    """One linear layer for each patch, edges padded; line ends are tokens of the language model alone."""
    patches = (-(-image_size // config.patch_size)) ** 2
    macs = patches * config.patch_size**2 * config.num_channels * config.text_config.hidden_size
    return Parts(projector=FLOPS_PER_MAC * macs)


def _one_size(config: Any, image_size: int) -> None:
    only = config.vision_config.image_size
    if image_size != only:
        raise UserError(f"its vision tower sees {only} pixels a side whatever the image; use {only}")


def _whole_merged_patches(config: Any, image_size: int) -> None:
    unit = config.vision_config.patch_size * config.vision_config.spatial_merge_size
    if image_size % unit:
        nearest = max(1, round(image_size / unit)) * unit
        raise UserError(f"it takes whole patches, multiples of {unit} pixels; the nearest is {nearest}")


def _any_size(config: Any, image_size: int) -> None:
    pass


_IMAGES: dict[str, tuple[Callable[[Any, int], Parts], Callable[[Any, int], None]]] = {
    "llava": (_llava, _one_size),
    "qwen2_5_vl": (_qwen, _whole_merged_patches),
    "fuyu": (_fuyu, _any_size),
}
