"""FLOPs by formula: arithmetic over the numbers of a configuration, nothing else.

A FLOP is one floating-point operation, a multiply-add is two. Counted are matrix products and convolutions,
as torch's counter counts them; norms, activations, softmax and rotary angles are left out. Attention is full:
every query against every key, which is what eager attention computes even if a causal mask discards half.
There is no padding: all prompts of the batch are equally long. Source for the products of a transformer
layer: Kaplan et al. 2020, section 2.1 (https://arxiv.org/abs/2001.08361). Each family counts its own images.
"""

from __future__ import annotations

from typing import Any

from vlmnb.flops.flop_count import Parts
from vlmnb.models.architecture import Decoder
from vlmnb.models.family import Family

FLOPS_PER_MAC = 2


def prefill(family: Family, config: Any, image_size: int, prompt_tokens: int) -> Parts:
    """Count the forward pass over one prompt with one image, with logits for every position.

    The image has the side in pixels that the model sees; its tokens are among those of the prompt.
    """
    language = _language(family.decoder_shape(config), queries=prompt_tokens, keys=prompt_tokens)
    return image(family, config, image_size).plus(language)


def decode(family: Family, config: Any, prompt_tokens: int) -> Parts:
    """Count the decoding step of one prompt that comes first after it, with a cache."""
    return _language(family.decoder_shape(config), queries=1, keys=prompt_tokens + 1)


def image(family: Family, config: Any, image_size: int) -> Parts:
    """Count one image before the language model sees it."""
    return Parts(**family.image_flops(config, image_size).model_dump(exclude={"unused"}))


def _language(decoder: Decoder, queries: int, keys: int) -> Parts:
    """Count a decoder over ``queries`` tokens that attend to ``keys`` positions."""
    width, heads = decoder.width, decoder.heads
    projections = width * decoder.head_size * (2 * heads + 2 * decoder.kv_heads)
    mlp = (3 if decoder.gated else 2) * width * decoder.mlp
    layers = FLOPS_PER_MAC * queries * decoder.layers
    return Parts(
        projections=layers * projections,
        mlp=layers * mlp,
        scores=layers * 2 * keys * heads * decoder.head_size,
        head=FLOPS_PER_MAC * queries * width * decoder.vocabulary,
    )
