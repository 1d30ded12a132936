"""Ways of decoding in which fewer layers draft tokens and the whole model checks them."""

from __future__ import annotations

import copy
from typing import Any

from vlmnb.spec.optimizations.generation import image_ids
from vlmnb.spec.optimizations.setting import Setting


def half_of_the_layers(model: Any) -> int:
    """Return half the number of layers of the language model, at least one."""
    return max(1, int(model.config.get_text_config(decoder=True).num_hidden_layers) // 2)


def draft_of(model: Any) -> Any:
    """Return a model of the same family with the first half of the decoder's layers, sharing all weights.

    No smaller checkpoint with the same tokenizer is needed, and no weight is stored twice.
    """
    import torch

    config = copy.deepcopy(model.config)
    text, layers = config.get_text_config(decoder=True), half_of_the_layers(model)
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    with torch.device("meta"):
        draft = type(model)(config)
    draft.load_state_dict(model.state_dict(), strict=False, assign=True)
    for name, _ in list(draft.named_buffers()):
        owner, _, own = name.rpartition(".")
        draft.get_submodule(owner).register_buffer(own, model.get_buffer(name), persistent=False)
    draft.generation_config = copy.deepcopy(model.generation_config)
    return draft.eval()


def _early_exit(model: Any) -> dict[str, Any]:
    return {"assistant_early_exit": half_of_the_layers(model)}


def _assisted(model: Any) -> dict[str, Any]:
    return {"assistant_model": draft_of(model), "suppress_tokens": image_ids(model)}


SETTINGS = (
    Setting(
        name="early_exit",
        kind="decoding",
        description="tokens drafted by the model's own first half of layers; one question at a time",
        largest_batch=1,
        guesses=True,
        touches=("decode",),
        arguments=_early_exit,
    ),
    Setting(
        name="assisted",
        kind="decoding",
        description=(
            "tokens drafted by a model of the first half of layers, which transformers gives no picture; one "
            "question at a time"
        ),
        largest_batch=1,
        guesses=True,
        touches=("decode",),
        arguments=_assisted,
    ),
)
