"""Find the parts of a loaded image-text-to-text model: tower, projector, decoder, layers, attention, head.

transformers' own accessors come first (``get_encoder``, ``get_decoder``, ``get_output_embeddings``); where
they say nothing, module types and the names that transformers gives its modules decide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from vlmnb.models.architecture import Component, Kind, Tensor

PROJECTORS = re.compile(
    r"^(multi_modal_projector|multimodal_projector|mm_projector|projector|connector|aligner|merger|resampler"
    r"|resampler_model|embed_vision|layerwise_projectors|spatial_projectors|visual_embeddings_table"
    r"|vision_embed_tokens|abstractor|adapter|image_projection|patch_merger|perceiver_resampler|qformer"
    r"|language_projection|deepstack_merger_list|vision_projection|visual_projection|pre_mm_projector_norm)$"
)
"""Names of modules that bring vision features to the width of the decoder, beside the tower or in it."""

ATTENTION = re.compile(r"Attention$|Attn$|DeltaNet$|Conv$|ShortConv|Mixer$|Mamba")
"""Names of classes that mix positions: attention, and what stands in its place in hybrid decoders."""

FEED_FORWARD = re.compile(r"^(mlp|feed_forward|block_sparse_moe|moe|ffn|experts)$")
"""Names of the part of a decoder layer that works on each position by itself."""


def text_of(config: Any) -> Any:
    """Return the configuration of the language model; of its first layer where layers have their own."""
    text = config.get_text_config(decoder=True)
    layers = getattr(text, "per_layer_config", None)
    return layers[0] if layers else text


def decoder_of(model: Any) -> Any:
    """Return the language model without its head, which ``get_decoder`` of BLIP-2 leaves on."""
    found = model.get_decoder()
    headed = hasattr(found, "get_output_embeddings") and found.get_output_embeddings() is not None
    return found.base_model if headed else found


def tower(model: Any) -> Any | None:
    """Return the vision tower, or None for a model that has none."""
    base = model.base_model
    found = base.get_encoder(modality="image") if hasattr(base, "get_encoder") else None
    if found is None or found is base or found is model:
        named = base.named_children()
        return next((child for name, child in named if re.match(r"vis", name) and _longest(child)), None)
    return found


def projectors(model: Any) -> list[Any]:
    """Return the modules between tower and decoder, in the order of the model; empty if none was found."""
    found = tower(model)
    for owner in (model.base_model, found):
        named = owner.named_children() if owner is not None else ()
        matching = [child for name, child in named if PROJECTORS.match(name) and child is not found]
        if matching:
            return matching
    return []


def vision_layers(model: Any) -> list[Any]:
    """Return the layers of the vision tower: its longest list of modules that hold attention."""
    found = tower(model)
    return _longest(found) if found is not None else []


def inner_merger(model: Any) -> tuple[Any | None, int, int]:
    """Return the module within the tower that merges patches (MiniCPM-V's), after which layer, and how many.

    Without one, it is None, and 1 is merged after the last layer.
    """
    found, vision = tower(model), getattr(model.config, "vision_config", None)
    after, last = getattr(vision, "insert_layer_id", -1), len(vision_layers(model))
    for module in found.children() if found is not None and after >= 0 else ():
        if (window := getattr(module, "window_kernel_size", None)) is not None:
            return module, after, math.prod(window)
    return None, last, 1


def unlike(model: Any) -> str:
    """Say what of a model works otherwise than formulas assume; empty if nothing is known to."""
    known = {id(one) for one in (tower(model), *projectors(model), decoder_of(model))}
    further = [
        name for name, child in model.base_model.named_children()
        if "vision" in name and id(child) not in known and list(child.parameters())
    ]  # fmt: skip
    if further:
        return f"a second vision tower ({', '.join(further)})"
    crossing = [m for m in decoder_of(model).modules() if "CrossAttention" in type(m).__name__]
    return "layers of the decoder that attend to the picture itself" if crossing else ""


def patch_embedding(model: Any) -> Any | None:
    """Return the first module of the tower that reads pixels: a convolution, or a linear layer of patches."""
    from torch import nn

    found = tower(model)
    if found is None:
        return None
    layers = {id(inner) for layer in vision_layers(model) for inner in layer.modules()}
    for module in found.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)) and id(module) not in layers:
            return module
    return None


def attends(layer: Any) -> bool:
    """Return whether a layer holds attention, and not a convolution in its place."""
    return any(re.search(r"Attention$|Attn$", type(module).__name__) for module in layer.modules())


def decoder_layers(decoder: Any) -> list[Any]:
    """Return the layers of a decoder."""
    layers = getattr(decoder, "layers", None)
    return list(layers) if layers is not None else _longest(decoder)


def layer_parts(layer: Any) -> tuple[Any | None, Any | None]:
    """Return the attention (or what stands in its place) and the feed-forward part of a decoder layer."""
    mixing = next((m for _, m in layer.named_children() if ATTENTION.search(type(m).__name__)), None)
    forward = next((m for name, m in layer.named_children() if FEED_FORWARD.match(name)), None)
    return mixing, forward


def places(model: Any) -> tuple[tuple[str, str], ...]:
    """Return patterns of module names, with the part that FLOPs of such a module are counted in."""
    names = {id(module): name for name, module in model.named_modules()}
    decoder, head = decoder_of(model), model.get_output_embeddings()
    made: list[tuple[str, str]] = []

    def add(module: Any, part: str, *, whole: bool = True) -> None:
        if id(module) in names:
            end = r"(\.|$)" if whole else "$"
            made.append((rf"(^|\.){re.escape(names[id(module)])}{end}", part))

    add(head, "head")
    for module in projectors(model):
        add(module, "projector")
    for layer in vision_layers(model):
        for inner in layer.modules():
            if ATTENTION.search(type(inner).__name__):
                add(inner, "vision_scores", whole=False)
    add(tower(model), "vision")
    for layer in decoder_layers(decoder):
        mixing, _ = layer_parts(layer)
        add(mixing, "scores", whole=False)
        add(mixing, "projections")
    add(decoder, "mlp")
    return (*made, (r"", "vision"))


def image_tensors(model: Any) -> Iterator[Tensor]:
    """Yield the weights of tower and projector, each with the name of its parameter as its role."""
    from torch import nn

    projecting = {id(module) for one in projectors(model) for module in one.modules()}
    owners = [one for one in (tower(model), *projectors(model)) if one is not None]
    seen: set[int] = set()
    for module in (module for owner in owners for module in owner.modules()):
        component: Component = "projector" if id(module) in projecting else "vision"
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            kind: Kind = "vector" if parameter.dim() < 2 else "table"
            if name == "weight" and isinstance(module, nn.Linear):
                kind = "linear"
            elif name == "weight" and isinstance(module, (nn.Conv2d, nn.Conv3d)):
                kind = "conv"
            yield Tensor(component=component, role=name, shape=tuple(parameter.shape), kind=kind)


def _longest(module: Any) -> list[Any]:
    """Return the longest list of modules in which each holds attention."""
    from torch import nn

    lists = [
        list(inner)
        for inner in module.modules()
        if isinstance(inner, nn.ModuleList)
        and all(any(ATTENTION.search(type(m).__name__) for m in one.modules()) for one in inner)
    ]
    return max(lists, key=len, default=[])
