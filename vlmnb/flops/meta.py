"""FLOPs counted on meta tensors: the model's own code runs on shapes alone, without weights and memory.

The model is built from its configuration on torch's meta device, and torch's counter watches its forward
passes. The image and the language model run one after the other instead of through the model's own
``forward``, which reads token values to place the image; placing is not a product, so the count is the same.
Where the code for images reads values too, an image of ones runs through a model with unfilled weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import initialization

from vlmnb import models
from vlmnb.flops import counters, flop_count
from vlmnb.flops.flop_count import Parts
from vlmnb.models import geometry, quiet_libraries
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import Family


class Built(NamedTuple):
    """A model on the meta device, with eager attention, in evaluation mode."""

    family: Family
    model: Any


def build(entry: ModelEntry, config: Any = None) -> Built:
    """Build a model of the registry without weights.

    Args:
        entry: Of the registry.
        config: Configuration of the checkpoint that is loaded, which is not changed; None: the model's own.
    """
    quiet_libraries.hush()
    return _built(models.family_of(entry), geometry.config(entry) if config is None else config, "meta")


def _built(family: Family, config: Any, device: str) -> Built:
    own = copy.deepcopy(config)  # the class writes precision and attention into what it is given
    with torch.device(device), initialization.no_init_weights():
        model = family.model_class(own)._from_config(
            own, attn_implementation="eager", dtype=torch.get_default_dtype()
        )
    return Built(family, model.eval())


def prefill(built: Built, image_size: int, prompt_tokens: int) -> Parts:
    """Count the forward pass over one prompt with one image, with logits for every position.

    The image has the side in pixels that the model sees; its tokens are among those of the prompt.
    """
    image = built.family.meta_image(built.model.config, image_size)
    return _features(built, image).plus(_count(built, partial(_language, built, prompt_tokens)))


def _features(built: Built, image: Mapping[str, Any]) -> Parts:
    try:
        return _count(built, partial(built.family.encode, built.model, **image))
    except (NotImplementedError, RuntimeError):  # it reads values: Idefics3 looks for empty tiles
        real = _built(built.family, built.model.config, "cpu")  # its unfilled memory is hardly touched
        pixels = {name: torch.ones_like(v, device="cpu") if v.is_meta else v for name, v in image.items()}
        return _count(real, partial(built.family.encode, real.model, **pixels))


def attempt(count: Callable[[], Parts]) -> tuple[Parts | None, str]:
    """Return a count, or why there is none: the code of some models does not run on such an image."""
    try:
        return count(), ""
    except Exception as error:  # a count is extra: the formula's is shown without it
        return None, f"the model's own code does not run without a real image ({type(error).__name__})"


def decode(built: Built, prompt_tokens: int) -> Parts:
    """Count the decoding step of one prompt that comes first after it, with a cache.

    The prompt runs first, so that every layer has in the cache what it keeps of it.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=built.model.config)
    with torch.no_grad(), counters.quiet(built.model, "batched_mm"):
        _language(built, prompt_tokens, cache=cache)
    return _count(built, partial(_language, built, 1, prompt_tokens, cache))


def _language(built: Built, tokens: int, seen: int = 0, cache: Any = None) -> None:
    """Run the language model and its head over embeddings, the image's among them."""
    end = seen + tokens
    text = built.model.config.get_text_config(decoder=True)
    crosses = 0 if seen else built.family.decoder_shape(built.model.config).crosses
    images = {"cross_attention_states": _meta(1, crosses, text.hidden_size)} if crosses else {}
    run = partial(
        built.family.decoder(built.model),
        inputs_embeds=_meta(1, tokens, text.hidden_size),
        position_ids=torch.arange(seen, end, device="meta")[None],
        past_key_values=cache,
        use_cache=cache is not None,
        **images,
    )
    try:
        # transformers takes a complete mask as it is; to make one it would read values. One column serves
        # caches of every length.
        out = run(attention_mask=_meta(1, 1, tokens, 1))
    except ValueError:
        if cache is not None and cache.get_seq_length() != seen:
            raise
        out = run()  # Kosmos-2 takes no complete mask, and reads no values to make one
    built.model.get_output_embeddings()(out.last_hidden_state)


class _Whole(nn.Module):
    """Work within a model as a module that holds the model, so that the counter names the modules within."""

    def __init__(self, model: nn.Module, work: Callable[[], Any]) -> None:
        super().__init__()
        self.model, self.forward = model, work


def _count(built: Built, work: Callable[[], Any]) -> Parts:
    # Experts gathered for each token and multiplied in a batch are counted; grouped products are not.
    with counters.quiet(built.model, "batched_mm"):
        return flop_count.split(
            counters.watch(_Whole(built.model, work)), built.family.places_of(built.model)
        )


def _meta(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")
