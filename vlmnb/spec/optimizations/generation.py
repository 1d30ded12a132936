"""Ways of decoding that transformers' ``generate`` offers: two kinds of cache, and prompt lookup."""

from __future__ import annotations

import math
from typing import Any

from vlmnb.models import architecture
from vlmnb.models.generic import structure
from vlmnb.spec.optimizations.setting import Setting

LOOKUP_TOKENS = 10
"""Tokens that prompt lookup guesses at a time, as in its authors' code (prompt-lookup-decoding)."""


BLOCK = 64
"""A static cache has a multiple of so many positions, so that cells of similar length share compiled code."""


class StaticCaches:
    """Keys and values in memory of fixed size, one block per number of rows, used again batch after batch.

    Compiled code and CUDA graphs depend on addresses and lengths: a new block for each batch would have them
    compiled and recorded again. It is allocated when it is first asked for.
    """

    def __init__(self, model: Any, positions: int) -> None:
        self._model, self._positions = model, math.ceil(positions / BLOCK) * BLOCK
        self._held: dict[int, Any] = {}

    def empty(self, rows: int) -> Any:
        """Return the block for a number of rows, cleared."""
        from transformers.cache_utils import StaticCache, StaticLayer

        if rows in self._held:
            self._held[rows].reset()
        else:
            text = self._model.config.get_text_config(decoder=True)
            made = StaticCache(config=text, max_cache_len=self._positions)
            if crossed := structure.crossed(self._model):  # of one picture, whatever the text
                layers = structure.decoder_layers(structure.decoder_of(self._model))
                for number in (n for n, layer in enumerate(layers) if structure.keys_of_images(layer)):
                    made.layers[number] = StaticLayer(max_cache_len=crossed)
            count = len(made.layers)
            each = (getattr(text, "per_layer_config", None) or [text] * count)[:count]
            heads, sizes = zip(*map(architecture.key_values, each), strict=True)
            made.early_initialization(rows, list(heads), list(sizes), self._model.dtype, self._model.device)
            self._held[rows] = made
        return self._held[rows]


def lookup_arguments(model: Any) -> dict[str, Any]:
    """Return the arguments of ``generate`` for guessing tokens from the prompt."""
    return {"prompt_lookup_num_tokens": LOOKUP_TOKENS, "suppress_tokens": image_ids(model)}


def image_ids(model: Any) -> list[int]:
    """Return the tokens that stand for an image or a video: guessed, they would ask for another image."""
    names = ("image_token_id", "image_token_index", "video_token_id")
    return sorted({found for name in names if (found := getattr(model.config, name, None)) is not None})


SETTINGS = (
    Setting(
        name="static_cache",
        kind="decoding",
        description="keys and values in memory of fixed size",
        touches=("prefill", "decode"),
        caches=StaticCaches,
    ),
    Setting(
        name="fp8_cache",
        kind="decoding",
        description="keys and values stored in 8 bits (float8_e4m3fn); each step restores them",
        touches=("prefill", "decode"),
        cache_type="float8_e4m3fn",
        arguments=lambda model: {"cache_implementation": "quantized", "cache_config": {"backend": "fp8"}},
    ),
    Setting(
        name="prompt_lookup",
        kind="decoding",
        description="tokens guessed from the prompt and checked in one pass; one question at a time",
        largest_batch=1,
        guesses=True,
        touches=("decode",),
        arguments=lookup_arguments,
    ),
)
