"""What a model is, before any weight is loaded: size by component, image tokens by size, memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

from vlmnb import models
from vlmnb.errors import UserError, one_line
from vlmnb.fit import model_facts, quantize, shape, tried
from vlmnb.models import folders, geometry, named, prompting, soundness, stand_in
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import Family
from vlmnb.models.generic import structure
from vlmnb.types import Frozen

SHAPES = ((64, 64), (224, 224), (336, 336), (448, 448), (896, 896), (672, 224))
"""Widths and heights in pixels at which image tokens are asked for: squares, and one three times as wide."""

QUANTIZED = {"bf16 or fp16": "fp16", "8 bits": "int8", "4 bits": "nf4"}
"""Precisions, and the quantizations of ``vlmnb fit`` that have them."""

UNKEPT = "made square by the processor, at a size of its own"
"""Of an image that is not square, where a model takes only squares."""


class ImageCost(Frozen):
    """What an image of one size becomes.

    Attributes:
        width, height: Of the image that the processor is given, in pixels.
        tokens: Tokens of the language model that stand for it, separators included.
        pixels: Shape of the tensor of pixels, which shows tiles and patches.
        note: What else to know of it, or empty.
    """

    width: int
    height: int
    tokens: int
    pixels: tuple[int, ...]
    note: str = ""


class Description(Frozen):
    """A model by its own files.

    Attributes:
        kind: ``model_type`` of its configuration.
        parameters: By component, in the order in which an image passes them.
        context: Longest sequence in tokens, or None if the configuration does not say.
        attention: Attention implementations that its class takes.
        images: By size; empty if its processor cannot be loaded.
        image_note: Why it cannot, or where else an image goes than into the prompt; empty if nowhere.
        weights_bytes: Bytes of all weights by precision, those of 8 and 4 bits as bitsandbytes stores them.
        weights_note: Why the weights in its folder cannot be measured, or empty.
        licence: As its card says, or empty.
        warning: What to know before batch sizes are compared, or empty.
        gguf: Why llama.cpp cannot run it, or empty.
        limits: What it cannot do on an axis, by the axis's name; axes that are not named apply as they are.
    """

    name: str
    kind: str
    class_name: str
    source: str
    parameters: dict[str, int]
    layers: int
    heads: int
    kv_heads: int
    width: int
    context: int | None
    attention: tuple[str, ...]
    images: tuple[ImageCost, ...]
    weights_bytes: dict[str, int]
    weights_note: str = ""
    image_note: str = ""
    licence: str = ""
    warning: str = ""
    gguf: str = ""
    limits: dict[str, str] = {}

    @property
    def total(self) -> int:
        """Return the number of parameters."""
        return sum(self.parameters.values())

    @property
    def fixed_cost(self) -> bool:
        """Return whether an image costs as many tokens at every square size that was tried."""
        return len({one.tokens for one in self.images if one.width == one.height}) == 1


def describe(name: str) -> Description:
    """Describe a model of the registry, a Hub repository or a checkpoint folder. No weight is loaded.

    Raises:
        UserError: There is no such model, or its configuration cannot be used.
    """
    entry = models.get(name)
    config, family = geometry.config(entry), models.family_of(entry)  # in this order: config.json says which
    model = _built(entry.name, family, config)
    numbers = shape.of(entry.name)
    decoder = numbers.decoder
    images, note = _images(entry, family, config)
    return Description(
        name=entry.name,
        kind=config.model_type,
        class_name=type(model).__name__,
        source=geometry.source(entry),
        parameters=_parameters(family, config),
        layers=decoder.layers,
        heads=decoder.heads,
        kv_heads=decoder.kv_heads,
        width=decoder.width,
        context=decoder.context or None,
        attention=("eager", *(n for n, flag in _KERNELS.items() if getattr(model, flag, False))),
        images=images,
        weights_bytes=_weights(numbers),
        weights_note=model_facts.weights_note(entry),
        image_note=note or (structure.crossing_note(model) if entry.generic else ""),
        licence=_licence(entry),
        warning=tried.warning(config.model_type),
        gguf=family.gguf_obstacle,
        limits=_limits(entry, family, config, sized=bool(images)),
    )


def _weights(of: shape.Shape) -> dict[str, int]:
    stored = {
        title: sum(one.size_bytes for one in quantize.stored(of, quantize.get(name)))
        for title, name in QUANTIZED.items()
    }
    return {"fp32": 4 * sum(of.parameters.values())} | stored


def _limits(entry: ModelEntry, family: Family, config: Any, *, sized: bool) -> dict[str, str]:
    """Return what the model, or one of its kind that was tried, cannot do, by the axis's name.

    Whether its processor loads (``sized``) decides whether sides can be asked for.
    """
    row = tried.families().get(config.model_type) if entry.generic else None
    reduced = [why for name, why in row.settings.items() if name.startswith("visual_tokens")] if row else []
    none = reduced[0] if reduced and "ok" not in reduced else ""
    found = {
        "image_size": _sizes(entry, family, config) if sized else "",
        "visual_tokens": f"not by attention: {family.attention_obstacle}"
        if family.attention_obstacle
        else f"none, when this family was tried: {none}" * bool(none),
    }
    return {axis: why for axis, why in found.items() if why}


def _sizes(entry: ModelEntry, family: Family, config: Any) -> str:
    """Say which sides of the axis are not applicable, as measuring decides it; empty if all apply."""
    if reason := next(filter(None, (entry.size_obstacle(size, False) for size in entry.image_sizes)), ""):
        return f"{reason} without interpolate"
    if entry.native_image_size:
        return ""
    seen = {size: family.seen_side(config, size) for size in entry.image_sizes}
    wrong = {str(size): str(side) for size, side in seen.items() if side != size}
    nearest = " or ".join(dict.fromkeys(wrong.values()))
    sides = " or ".join(wrong)
    return f"the model cannot take a side of {sides} pixels; the nearest is {nearest}" if wrong else ""


_KERNELS = {"sdpa": "_supports_sdpa", "flash": "_supports_flash_attn", "flex": "_supports_flex_attn"}


def _built(name: str, family: Family, config: Any) -> Any:
    import torch

    with named.explained(f"{name}: its configuration"), torch.device("meta"):
        return family.model_class(config)._from_config(config)


def _parameters(family: Family, config: Any) -> dict[str, int]:
    """Return parameters by component, in the order in which an image passes them."""
    found: Counter[str] = Counter()
    for tensor in (*family.image_tensors(config), *family.text_tensors(config)):
        found[_SHOWN.get(tensor.component, tensor.component)] += tensor.count
    shown = ("vision", "projector", "token embedding", "decoder", "head", "other")
    return {name: found[name] for name in shown if found[name]}


_SHOWN = {"embedding": "token embedding", "output": "head"}


def _images(entry: ModelEntry, family: Family, config: Any) -> tuple[tuple[ImageCost, ...], str]:
    """Ask the processor what images of several sizes become, or that of a stand-in; else say why not."""
    from PIL import Image

    here = folders.anywhere(entry).is_dir()
    if not here and not family.stand_in:
        return (), "its files are not on this machine"
    try:
        processor = family.load_processor(folders.anywhere(entry)) if here else stand_in.build(family, config)
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}
        prompt = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
        made = []
        for width, height in SHAPES:
            if not here and width != height:
                continue  # the size of a stand-in's own, which only squares are given anew
            # What keeps shapes is given this one's own size, as squares are given theirs.
            blank, own = Image.new("RGB", (width, height)), family.own_size()
            how = family.sized(width) if width == height else own or {}
            inputs = processor(images=[blank], text=[prompt], padding=True, return_tensors="pt", **how)
            pixels = next(v for n, v in inputs.items() if n in ("pixel_values", "image_patches"))
            tokens = int(inputs["attention_mask"].sum()) - len(prompting.text_ids(processor, prompt))
            note = "" if width == height or own is not None else UNKEPT
            shape = tuple(pixels.shape)
            made.append(ImageCost(width=width, height=height, tokens=tokens, pixels=shape, note=note))
    except UserError as error:  # it wants a package
        return (), one_line(error)
    except Exception as error:  # its files may be missing or damaged
        if here and (lacking := soundness.lacking_processor(folders.anywhere(entry))):
            return (), f"{folders.anywhere(entry)} has no {lacking}"
        return (), f"{type(error).__name__}: {one_line(error, 300)}"
    return tuple(made), ""


def _licence(entry: ModelEntry) -> str:
    """Return the licence that the checkpoint's card names in its YAML head."""
    card = folders.anywhere(entry) / "README.md"
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")
    parts = text.split("---", 2)
    if not text.startswith("---") or len(parts) < 3:
        return ""
    try:
        head = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return ""
    return str(head.get("license", "")) if isinstance(head, dict) else ""
