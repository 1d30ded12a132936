"""The language model layer by layer, from the modules that its class builds without memory.

Which layers see a window, share a cache or keep a state is what transformers' own cache makes of the
configuration; how large their matrices are is what the modules have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vlmnb.models.architecture import Component, Kind, Layer, Tensor, key_values
from vlmnb.models.generic import structure

ROLES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "qkv_proj": "attn_qkv",
    "query_key_value": "attn_qkv", "o_proj": "attn_output", "out_proj": "attn_output", "dense": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "gate_up_proj": "ffn_up", "down_proj": "ffn_down",
    "w1": "ffn_gate", "w2": "ffn_down", "w3": "ffn_up",
}  # fmt: skip
"""Names that llama.cpp's rules use, by the names of transformers; others keep their own."""

PASSED = ("num_experts_per_tok", "top_k_experts", "moe_topk", "moe_k", "top_k")
"""Names of the number of experts that a token passes."""

CHUNK = 64
"""Positions that transformers' own code of the gated delta rule takes together."""


def layers(model: Any) -> tuple[Layer, ...]:
    """Return what each layer computes and keeps."""
    text, kinds = structure.text_of(model.config), _cached(model.config)
    decoder = structure.decoder_of(model)
    found = structure.decoder_layers(decoder)
    inside = {id(p) for layer in found for p in layer.parameters()}
    beside = sum(
        p.numel() for m in decoder.modules() for p in m.parameters(recurse=False)
        if id(p) not in inside and type(m).__name__ == "Linear" and p.dim() == 2
    )  # fmt: skip
    crossed = structure.crossed(model)
    made = [
        _layer(layer, text, kinds[number] if number < len(kinds) else None, crossed)
        for number, layer in enumerate(found)
    ]
    # What the decoder multiplies before its layers, as Gemma 4 does, is counted with the first.
    made[:1] = [one.model_copy(update={"mlp": one.mlp + beside}) for one in made[:1]]
    return tuple(made)


def tensors(model: Any) -> Iterator[Tensor]:
    """Yield the weights outside the vision side, each once, with the part of them that a token reads."""
    seen = {id(p) for one in (*structure.towers(model), *structure.projectors(model),
                              *structure.high_resolution(model)) for p in one.parameters()}  # fmt: skip
    text, decoder = structure.text_of(model.config), structure.decoder_of(model)
    numbers = {
        id(module): number
        for number, layer in enumerate(structure.decoder_layers(decoder))
        for module in layer.modules()
    }
    head = model.get_output_embeddings()
    once = structure.keys_of_images(decoder)
    owners: tuple[tuple[Any, Component], ...] = ((decoder, "decoder"), (head, "output"), (model, "other"))
    for owner, component in owners:
        for path, module in owner.named_modules() if owner is not None else ():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    made = _tensor(model, module, path, name, component, text, numbers.get(id(module)))
                    yield made.model_copy(update={"read": 0.0}) if module in once else made


def _tensor(
    model: Any, module: Any, path: str, name: str, component: Component, text: Any, layer: int | None
) -> Tensor:
    from torch import nn

    parameter, role = getattr(module, name), path.rpartition(".")[2] if name == "weight" else name
    kind: Kind = "vector" if parameter.dim() < 2 else "table"
    role, read = ROLES.get(role, role) if parameter.dim() > 1 else role, 1.0
    if isinstance(module, nn.Embedding):
        main = module is model.get_input_embeddings()
        kind, component, role = "embedding", "embedding", "token_embd" if main else role
        read = 1.0 if main else 0.0  # a token reads one row of a further table
    elif isinstance(module, nn.Linear) and name == "weight":
        kind, role = "linear", "output" if component == "output" else role
    if layer is not None:
        read *= _share(module, parameter, path, text) * (_taken_by(path) != "image")
    shape = tuple(parameter.shape)
    return Tensor(component=component, role=role, shape=shape, kind=kind, layer=layer, read=read)


def _layer(layer: Any, text: Any, kind: Any, crossed: int) -> Layer:
    """Count one layer.

    Args:
        layer: The module.
        text: The language model's configuration.
        kind: The layer of transformers' cache that belongs to it, if there is one.
        crossed: Positions of an image that layers of cross-attention attend to.
    """
    mixing, _ = structure.layer_parts(layer)
    inside = set(map(id, mixing.modules())) if mixing is not None else set()
    projections, idle, mlp = 0, 0, {"text": 0, "image": 0, "": 0}
    for path, module in layer.named_modules():
        work = sum(
            int(parameter.numel() * _share(module, parameter, path, text))
            for parameter in module.parameters(recurse=False)
            if _multiplied(module, parameter)
        )
        if mixing is not None and type(module).__name__ == "InklingRelativeLogits":  # for each head
            work *= mixing.num_heads
        if id(module) in inside:
            projections += work
        else:
            if type(module).__name__ == "Llama4TextExperts":  # all of them, on all tokens
                idle += sum(one.numel() for one in module.parameters()) - work
            mlp[_taken_by(path)] += work
    own: dict[str, int] = {"mlp_of_image": mlp[""] + mlp["image"]} if mlp["image"] else {}
    if mixing is not None:
        own |= _linear_attention(mixing)
        if not own.get("scores") and (not own.get("conv_state") or hasattr(mixing, "q_proj")):
            own |= _attention(mixing, text)
            # Inkling convolves keys, values and what a layer adds.
            own |= {"conv_state": _conv_state(layer)} if own.get("conv_state") else {}
        if kind is not None and not _keeps(kind):
            own["kept"] = 0
        window = getattr(kind, "sliding_window", None)
        if own.get("scores") and not own.get("chunk") and isinstance(window, int):
            own["window"] = window
        if crossed and "CrossAttention" in type(mixing).__name__:
            of_image = sum(one.weight.numel() for one in structure.keys_of_images(mixing))
            own |= {"crosses": crossed, "of_image": of_image}
            projections -= of_image
    return Layer(projections=projections, mlp=mlp[""] + mlp["text"] + idle, idle=idle, **own)


def _multiplied(module: Any, parameter: Any) -> bool:
    """Return whether rows are multiplied with a parameter: a linear layer's, router's or convolution's."""
    from torch import nn

    return parameter.dim() >= 2 and not isinstance(module, nn.Embedding)


def _taken_by(path: str) -> str:
    """Return whose tokens pass a part of a layer: ``text``, ``image``, or empty for all."""
    found = re.search(r"(?:^|\.)(text|vision|image)_(?:moe|experts|mlp)(?:\.|$)", path)
    return {"vision": "image"}.get(found[1], found[1]) if found else ""


def _share(module: Any, parameter: Any, path: str, text: Any) -> float:
    """Return the share of a weight that a token passes: of stacked or listed experts, a few."""
    listed = re.search(r"(^|\.)experts\.\d+(\.|$)", path)
    stacked = parameter.dim() == 3 and not hasattr(module, "kernel_size")
    if not (listed or stacked):
        return 1.0
    passed = next((n for n in (getattr(text, name, None) for name in PASSED) if isinstance(n, int)), None)
    experts = parameter.shape[0] if stacked else _experts(text)
    return min(1.0, passed / experts) if passed and experts else 1.0


def _experts(text: Any) -> int:
    names = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
    return next((n for n in (getattr(text, name, None) for name in names) if isinstance(n, int)), 0)


def _keeps(kind: Any) -> bool:
    return type(kind).__name__ != "DummyLayer"


def _cached(config: Any) -> list[Any]:
    """Return the layers of the cache that transformers makes for a model."""
    from transformers import DynamicCache

    return list(DynamicCache(config=config).layers)


_HEADS = ("num_heads", "num_attention_heads", "n_heads")


def _attention(mixing: Any, text: Any) -> dict[str, int]:
    """Return scores and kept numbers of softmax attention; nothing if its heads are not found."""
    heads = next((n for n in (getattr(mixing, name, None) for name in _HEADS) if isinstance(n, int)), None)
    heads = heads or getattr(text, "num_attention_heads", None)
    if not heads:
        return {}
    size = getattr(mixing, "qk_head_dim", None) or getattr(mixing, "head_dim", None) or key_values(text)[1]
    values = getattr(mixing, "v_head_dim", None) or size
    keys, latent = getattr(mixing, "k_proj", None), getattr(mixing, "kv_b_proj", None)
    if latent is not None:
        kept, restored = mixing.kv_a_proj_with_mqa.out_features, latent.weight.numel()
        scores, chooses = heads * (size + values), getattr(mixing, "indexer", None)
        if chooses is not None:  # positions: it keeps keys of its own, scores all and weighs its heads
            kept, scores = kept + chooses.head_dim, scores + chooses.n_heads * (chooses.head_dim + 1)
        return {"scores": scores, "kept": kept, "restored": restored}
    if keys is not None and hasattr(keys, "out_features"):
        second = getattr(mixing, "v_proj", None)
        kept = keys.out_features + (keys if second is None else second).out_features
    else:
        groups = getattr(text, "num_key_value_heads", None) or heads
        kept = groups * (size + values)
    return {"scores": heads * (size + values), "kept": kept}


def _linear_attention(mixing: Any) -> dict[str, int]:
    """Return scores and states of a gated delta rule or a short convolution; nothing for attention."""
    if not (kept := _conv_state(mixing)):
        return {}
    own = {"conv_state": kept}
    key, value = (getattr(mixing, name, None) for name in ("head_k_dim", "head_v_dim"))
    if key and value:
        heads = mixing.num_v_heads
        own |= {
            "scores": heads * (CHUNK * (2 * key + value) + 3 * key * value),
            "chunk": CHUNK,
            "state": heads * key * value,
        }
    return own


def _conv_state(module: Any) -> int:
    """Return the numbers that convolutions over the text keep: as many positions as they see."""
    found = [m for m in module.modules() if type(m).__name__ == "Conv1d"]
    return sum(one.weight.shape[0] * one.weight.shape[-1] for one in found)
