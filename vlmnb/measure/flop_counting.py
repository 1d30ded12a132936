"""Count the FLOPs of a batch in three ways: by formula, by torch's counter and by fvcore."""

from __future__ import annotations

import functools
import json
from typing import Any

from vlmnb import models
from vlmnb.flops import counters, flop_count, formula, meta
from vlmnb.flops.flop_count import FlopCount
from vlmnb.measure import loading, process_state
from vlmnb.measure.batches import Batch, encode
from vlmnb.measure.loading import Loaded
from vlmnb.models import geometry

FlopCounts = dict[tuple[str, str, str], FlopCount]
"""FLOPs of one prompt by model, weights and shapes of its tensors."""


def count(loaded: Loaded, batch: Batch, image_size: int, counts: FlopCounts) -> FlopCount:
    """Count the FLOPs of one forward pass over a batch of prompts, and of a decoding step.

    All prompts of a batch are padded to the longest one and take the same work. So the longest prompt is
    counted alone and multiplied by the batch: the same result for the work of one prompt. A new count is
    added to those made so far.
    """
    lengths = [prompt.text_tokens for prompt in batch.prompts]
    at = lengths.index(max(lengths))
    one = encode(loaded, batch.samples[at : at + 1], batch.prompts[at : at + 1], image_size)
    shapes = sorted((name, tuple(value.shape)) for name, value in one.items())
    known = (loaded.configuration.entry.name, loaded.configuration.weights, str(shapes))
    if known not in counts:
        counts[known] = _three_ways(loaded, one, image_size)
    return counts[known].times(len(batch.samples))


def _three_ways(loaded: Loaded, one: Any, image_size: int) -> FlopCount:
    """Count one prompt and the token after it by formula, torch and fvcore, and compare the three."""
    counted = _by_counters(loaded, one)
    config, tokens = loaded.model.config, int(one["input_ids"].shape[1])
    entry, family = loaded.configuration.entry, loaded.family
    # A vision tower with one size gets that size, whatever size was asked for.
    side = int(one["pixel_values"].shape[-1]) if entry.native_image_size else image_size

    def by_formula() -> dict[str, Any]:
        image = family.image_flops_of(loaded.model, one, side)
        prefill = formula.prompt(family, config, image, tokens)
        return {
            "formula": prefill.total,
            "prefill_formula": prefill,
            "decode_formula": formula.decode(family, config, tokens),
            "unused": image.unused,
        }

    found, formula_note = counters.attempt("the formula", by_formula)
    as_json = config.to_json_string(use_diff=False)
    step, step_note = counters.attempt(
        "torch, decoding,", lambda: meta.decode(_shapes(entry.name, as_json), tokens)
    )
    made = counted.model_copy(update={**(found or {}), "decode_torch": step})
    notes = [counted.note, formula_note, step_note, *flop_count.disagreements(made)]
    return made.model_copy(update={"note": "; ".join(note for note in notes if note)})


@functools.lru_cache(maxsize=1)
def _shapes(model: str, config: str) -> Any:
    """Return the model's geometry without memory, by the configuration of the loaded model as JSON.

    A checkpoint need not have the geometry of the model it is named after.
    """
    return meta.build(models.get(model), geometry.of(json.loads(config)))


def _by_counters(loaded: Loaded, inputs: Any) -> FlopCount:
    """Count the plain model: the counters do not see the products of quantized layers."""
    if loaded.configuration.optimization.of("quantization"):
        loaded = loading.load(loading.plain(loaded.configuration))
    with process_state.uncompiled(loaded.decoder):
        return counters.count_forward(loaded.model, dict(inputs), loaded.family.places_of(loaded.model))
