"""Count the FLOPs of a batch in three ways: by formula, by torch's counter and by fvcore."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.files import code_fingerprint, hashing
from vlmnb.flops import counters, flop_count, formula, meta
from vlmnb.flops.flop_count import FlopCount
from vlmnb.measure import loading, process_state
from vlmnb.measure.batches import Batch, encode
from vlmnb.measure.loading import Loaded
from vlmnb.measure.visual_tokens import Reducer
from vlmnb.models import geometry
from vlmnb.models.architecture import ImageFlops
from vlmnb.models.entry import ModelEntry
from vlmnb.records import content_key
from vlmnb.records.resolved import Resolved
from vlmnb.spec.optimizations.visual_tokens import Reduction, selection_flops

FlopCounts = dict[tuple[str, str, str], FlopCount]
"""FLOPs of one prompt by model, weights and shapes of its tensors, with what is left of its image tokens."""


def count(resolved: Resolved, loaded: Loaded, batch: Batch, counts: FlopCounts) -> FlopCount:
    """Count the FLOPs of one forward pass over a batch of prompts, and of a decoding step.

    All prompts of a batch are padded to the longest one. If their images are alike too, they take the same
    work: the longest prompt is counted alone and multiplied by the batch. A new count is added to those made
    so far. Otherwise the batch is counted as a whole. Counts are kept in the user's cache.
    """
    cell, reduction = resolved.cell, resolved.optimization.reduction

    def encoded(first: int, end: int) -> Any:
        samples, prompts = batch.samples[first:end], batch.prompts[first:end]
        return encode(loaded, samples, prompts, cell.image_size, cell.image_shape)

    lengths, images = ([getattr(p, name) for p in batch.prompts] for name in ("text_tokens", "images"))
    every = range(len(lengths))
    if cell.image_shape == "kept" or len(set(images)) > 1:
        singles = [encoded(i, i + 1) for i in every if images[i]]
        return _three_ways(loaded, batch.inputs, singles, cell.image_size, reduction)
    at = lengths.index(max(lengths))
    one = encoded(at, at + 1)
    work = (sorted((name, tuple(value.shape)) for name, value in one.items()), reduction)
    known = (loaded.configuration.entry.name, loaded.configuration.weights, str(work))
    if known not in counts:
        counts[known] = _three_ways(loaded, one, [one] if images[at] else [], cell.image_size, reduction)
    return counts[known].times(len(every))


def _three_ways(
    loaded: Loaded, inputs: Any, with_images: Sequence[Any], image_size: int, reduction: Reduction | None
) -> FlopCount:
    """Return the count of these prompts, from the cache if it is there; keep it there if it is complete."""
    file = _place(loaded, [inputs, *with_images], image_size, reduction)
    with contextlib.suppress(OSError, ValueError):
        return FlopCount.model_validate_json(file.read_bytes())
    made = _counted(loaded, inputs, with_images, image_size, reduction)
    if None not in (made.torch, made.fvcore, made.formula, made.decode_torch):
        with contextlib.suppress(OSError):
            paths.write_atomic(file, made.model_dump_json())
    return made


def _place(loaded: Loaded, tensors: Sequence[Any], image_size: int, reduction: Reduction | None) -> Path:
    """Return the file of a count, named after everything that it depends on.

    Of tensors it depends on the shapes, and of small ones, such as the grid of an image, on the values.
    """
    named = [(name, value) for each in tensors for name, value in sorted(each.items())]
    large = [hasattr(value, "numel") and value.numel() > 64 for _, value in named]
    shapes = [(n, v.shape if big else v) for (n, v), big in zip(named, large, strict=True)]
    depends = [
        loaded.model.config.to_json_string(use_diff=False), loaded.configuration.entry.model_dump_json(),
        loaded.configuration.weights, image_size, reduction, shapes, content_key.packages(),
        code_fingerprint.of(content_key.MEASURING),
    ]  # fmt: skip
    return paths.counted_flops() / f"{hashing.digest_of(repr(depends), 32)}.json"


def _counted(
    loaded: Loaded, inputs: Any, with_images: Sequence[Any], image_size: int, reduction: Reduction | None
) -> FlopCount:
    """Count prompts and the token after each by formula, torch and fvcore, and compare the three.

    Args:
        loaded: The model. Of a quantized one the plain model is counted, without values: memory holds one
            model of full size and no more.
        inputs: The tensors of one prompt or of a batch.
        with_images: The tensors of each of these prompts that has images.
        image_size: Side of the images in pixels.
        reduction: What is left of their image tokens.
    """
    if loaded.configuration.optimization.of("quantization"):  # its layers hide sizes and products
        loaded = loading.outline(loaded)
    counted, chosen = _by_counters(loaded, inputs, reduction), 0
    config, (prompts, tokens) = loaded.model.config, inputs["input_ids"].shape
    if reduction:
        reduce = Reducer(loaded, reduction, 0, ())
        tokens = reduce.text(inputs)["input_ids"].shape[1]
        if reduce.seen:
            chosen = selection_flops(reduction, reduce.seen.of, config.get_text_config().hidden_size)
    entry, family = loaded.configuration.entry, loaded.family

    def by_formula() -> dict[str, Any]:
        unused, texts = 0, prompts - len(with_images)
        prefill = formula.prompt(family, config, ImageFlops(), tokens).times(texts)
        for one in with_images:
            # A vision tower with one size gets that size, whatever size was asked for.
            side = int(one["pixel_values"].shape[-1]) if entry.native_image_size else image_size
            image = family.image_flops_of(loaded.model, one, side)
            image = image.model_copy(update={"projector": image.projector + chosen})
            prefill = prefill.plus(formula.prompt(family, config, image, tokens))
            unused += image.unused
        return {
            "formula": prefill.total,
            "prefill_formula": prefill,
            "decode_formula": formula.decode(family, config, tokens).times(prompts),
            "unused": unused,
        }

    found, formula_note = counters.attempt("the formula", by_formula)
    as_json = config.to_json_string(use_diff=False)
    step, step_note = counters.attempt(
        "torch, decoding,", lambda: meta.decode(_shapes(entry, as_json), tokens).times(prompts)
    )
    made = counted.model_copy(update={**(found or {}), "decode_torch": step})
    notes = [counted.note, formula_note, step_note, *flop_count.disagreements(made)]
    return made.model_copy(update={"note": "; ".join(note for note in notes if note)})


@functools.lru_cache(maxsize=1)
def _shapes(entry: ModelEntry, config: str) -> Any:
    """Return the model's geometry without memory, by the configuration of the loaded model as JSON.

    A checkpoint need not have the geometry of the model it is named after.
    """
    return meta.build(entry, geometry.of(json.loads(config)))


def _by_counters(loaded: Loaded, inputs: Any, reduction: Reduction | None) -> FlopCount:
    """Count a model as it is, uncompiled."""
    places = loaded.family.places_of(loaded.model)
    with process_state.uncompiled(loaded.model.get_decoder()), contextlib.ExitStack() as stack:
        if reduction:
            stack.enter_context(Reducer(loaded, reduction, 0, ()).within_forward())
            # What compares image tokens is in no module.
            places = (*(place for place in places if place[0]), ("", "projector"))
        return counters.count_forward(loaded.model, dict(inputs), places)
