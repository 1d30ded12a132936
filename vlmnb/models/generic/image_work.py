"""FLOPs of the vision side from the module tree and the tensors that the processor made.

A linear layer takes 2 rows inputs outputs FLOPs, attention scores 4 rows positions width, where each row
attends to so many positions: all of its image, or its window. Source of these products: Kaplan et al. 2020,
section 2.1 (https://arxiv.org/abs/2001.08361).
"""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

from vlmnb.models.architecture import ImageFlops
from vlmnb.models.generic import structure

PIXELS = ("pixel_values", "image_patches")
HIGH_RESOLUTION = "high_res_pixel_values"
CROPS = ("pixel_values_local", "num_local_patches")
"""Crops that the same tower sees after the whole pictures (Step-3.7's), and how many each picture has."""
GRIDS = ("image_grid_thw", "grid_thw", "image_grid_hws", "target_sizes", "image_position_ids",
         "spatial_shapes")  # fmt: skip
CLASS_TOKENS = ("class_embedding", "cls_token", "class_token")


def count(model: Any, inputs: Mapping[str, Any]) -> ImageFlops:
    """Count tower and projector over one prompt's image.

    Raises:
        ValueError: The tower or its patch embedding was not found, there are no pixels, or the model has
            parts for which there is no formula.
    """
    tower, patching = structure.tower(model), structure.patch_embedding(model)
    pixels = next((inputs[name] for name in PIXELS if name in inputs), None)
    if tower is None and pixels is not None and structure.projectors(model):  # patches go to the decoder
        (first, *_) = structure.projectors(model)
        return ImageFlops(projector=2 * pixels.numel() * first.weight.shape[0])
    if tower is None or patching is None or pixels is None:
        raise ValueError("the vision tower, its patch embedding or the pixels were not found")
    if unlike := structure.unlike(model):
        raise ValueError(f"there is no formula for {unlike}")
    seen = [*zip(structure.towers(model), (pixels, inputs.get(HIGH_RESOLUTION)), strict=False)]
    if (crops := inputs.get(CROPS[0])) is not None:
        seen.append((tower, crops))
    first, *others = [_tower(model, found, inputs, values) for found, values in seen]
    patches = _rows(patching, pixels) // structure.inner_merger(model)[2]
    routed = inputs.get("moe_mm_token_type_ids")
    crossed = math.prod(pixels.shape[:-4]) if structure.crossed(model) else 0
    made = first.model_copy(
        update={
            "projector": _projector(model, inputs, patches, int(patching.weight.shape[0])),
            "routed": int((routed > 0).sum()) if routed is not None else 0,
            "crossed": crossed,
        }
    )
    for one in others:
        made = made.plus(one)
    return made


def _tower(model: Any, tower: Any, inputs: Mapping[str, Any], pixels: Any) -> ImageFlops:
    """Count one tower over the pixels that it is given, without the projector."""
    patching: Any = structure.patch_embedding(model, tower)
    fan_in, width = math.prod(patching.weight.shape[1:]), int(patching.weight.shape[0])
    rows = _rows(patching, pixels)
    marked = any(hasattr(m, name) for m in tower.modules() for name in CLASS_TOKENS)
    images = _images(inputs, pixels, rows, marked)
    known = inputs.get("image_grid_thw")
    grids = known if known is not None and len(known) == len(images) else [None] * len(images)
    layers = structure.layers_of(tower)
    if not layers:
        return ImageFlops(vision=_chained(tower, pixels.numel()))
    merger, after, merged = structure.inner_merger(model)
    vision, scores = [], []
    for number, layer in enumerate(layers):
        seen = [patches // merged if number > after else patches for patches in images]
        mixing = structure.layer_parts(layer)[0]
        mixed = _weights(mixing) if mixing is not None else 0
        attending = zip(seen, grids, strict=True)
        groups = [one for patches, grid in attending for one in _groups(model, layer, number, patches, grid)]
        vision.append(2 * sum(seen) * (_weights(layer) - mixed) + 2 * mixed * sum(groups))
        relative = hasattr(mixing, "rel_pos_h")  # then queries are multiplied with positions on both axes
        pairs = sum(one * (one + relative * math.isqrt(one)) for one in groups)
        scores.append(4 * pairs * width * structure.attends(layer))
    pooling = sum(_pooling(tower, layers, patches) for patches in images)
    rest = _beside_layers(model, tower, patching, layers, rows, width)
    rest += 4 * sum(images) * merged * width * (merger is not None)  # its attention, within what it merges
    rest += sum(_averaging(model, tower, patches, width) for patches in images)
    if tower is not structure.tower(model):
        rest += _to_first(model, rows)
    last = unused_layers(model.config)
    return ImageFlops(
        vision=2 * rows * fan_in * width + sum(vision) + pooling + rest,
        vision_scores=sum(scores),
        unused=pooling + (sum(vision[-last:]) + sum(scores[-last:]) if last else 0),
    )


def _rows(patching: Any, pixels: Any) -> int:
    """Return the patches that a module makes of pixels; a convolution leaves out what fills no patch."""
    kernel = getattr(patching, "kernel_size", None)
    if kernel is None or pixels.dim() < 4 or len(kernel) != 2:
        return int(pixels.numel() // math.prod(patching.weight.shape[1:]))
    sides = zip(pixels.shape[-2:], kernel, patching.stride, strict=True)
    each = math.prod((side - size) // step + 1 for side, size, step in sides)
    return int(math.prod(pixels.shape[:-3]) * each)


def _chained(tower: Any, values: int) -> int:
    """Count a tower of linear layers alone (Inkling's), each of which folds values of neighbours together."""
    total = 0
    for module in (one for one in tower.modules() if structure.is_linear(one)):
        rows = values // module.in_features
        total, values = total + 2 * rows * module.weight.numel(), rows * module.out_features
    return total


def _to_first(model: Any, rows: int) -> int:
    """Count what brings a second tower's features to the first's (DeepSeek-VL's neck and convolutions).

    The features of one layer pass a neck, as those of the last do in the tower; both are brought to four
    times the patches of the first tower along a side, and pass the same two convolutions of stride 2.
    """
    neck, behind = structure.high_resolution(model)
    total, side = 2 * rows * _weights(neck), 4 * behind.output_size
    for module in (behind.conv1, behind.conv2):
        side //= module.stride[0]
        total += 2 * 2 * side**2 * module.weight.numel()
    return total


def _images(inputs: Mapping[str, Any], pixels: Any, rows: int, marked: bool) -> list[int]:
    """Return the positions of each picture, or tile of a picture, that the tower sees apart from the others.

    Llama 3.2 Vision sees all tiles of a picture together, each filled up to a multiple of 8.
    """
    if "aspect_ratio_mask" in inputs:
        tile = rows // math.prod(pixels.shape[:-3]) + marked
        return [pixels.shape[-4] * -(-tile // 8) * 8] * math.prod(pixels.shape[:-4])
    grid = next((inputs[name] for name in GRIDS if name in inputs), None)
    if grid is not None and grid.dim() == 2 and int(grid.prod(-1).sum()) == rows:
        return [int(patches) + marked for patches in grid.prod(-1)]
    count = len(grid) if grid is not None else 1
    if pixels.dim() > 2:  # images, or crops of them, of patches (Molmo 2) or of pixels
        count = math.prod(pixels.shape[:-3]) if pixels.dim() > 3 else len(pixels)
    return [rows // count + marked] * count


def _groups(model: Any, layer: Any, number: int, patches: int, grid: Any) -> list[int]:
    """Return the groups of positions of one image that a layer of the tower lets attend within themselves.

    Windows that a layer itself has (SAM's) are filled up at the edges; those of a configuration
    (Qwen2.5-VL's) or a tower (Muse Spark's) are not.
    """
    side, own = math.isqrt(patches), getattr(layer, "window_size", None)
    if isinstance(own, int) and own > 0:
        return [own**2] * (-(-side // own)) ** 2
    vision, tower = getattr(model.config, "vision_config", None), structure.tower(model)
    window = getattr(vision, "window_size", None) or getattr(tower, "window_size", None)
    full, kinds = (getattr(vision, name, None) for name in ("fullatt_block_indexes", "layer_types"))
    whole = number in full if full is not None else not kinds or "window" not in kinds[number]
    if vision is None or not isinstance(window, int) or whole or grid is None:
        return [patches]
    frames, *sides = map(int, grid)
    merge = getattr(vision, "spatial_merge_size", 1)
    step = window // vision.patch_size // merge * merge
    rows, columns = ([min(step, length - at) for at in range(0, length, step)] for length in sides)
    return [height * width for height in rows for width in columns] * frames


def _averaging(model: Any, tower: Any, patches: int, width: int) -> int:
    """Count an average over squares of patches that is computed as a product with a matrix (Gemma 4's)."""
    side = getattr(getattr(model.config, "vision_config", None), "pooling_kernel_size", 1)
    pools = any(re.search(r"Pooler$", type(m).__name__) and not list(m.parameters()) for m in tower.modules())
    return 2 * patches * (patches // side**2) * width if pools and side > 1 else 0


def _has_pooling(module: Any) -> bool:
    from torch import nn

    return any(isinstance(child, nn.MultiheadAttention) for child in module.children())


def _pooling(tower: Any, layers: list[Any], per_image: int) -> int:
    """Count for one image a pooling head (SigLIP's): it runs last, and no image token comes from it."""
    from torch import nn

    inside = {id(m) for layer in layers for m in layer.modules()}
    for module in tower.modules():
        heads = [m for m in module.children() if isinstance(m, nn.MultiheadAttention) and id(m) not in inside]
        if heads:
            width = heads[0].embed_dim
            each = 2 * width**2 * (1 + 2 * per_image + 1) + 4 * per_image * width
            mlp = sum(_weights(child) for child in module.children() if child is not heads[0])
            return int(each + 2 * mlp)
    return 0


def _beside_layers(model: Any, tower: Any, patching: Any, layers: list[Any], rows: int, width: int) -> int:
    """Count convolutions and linear layers of the tower that are in none of its other parts.

    Convolutions merge as many patches as their strides cover; a linear layer sees all values of the patches.
    """
    from torch import nn

    others = [patching, *layers, *structure.projectors(model)]
    counted = {id(m) for one in others for m in one.modules()}
    counted |= {id(m) for one in tower.modules() if _has_pooling(one) for m in one.modules()} - {id(tower)}
    total = 0
    for parent in tower.modules():
        before, outputs, left = 0, 0, rows  # rows and width of the linear layer before, patches not merged
        for module in parent.children():
            if id(module) in counted:
                continue
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                left //= math.prod(module.stride)
                total += 2 * left * module.weight.numel()
            elif isinstance(module, nn.Linear) and not isinstance(
                module, nn.modules.linear.NonDynamicallyQuantizableLinear
            ):
                before = before if outputs == module.in_features else rows * width // module.in_features
                outputs = module.out_features
                total += 2 * before * module.weight.numel()
    return total


def unused_layers(config: Any) -> int:
    """Return how many layers of the tower run after the last one that is taken (-1 is the last)."""
    taken = getattr(config, "vision_feature_layer", None) or getattr(config, "vision_feature_layers", None)
    last = max(taken) if isinstance(taken, (list, tuple)) else taken
    return -1 - last if isinstance(last, int) and last < 0 else 0


def _weights(module: Any) -> int:
    """Return multiply-adds of a module's linear layers, and of convolutions of stride 1, for one row."""
    from torch import nn

    products = (nn.Linear, nn.Conv1d, nn.Conv2d)
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, products))


def _projector(model: Any, inputs: Mapping[str, Any], patches: int, width: int) -> int:
    """Count the projector over the features of patches: merging keeps all, so rows are features by inputs.

    Convolutions merge as many as their strides cover. With a grid of patches, linear layers have a row for
    each image token, as a single matrix has (Gemma 3).
    """
    from torch import nn

    taken = getattr(model.config, "vision_feature_layers", None) or getattr(
        model.config, "vision_feature_layer", None
    )
    values = patches * width * (len(taken) if isinstance(taken, (list, tuple)) else 1)
    mark = getattr(model.config, "image_token_id", None)
    tokens = int((inputs["input_ids"] == mark).sum()) if mark is not None else 0
    # Mistral 3 leaves out what fills no square; Llama 4's tower ends with fewer, wider rows.
    merges = hasattr(model.config, "spatial_merge_size") or hasattr(
        getattr(model.config, "vision_config", None), "pixel_shuffle_ratio"
    )
    by_tokens = tokens and (merges or any(name in inputs for name in (*GRIDS, *CROPS)))
    if crossed := structure.crossed(model):
        tokens, by_tokens = crossed * math.prod(inputs["pixel_values"].shape[:-4]), True
    total, parts = 0, structure.projectors(model)
    if any(structure.ATTENTION.search(type(m).__name__) for part in parts for m in part.modules()):
        return _as_it_runs(_with_memory(model), inputs)
    for part in parts:
        for one in part if isinstance(part, nn.ModuleList) else (part,):
            skipped = _other_ways(one, values, tokens)
            products: list[Any] = [
                m for m in one.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and id(m) not in skipped
            ]
            matrices = [p for p in one.parameters(recurse=False) if p.dim() == 2]
            if products and isinstance(products[0], nn.Conv2d):
                rows, ends = patches, _line_ends(one, inputs, products[0])
                for m in products:
                    rows //= math.prod(m.stride) if isinstance(m, nn.Conv2d) else 1
                    total += 2 * (rows + ends * isinstance(m, nn.Linear)) * m.weight.numel()
            elif products:
                rows, after = tokens if by_tokens else values // products[0].in_features, None
                midway = by_tokens and products[0].in_features == width  # MiniMax M3's merges between layers
                for m in reversed(products):
                    if midway and after is not None and after.in_features > m.out_features:
                        rows *= after.in_features // m.out_features
                    total, after = total + 2 * rows * m.weight.numel(), m
            elif matrices:
                total += sum(2 * tokens * p.numel() for p in matrices)
    return total


def _with_memory(model: Any) -> Any:
    """Return a model that runs: one on the meta device again, in memory that nothing fills."""
    import torch
    from transformers import initialization

    if model.device.type != "meta":
        return model
    with torch.device("cpu"), initialization.no_init_weights():
        return type(model)._from_config(copy.deepcopy(model.config), attn_implementation="eager").eval()


def _as_it_runs(model: Any, inputs: Mapping[str, Any]) -> int:
    """Count a projector that attends (Q-Formers, resamplers) by the rows that pass it as the images run."""
    import torch
    from torch import nn

    total, shapes = 0, dict[int, Any]()

    def passed(module: Any, args: Any, named: Any, output: Any) -> None:
        nonlocal total
        if isinstance(module, nn.MultiheadAttention):
            query, key = (*args, *named.values())[:2]
            width, images = module.embed_dim, query.shape[0]
            rows, keys = query.shape[-2], key.shape[-2]
            total += images * 4 * (width**2 * (rows + keys) + rows * keys * width)
        elif isinstance(module, nn.Linear):
            shapes[id(module)] = output.shape
            total += 2 * output.numel() * module.in_features
        else:
            query, key = (shapes[id(child)] for child in queries_and_keys(module))
            total += 4 * query.numel() * key[-2]

    def queries_and_keys(module: Any) -> list[Any]:
        named = dict(module.named_children())
        if any(isinstance(child, nn.MultiheadAttention) for child in named.values()):
            return []  # which attends in its place
        pairs = (("q_proj", "k_proj"), ("query", "key"))
        return next(([named[q], named[k]] for q, k in pairs if q in named and k in named), [])

    hooks = [
        module.register_forward_hook(passed, with_kwargs=True)
        for part in structure.projectors(model)
        for module in part.modules()
        if isinstance(module, (nn.Linear, nn.MultiheadAttention))
        or (
            queries_and_keys(module)
            and not any(isinstance(m, nn.MultiheadAttention) for m in module.children())
        )
    ]
    features = structure.encoder(model)
    wanted = inspect.signature(features).parameters
    given = {name: value.to(model.device) for name, value in inputs.items() if name in wanted}
    try:
        with torch.no_grad():
            features(**{n: v.to(model.dtype) if v.is_floating_point() else v for n, v in given.items()})
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _line_ends(part: Any, inputs: Mapping[str, Any], first: Any) -> int:
    """Return the vectors that a projector puts at the ends of lines, after its convolutions."""
    grid = inputs.get("image_grid_thw")
    if grid is None or not any("newline" in name for name, _ in part.named_parameters(recurse=False)):
        return 0
    return int((grid[:, 0] * (grid[:, 1] // first.stride[0])).sum())


def _other_ways(part: Any, values: int, tokens: int) -> set[int]:
    """Return the modules of a projector's ways that an image does not take, if it has several (Granite
    Docling's, coarse and fine): the way taken makes as many tokens as there are."""
    from torch import nn

    ways = [child for child in part.children() if hasattr(child, "scale_factor")]
    firsts = [next(m for m in way.modules() if isinstance(m, nn.Linear)) for way in ways]
    return {
        id(m)
        for way, first in zip(ways, firsts, strict=True)
        if len(ways) > 1 and values // first.in_features != tokens
        for m in way.modules()
    }
