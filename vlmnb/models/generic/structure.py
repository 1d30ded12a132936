"""Find the parts of a loaded image-text-to-text model: tower, projector, decoder, layers, attention, head.

transformers' own accessors come first (``get_encoder``, ``get_decoder``, ``get_output_embeddings``); where
they say nothing, module types and the names that transformers gives its modules decide.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from typing import Any

from vlmnb.models.architecture import Component, Kind, Tensor

PROJECTORS = re.compile(
    r"^(multi_modal_projector|multimodal_projector|mm_projector|projector|connector|aligner|merger|resampler"
    r"|resampler_model|embed_vision|layerwise_projectors|spatial_projectors|visual_embeddings_table"
    r"|vision_embed_tokens|abstractor|adapter|image_projection|patch_merger|perceiver_resampler|qformer"
    r"|language_projection|image_to_text_projection|(deepstack_)?merger_list|vision_projection|vision_adapter"
    r"|visual_projection|pre_mm_projector_norm)$"
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
    if headed and found.base_model is found:  # Llama 4's
        return found.model
    return found.base_model if headed else found


def stepping(model: Any) -> Any:
    """Return the module whose forward pass is a step of ``generate``.

    It is the model itself, unless its class has a ``generate`` of its own and holds a model that has one too,
    as BLIP-2 does: that one is then called, and the forward pass of the whole model never runs.
    """
    from transformers import GenerationMixin

    if type(model).generate is GenerationMixin.generate:
        return model
    return next((child for child in model.children() if isinstance(child, GenerationMixin)), model)


def tower(model: Any) -> Any | None:
    """Return the vision tower, or None for a model that has none."""
    base = model.base_model
    found = base.get_encoder(modality="image") if hasattr(base, "get_encoder") else None
    if found is None or found is base or found is model:
        named = base.named_children()
        seeing = (child for name, child in named if re.match(r"vis", name) and _longest(child))
        return next(seeing, getattr(_codebook(base), "encoder", None))
    return found


def _codebook(base: Any) -> Any | None:
    """Return what turns a picture into codes of a vocabulary (Chameleon's, Emu3's)."""
    return getattr(base, "vqmodel", None)


def projectors(model: Any) -> list[Any]:
    """Return the modules between tower and decoder, in the order of the model; empty if none was found."""
    found = tower(model)
    for owner in (model.base_model, found):
        named = owner.named_children() if owner is not None else ()
        matching = [child for name, child in named if PROJECTORS.match(name) and child is not found]
        if matching:
            return matching
    codebook = _codebook(model.base_model)
    return [codebook.quant_conv, codebook.quantize] if codebook is not None else []


def towers(model: Any) -> list[Any]:
    """Return the vision tower, and a second one beside it (DeepSeek-VL's for high resolution)."""
    first, named = tower(model), model.base_model.named_children()
    others = {id(first), *map(id, projectors(model))}
    beside = [one for name, one in named if "vision" in name and id(one) not in others and _longest(one)]
    return [first, *beside] if first is not None else []


def vision_layers(model: Any) -> list[Any]:
    """Return the layers of all vision towers."""
    return [layer for one in towers(model) for layer in layers_of(one)]


def layers_of(found: Any) -> list[Any]:
    """Return the layers of a vision tower: its longest list of modules that hold attention.

    Other lists of the same modules belong to it (the global layers of Llama 3.2 Vision).
    """
    kinds = {type(layer) for layer in _longest(found)}
    return [layer for one in _lists(found) if {type(layer) for layer in one} <= kinds for layer in one]


def encoder(model: Any) -> Any:
    """Return what makes image tokens of pixels: the model's own function, or tower and projector in turn."""
    found: Any = tower(model)
    if (own := getattr(model.base_model, "get_image_features", None)) is not None:
        return own

    @functools.wraps(found.forward)
    def encoded(**tensors: Any) -> Any:
        made = found(**tensors).last_hidden_state
        for module in projectors(model):
            made = module(made)
        return made

    return encoded


def crossed(model: Any) -> int:
    """Return the positions of an image that layers of the decoder attend to themselves; 0 if none do.

    Llama 3.2 Vision's are those of all tiles that an image may have, each with a class token.
    """
    found = tower(model)
    each, tiles = (getattr(found, name, None) for name in ("num_patches", "max_num_tiles"))
    return each * tiles if crossing(decoder_of(model)) and each and tiles else 0


def crossing(decoder: Any) -> int:
    """Return how many layers of a decoder attend to the picture themselves."""
    named = (name for name, inner in decoder.named_modules() if "CrossAttention" in type(inner).__name__)
    return len({re.sub(r"(\.\d+)\..*", r"\1", name) for name in named})


def crossing_note(model: Any) -> str:
    """Say that layers attend to the picture, which then is no part of the prompt; empty if none do."""
    layers, positions = crossing(decoder_of(model)), crossed(model)
    if not layers:
        return ""
    seen = f", at {positions} positions whatever its size" if positions else ""
    return (
        "the prompt has only a mark for the picture; layers of the language model that attend to the picture "
        f"itself (cross-attention): {layers}{seen}"
    )


def keys_of_images(decoder: Any) -> set[Any]:
    """Return the modules of a decoder that make keys and values of images, once for each prompt."""
    crossing = [inner for inner in decoder.modules() if "CrossAttention" in type(inner).__name__]
    named = [getattr(inner, name, None) for inner in crossing for name in ("k_proj", "v_proj")]
    return {module for module in named if module is not None}


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
    known = {
        id(one) for one in (*towers(model), *projectors(model), *high_resolution(model), decoder_of(model))
    }
    further = [
        name for name, child in model.base_model.named_children()
        if "vision" in name and id(child) not in known and list(child.parameters())
    ]  # fmt: skip
    found = tower(model)
    if not vision_layers(model) and not (found and all(map(is_linear, _weighing(found)))):
        return "a vision tower without layers of attention"
    if further:
        return f"further parts of vision ({', '.join(further)})"
    apart = crossing(decoder_of(model)) and not crossed(model)
    return "layers of the decoder that attend to the picture itself" if apart else ""


def is_linear(module: Any) -> bool:
    """Return whether a module is a linear layer."""
    from torch import nn

    return isinstance(module, nn.Linear)


def _weighing(tower: Any) -> list[Any]:
    """Return the modules of a tower that have matrices of their own."""
    return [one for one in tower.modules() if any(p.dim() > 1 for p in one.parameters(recurse=False))]


def high_resolution(model: Any) -> list[Any]:
    """Return what brings a second tower's features to those of the first."""
    return [one for one in model.base_model.children() if type(one).__name__ in HIGH_RESOLUTION]


HIGH_RESOLUTION = ("DeepseekVLSamVisionNeck", "DeepseekVLSamVisionProj")
"""Classes of the neck and the convolutions behind DeepSeek-VL's second tower."""


def patch_embedding(model: Any, found: Any | None = None) -> Any | None:
    """Return the first module of a tower that reads pixels: a convolution, or a linear layer of patches."""
    from torch import nn

    found = found or tower(model)
    if found is None:
        return None
    others = {id(inner) for one in (*layers_of(found), *projectors(model)) for inner in one.modules()}
    for module in found.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)) and id(module) not in others:
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
    for module in towers(model):
        add(module, "vision")
    for layer in decoder_layers(decoder):
        mixing, _ = layer_parts(layer)
        for inner in mixing.modules() if mixing is not None else ():  # what chooses positions scores them
            if inner is mixing or type(inner).__name__.endswith("Indexer"):
                add(inner, "scores", whole=False)
        add(mixing, "projections")
    add(decoder, "mlp")
    return (*made, (r"", "vision"))


def image_tensors(model: Any) -> Iterator[Tensor]:
    """Yield the weights of tower and projector, each with the name of its parameter as its role."""
    from torch import nn

    projecting = {id(module) for one in projectors(model) for module in one.modules()}
    owners = [*towers(model), *projectors(model), *high_resolution(model)]
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
    return max(_lists(module), key=len, default=[])


def _lists(module: Any) -> list[list[Any]]:
    from torch import nn

    return [
        list(inner)
        for inner in module.modules()
        if isinstance(inner, nn.ModuleList)
        and all(any(ATTENTION.search(type(m).__name__) for m in one.modules()) for one in inner)
    ]
