"""FLOPs by formula: arithmetic over the numbers of a configuration, nothing else.

A FLOP is one floating-point operation, a multiply-add is two. Counted are matrix products and convolutions,
as torch's counter counts them; norms, activations, softmax and rotary angles are left out. Attention is full:
every query against every key, which is what eager attention computes even if a causal mask discards half, or
a window more; after the prompt, the cache has no more than the window. A token passes a few of many experts.
There is no padding: all prompts of the batch are equally long. Source for the products of a transformer
layer: Kaplan et al. 2020, section 2.1 (https://arxiv.org/abs/2001.08361). Each family counts its own images.
"""

from __future__ import annotations

from typing import Any

from vlmnb.flops.flop_count import Parts
from vlmnb.models.architecture import Decoder, ImageFlops
from vlmnb.models.family import Family


def prefill(family: Family, config: Any, image_size: int, prompt_tokens: int) -> Parts:
    """Count the forward pass over one prompt with one image, with logits for every position.

    The image has the side in pixels that the model sees; its tokens are among those of the prompt.
    """
    return prompt(family, config, family.image_flops(config, image_size), prompt_tokens)


def prompt(family: Family, config: Any, image: ImageFlops, prompt_tokens: int) -> Parts:
    """Count the forward pass over one prompt, given the FLOPs of its image."""
    language = _language(family.decoder_shape(config), prompt_tokens, 0, image.routed, image.crossed)
    return Parts(**image.model_dump(exclude={"unused", "routed", "crossed"})).plus(language)


def decode(family: Family, config: Any, prompt_tokens: int) -> Parts:
    """Count the decoding step of one prompt with an image that comes first after it, with a cache."""
    return _language(family.decoder_shape(config), 1, prompt_tokens, 0, 1)


def _language(decoder: Decoder, queries: int, before: int, of_images: int, images: int) -> Parts:
    """Count a decoder over ``queries`` tokens, some of them of images, that come after so many others.

    Layers that attend to images themselves are skipped without one, and make keys and values of it once;
    layers with a compressed cache make those of all tokens before in each step.
    """
    layers = [layer for layer in decoder.each_layer if images or not layer.crosses]
    of_keys = sum(layer.restored * layer.positions(before) for layer in layers)
    of_keys += 0 if before else images * sum(layer.crosses * layer.of_image for layer in layers)
    return Parts(
        projections=2 * (queries * sum(layer.projections for layer in layers) + of_keys),
        mlp=2 * sum(layer.work(queries, of_images) for layer in layers),
        scores=2 * sum(layer.pairs(queries, before, images) * layer.scores for layer in layers),
        head=2 * queries * decoder.width * decoder.vocabulary,
    )
