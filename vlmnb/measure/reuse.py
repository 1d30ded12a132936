"""Ask several questions about each picture, plainly and with something of the picture kept between them.

Kept is the output of the vision encoder, or the keys and values of the tokens that all prompts of a picture
begin with: template, system prompt and picture. The picture of each group of questions is that of the first;
the data sets here have one question a picture, so the others are those of the next samples.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlmnb.data.catalogue import Sample
from vlmnb.device.clock import now_s, synchronize
from vlmnb.device.state import Conditions
from vlmnb.measure import batches, encoding, failures
from vlmnb.measure.failures import NotApplicable, NotMeasured, Unsupported
from vlmnb.measure.generation import Generator
from vlmnb.measure.loading import Loaded
from vlmnb.meters.window import MeteredWindow
from vlmnb.records.parts import Asked, FailedSample, Reused
from vlmnb.records.resolved import Resolved

UNUSED = ("hidden_states", "attentions")
"""Fields of an encoder's output that no decoder reads; what is kept is freed of them."""


@dataclass(frozen=True)
class Picture:
    """A picture with its questions.

    Attributes:
        sample_ids: One for each question.
        inputs: The tensors of each prompt, a batch of one.
        prefix: Number of tokens that all of them, and a prompt without a question, begin with.
    """

    sample_ids: tuple[str, ...]
    inputs: list[Any]
    prefix: int


@dataclass(frozen=True)
class Kept:
    """What is kept of a picture.

    Attributes:
        ask: Returns the arguments of ``generate`` for the tensors of a question.
        again: Brings it back to its state before a question.
        tensors: All that stays in memory.
    """

    ask: Callable[[Any], dict[str, Any]]
    again: Callable[[], None]
    tensors: Any


def pictures(
    resolved: Resolved, loaded: Loaded, samples: Sequence[Sample], failed: list[FailedSample]
) -> list[Picture]:
    """Return the pictures of a cell with their questions, on the model's device.

    Questions that fill no whole group are left out.

    Raises:
        NotApplicable: The questions have no pictures.
    """
    cell, found = resolved.cell, []
    side, sized = batches.at_size(cell, loaded, samples, failed)
    usable = [sample for sample, _ in sized]
    batches.require_most(cell, failed)
    if not all(sample.images for sample in usable):
        raise NotApplicable(
            f"the questions of {cell.dataset} have no picture of which something could be kept"
        )
    for start in range(0, len(usable) - cell.questions + 1, cell.questions):
        group = usable[start : start + cell.questions]
        asked = [replace(sample, images=group[0].images) for sample in group]
        texts = [*(sample.prompt for sample in group), ""]
        images = len(group[0].images)
        prompts = [encoding.fit(loaded.processor, text, cell.seq_len, images) for text in texts]
        inputs = [
            batches.encode(loaded, [sample], [prompt], side, cell.image_shape)
            for sample, prompt in zip([*asked, asked[0]], prompts, strict=True)
        ]
        prefix = _shared([one["input_ids"][0].tolist() for one in inputs])
        found.append(Picture(tuple(sample.sample_id for sample in group), inputs[:-1], prefix))
    return found


def measured(
    resolved: Resolved, loaded: Loaded, asked: Sequence[Picture]
) -> tuple[Reused, Conditions | None]:
    """Ask all questions plainly and with something kept, and return both with the worse conditions.

    Raises:
        NotMeasured: An answer has other tokens than the plain run.
        Unsupported: The model cannot keep it.
    """
    import torch

    device = resolved.cell.device
    generate = Generator.of(resolved, loaded, [one for picture in asked for one in picture.inputs])
    keep = KEEP[resolved.cell.reuse]
    plain, before = _ask(generate, asked, _nothing, device)
    try:
        kept, after = _ask(generate, asked, keep, device)
    except NotMeasured:
        raise
    except Exception as error:
        status, reason = failures.of(error)
        if status == "out_of_memory":
            raise
        raise Unsupported(f"{resolved.cell.reuse} cache: {reason}") from None
    _compare(asked, plain, kept)
    with torch.inference_mode():
        sizes = tuple(_bytes(keep(loaded, picture).tensors) for picture in asked)
    found = Reused(
        sample_ids=tuple(own for picture in asked for own in picture.sample_ids),
        prompt_tokens=tuple(int(one["input_ids"].shape[1]) for picture in asked for one in picture.inputs),
        prefix_tokens=tuple(picture.prefix for picture in asked),
        kept_bytes=sizes,
        plain=plain,
        kept=kept,
    )
    return found, max(filter(None, (before, after)), key=lambda one: one.other_load or 0.0, default=None)


def keep_encoder(loaded: Loaded, picture: Picture) -> Kept:
    """Keep the output of the vision encoder and the projector."""
    model = loaded.model
    if loaded.stepping is not model or not model._supports_mm_encoder_outputs():
        raise Unsupported(
            f"encoder cache: {type(model).__name__} of transformers takes no mm_encoder_outputs"
        )
    encode = model.base_model.get_image_features
    wanted = inspect.signature(encode).parameters
    first = picture.inputs[0]
    output = encode(**{name: first[name] for name in first if name in wanted}, return_dict=True)
    pooled = output.get("pooler_output") is not None
    for name in (*UNUSED, *["last_hidden_state"] * pooled):
        if name in output:
            output[name] = None

    def ask(inputs: Any) -> dict[str, Any]:
        return _without_pixels(inputs) | {"mm_encoder_outputs": {"image": output}}

    return Kept(ask, lambda: None, dict(output))


def keep_prefix(loaded: Loaded, picture: Picture) -> Kept:
    """Keep the keys and values of the prefix, template and picture."""
    from transformers import DynamicCache

    if loaded.stepping is not loaded.model:
        kind = type(loaded.model).__name__
        raise Unsupported(f"prefix cache: {kind}.generate of transformers encodes the picture at every call")
    first, length = picture.inputs[0], picture.prefix
    ids = first["input_ids"]
    if bool((ids[0, length:] == getattr(loaded.model.config, "image_token_id", None)).any()):
        raise Unsupported("prefix cache: the picture stands behind the question in this model's prompts")
    cache = DynamicCache(config=loaded.model.config.get_text_config(decoder=True))
    head = {name: value[:, :length] if value.shape == ids.shape else value for name, value in first.items()}
    loaded.model.base_model(**head, past_key_values=cache, use_cache=True)

    def ask(inputs: Any) -> dict[str, Any]:
        return _without_pixels(inputs) | {"past_key_values": cache}

    def again() -> None:
        cache.crop(length - cache.get_seq_length())

    return Kept(ask, again, [vars(layer) for layer in cache.layers])


KEEP: dict[str, Callable[[Loaded, Picture], Kept]] = {"encoder": keep_encoder, "prefix": keep_prefix}


def _nothing(loaded: Loaded, picture: Picture) -> Kept:
    return Kept(dict, lambda: None, ())


def _ask(
    generate: Generator, asked: Sequence[Picture], keep: Callable[[Loaded, Picture], Kept], device: str
) -> tuple[Asked, Conditions | None]:
    """Ask all questions about all pictures in one window, until its counters of energy have enough."""
    import torch

    loaded = generate.loaded
    keep_s: list[float] = []
    question_s: list[float] = []
    outputs: list[Any] = []

    def of_picture(picture: Picture) -> None:
        began_s = _now_s(device)
        kept = keep(loaded, picture)
        keep_s.append(_now_s(device) - began_s)
        for inputs in picture.inputs:
            began_s = _now_s(device)
            outputs.append(generate(kept.ask(inputs)))
            kept.again()
            question_s.append(_now_s(device) - began_s)

    with torch.inference_mode(), generate.loaded.configuration.optimization.within():
        for picture in (asked[0], asked[0], asked[-1]):
            of_picture(replace(picture, inputs=picture.inputs[:1]))
        for times in (keep_s, question_s, outputs):
            times.clear()
        with MeteredWindow(device) as window:
            while not question_s or window.too_short:
                for picture in asked:
                    of_picture(picture)
                    window.covered(len(picture.inputs))
    starts = [int(one["input_ids"].shape[1]) for picture in asked for one in picture.inputs]
    made = Asked(
        question_s=tuple(question_s),
        keep_s=() if keep is _nothing else tuple(keep_s),
        tokens=tuple(
            tuple(output[0, start:].tolist()) for start, output in zip(starts, outputs, strict=False)
        ),
        energy=window.readings,
        energy_refused=window.energy.refused,
        memory=window.memory.usage,
    )
    return made, window.conditions


def _compare(asked: Sequence[Picture], plain: Asked, kept: Asked) -> None:
    """Raise NotMeasured at the first answer with other tokens than the plain run."""
    places = [
        (number, question, own)
        for number, picture in enumerate(asked, 1)
        for question, own in enumerate(picture.sample_ids, 1)
    ]
    for (number, question, own), mine, theirs in zip(places, kept.tokens, plain.tokens, strict=True):
        if mine != theirs:
            at = _shared([mine, theirs])
            here, there = (ids[at] if at < len(ids) else "none" for ids in (mine, theirs))
            raise NotMeasured(
                f"the answer to question {question} about picture {number} (sample {own}) is not that of the "
                f"plain run: its token {at + 1} is {here} instead of {there}"
            )


def _shared(rows: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all rows begin with."""
    differ = (at for at, ids in enumerate(zip(*rows, strict=False)) if len(set(ids)) > 1)
    return next(differ, min(map(len, rows)))


def _without_pixels(inputs: Any) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if not name.startswith("pixel")}


def _bytes(tensors: Any) -> int:
    import torch
    from torch.utils import _pytree as trees

    return sum(leaf.nbytes for leaf in trees.tree_leaves(tensors) if isinstance(leaf, torch.Tensor))


def _now_s(device: str) -> float:
    synchronize(device)
    return now_s()
