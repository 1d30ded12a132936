"""FLOPs of the vision side from the module tree and the tensors that the processor made.

A linear layer takes 2 rows inputs outputs FLOPs, attention scores 4 rows positions width, where each row
attends to so many positions: all of its image, or its window. Source of these products: Kaplan et al. 2020,
section 2.1 (https://arxiv.org/abs/2001.08361).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vlmnb.models.architecture import ImageFlops
from vlmnb.models.generic import structure

PIXELS = ("pixel_values", "image_patches")
GRIDS = ("image_grid_thw", "grid_thw", "image_grid_hws", "target_sizes", "image_position_ids")
CLASS_TOKENS = ("class_embedding", "cls_token", "class_token")


def count(model: Any, inputs: Mapping[str, Any]) -> ImageFlops:
    """Count tower and projector over one prompt's image.

    Raises:
        ValueError: The tower or its patch embedding was not found, or there are no pixels.
    """
    tower, patching = structure.tower(model), structure.patch_embedding(model)
    pixels = next((inputs[name] for name in PIXELS if name in inputs), None)
    if tower is None or patching is None or pixels is None:
        raise ValueError("the vision tower, its patch embedding or the pixels were not found")
    fan_in, width = math.prod(patching.weight.shape[1:]), int(patching.weight.shape[0])
    rows, images = pixels.numel() // fan_in, _images(inputs, pixels)
    per_image = rows // images + any(hasattr(m, name) for m in tower.modules() for name in CLASS_TOKENS)
    layers = structure.vision_layers(model)
    vision = [2 * per_image * images * _weights(layer) for layer in layers]
    scores = [
        4 * per_image * images * _attended(model, i, per_image) * width * structure.attends(layer)
        for i, layer in enumerate(layers)
    ]
    pooling = _pooling(tower, layers, per_image, images)
    rest = _beside_layers(model, tower, patching, layers, rows, width)
    last = unused_layers(model.config)
    return ImageFlops(
        vision=2 * rows * fan_in * width + sum(vision) + pooling + rest,
        vision_scores=sum(scores),
        projector=_projector(model, inputs, rows * width),
        unused=pooling + (sum(vision[-last:]) + sum(scores[-last:]) if last else 0),
    )


def _images(inputs: Mapping[str, Any], pixels: Any) -> int:
    """Return how many pictures, or tiles of pictures, the tower sees apart from each other."""
    if pixels.dim() >= 4:
        return math.prod(pixels.shape[:-3])
    grid = next((inputs[name] for name in GRIDS if name in inputs), None)
    return len(grid) if grid is not None else 1


def _attended(model: Any, layer: int, per_image: int) -> int:
    """Return to how many positions a patch attends in a layer of the tower."""
    vision = getattr(model.config, "vision_config", None)
    window, full = (getattr(vision, name, None) for name in ("window_size", "fullatt_block_indexes"))
    if vision is None or not window or full is None or layer in full:
        return per_image
    return int(min(per_image, (window // vision.patch_size) ** 2))


def _has_pooling(module: Any) -> bool:
    from torch import nn

    return any(isinstance(child, nn.MultiheadAttention) for child in module.children())


def _pooling(tower: Any, layers: list[Any], per_image: int, images: int) -> int:
    """Count a pooling head (SigLIP's) that runs after the layers and that no image token comes from."""
    from torch import nn

    inside = {id(m) for layer in layers for m in layer.modules()}
    for module in tower.modules():
        heads = [m for m in module.children() if isinstance(m, nn.MultiheadAttention) and id(m) not in inside]
        if heads:
            width = heads[0].embed_dim
            each = 2 * width**2 * (1 + 2 * per_image + 1) + 4 * per_image * width
            mlp = sum(_weights(child) for child in module.children() if child is not heads[0])
            return int(images * (each + 2 * mlp))
    return 0


def _beside_layers(model: Any, tower: Any, patching: Any, layers: list[Any], rows: int, width: int) -> int:
    """Count convolutions and linear layers of the tower that are in none of its other parts.

    A convolution merges as many patches as its stride covers; a linear layer sees all values of the patches.
    """
    from torch import nn

    others = [patching, *layers, *structure.projectors(model)]
    counted = {id(m) for one in others for m in one.modules()}
    counted |= {id(m) for one in tower.modules() if _has_pooling(one) for m in one.modules()} - {id(tower)}
    total = 0
    for module in tower.modules():
        if id(module) in counted:
            continue
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            total += 2 * (rows // math.prod(module.stride)) * module.weight.numel()
        elif isinstance(module, nn.Linear) and not isinstance(
            module, nn.modules.linear.NonDynamicallyQuantizableLinear
        ):
            total += 2 * (rows * width // module.in_features) * module.weight.numel()
    return total


def unused_layers(config: Any) -> int:
    """Return how many layers of the tower run after the last one that is taken (-1 is the last)."""
    taken = getattr(config, "vision_feature_layer", None) or getattr(config, "vision_feature_layers", None)
    last = max(taken) if isinstance(taken, (list, tuple)) else taken
    return -1 - last if isinstance(last, int) and last < 0 else 0


def _weights(module: Any) -> int:
    """Return multiply-adds of a module's linear layers for one row."""
    from torch import nn

    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))


def _projector(model: Any, inputs: Mapping[str, Any], values: int) -> int:
    """Count the projector over ``values`` features: merging patches keeps all, so rows are values by inputs.

    With a grid of patches there is a row for each image token, as for a single matrix (Gemma 3).
    """
    from torch import nn

    taken = getattr(model.config, "vision_feature_layers", None) or getattr(
        model.config, "vision_feature_layer", None
    )
    values *= len(taken) if isinstance(taken, (list, tuple)) else 1
    tokens = int((inputs["input_ids"] == getattr(model.config, "image_token_id", None)).sum())
    by_tokens = tokens and any(name in inputs for name in GRIDS)
    total = 0
    for part in structure.projectors(model):
        if any(structure.ATTENTION.search(type(m).__name__) for m in part.modules()):
            raise ValueError("the projector attends to the features, for which there is no formula")
        for one in part if isinstance(part, nn.ModuleList) else (part,):
            products = [m for m in one.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
            matrices = [p for p in one.parameters(recurse=False) if p.dim() == 2]
            if products:
                merged = isinstance(products[0], nn.Conv2d) or not by_tokens
                rows = values // math.prod(products[0].weight.shape[1:]) if merged else tokens
                total += sum(2 * rows * m.weight.numel() for m in products)
            elif matrices:
                total += sum(2 * tokens * p.numel() for p in matrices)
    return total
