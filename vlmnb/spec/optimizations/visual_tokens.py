"""Fewer image tokens for the decoder: some of the encoded ones are kept, or neighbours are merged.

``visual_tokens-N-WAY`` keeps N image tokens, ``visual_tokens-N%-WAY`` a share of them in percent, for lists
that serve models with different numbers. ``visual_tokens-pool2x2`` merges squares of 2 x 2, which decides on
the number. ``random`` and ``grid`` look at neither picture nor question: any other way must beat them.

Names are read, not listed, so that any number can be asked for; ``SETTINGS`` holds what the optimization axis
shows.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Any

from vlmnb.errors import UserError, nearest
from vlmnb.spec.optimizations.setting import Setting

PREFIX = "visual_tokens-"

WAYS = {
    "random": "drawn at random, anew for each question, from the seed",
    "grid": "spread evenly over the picture",
    "attention": "that the vision tower attends to most",
    "diverse": "that differ most from one another (cosine distance, greedily)",
}
"""Ways to choose tokens, with words for a description. Attention: that of the class token, as VisionZip and
FasterVLM take it (https://arxiv.org/abs/2412.04467). Diverse: the max-min choice of DivPrune
(https://arxiv.org/abs/2503.02175)."""

_POOL = re.compile(r"pool([2-9])x\1")


@dataclass(frozen=True)
class Reduction:
    """How many image tokens are kept, and which.

    Attributes:
        way: One of ``WAYS``, or ``pool``.
        number: Tokens that are kept; 0 if a share or a square decides.
        percent: Share that is kept, of 100.
        side: Side of the squares of tokens that are merged into one.
    """

    way: str
    number: int = 0
    percent: int = 0
    side: int = 0

    def kept(self, rows: int, columns: int) -> int:
        """Return how many tokens of a picture with so many rows and columns of them are kept."""
        if self.side:
            return math.ceil(rows / self.side) * math.ceil(columns / self.side)
        return self.number or max(1, round(rows * columns * self.percent / 100))

    def obstacle(self, rows: int, columns: int) -> str:
        """Return why a picture with so many rows and columns of tokens cannot be reduced; empty if it can."""
        if self.number > rows * columns:
            return f"asks for {self.number} image tokens, and the picture has {rows * columns}"
        if self.side > min(rows, columns):
            return f"merges {self.side} x {self.side} image tokens, and the picture has {rows} x {columns}"
        return ""

    def merged(self, features: Any, rows: int, columns: int) -> tuple[Any, Any]:
        """Return the means of squares of tokens, and the places of their upper left corners, per image.

        At the right and lower edges a square may be cut off; its mean is of what is left.
        """
        import torch

        images, tokens, width = features.shape
        grid = features.transpose(1, 2).reshape(images, width, rows, columns)
        means = torch.nn.functional.avg_pool2d(grid, self.side, ceil_mode=True, count_include_pad=False)
        corners = torch.arange(tokens, device=features.device).reshape(rows, columns)
        corners = corners[:: self.side, :: self.side].reshape(1, -1).expand(images, -1)
        return means.flatten(2).transpose(1, 2), corners

    def chosen(self, features: Any, rows: int, columns: int, attended: Any, seeds: list[int]) -> Any:
        """Return the places of the tokens that are kept, in reading order, a row for each image.

        Args:
            features: Image tokens as the decoder would get them: images x tokens x width.
            attended: How much attention each token gets in the tower: images x tokens; used by ``attention``.
            seeds: One for each image; used by ``random``.
        """
        import torch

        number = self.kept(rows, columns)
        if self.way == "random":
            drawn = [torch.randperm(rows * columns, generator=_generator(seed))[:number] for seed in seeds]
            found = torch.stack(drawn).to(features.device)
        elif self.way == "grid":
            places = torch.tensor([evenly_spaced(rows, columns, number)], device=features.device)
            found = places.expand(len(features), -1)
        elif self.way == "attention":
            found = attended.topk(number).indices
        else:
            found = _diverse(features, number)
        return found.sort(dim=1).values


def evenly_spaced(rows: int, columns: int, number: int) -> list[int]:
    """Return a number of places spread over a grid: evenly spaced rows, in each evenly spaced columns."""
    lines = max(math.ceil(number / columns), min(rows, number, round(math.sqrt(number * rows / columns))))
    found = []
    for i in range(lines):
        row, here = (2 * i + 1) * rows // (2 * lines), number * (i + 1) // lines - number * i // lines
        found += [row * columns + (2 * j + 1) * columns // (2 * here) for j in range(here)]
    return found


def _generator(seed: int) -> Any:
    import torch

    return torch.Generator().manual_seed(seed)


def _diverse(features: Any, number: int) -> Any:
    """Return tokens chosen greedily, each as far as can be from the nearest of those before it."""
    import torch

    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    apart = 1 - unit @ unit.transpose(1, 2)
    every = torch.arange(len(features), device=features.device)
    alone = apart + 3 * torch.eye(apart.shape[1], device=apart.device)  # no token is its own neighbour
    taken = [alone.amin(dim=2).argmax(dim=1)]
    least = apart[every, taken[0]]
    for _ in range(number - 1):
        least = least.scatter(1, taken[-1][:, None], -1.0)
        taken.append(least.argmax(dim=1))
        least = torch.minimum(least, apart[every, taken[-1]])
    return torch.stack(taken, dim=1)


def selection_flops(reduction: Reduction, tokens: int, width: int) -> int:
    """Return the FLOPs of choosing among an image's tokens: the products of all pairs, for ``diverse``."""
    return 2 * tokens**2 * width if reduction.way == "diverse" else 0


@functools.lru_cache(maxsize=1024)
def find(name: str) -> Setting | None:
    """Return the setting of a name; None if it is not one of this module.

    Raises:
        UserError: It begins as one of this module and is none.
    """
    if not name.startswith(PREFIX):
        return None
    amount, _, way = name.removeprefix(PREFIX).rpartition("-")
    if pool := _POOL.fullmatch(way):
        if amount:
            raise UserError(f"{name}: pooling decides how many tokens are left; write {PREFIX}{way}")
        side = int(pool[1])
        return _setting(
            name, Reduction("pool", side=side), f"squares of {side} x {side} merged to their mean"
        )
    if way not in WAYS:
        raise UserError(f"{name}: no way {way!r} to choose image tokens; {nearest(way, [*WAYS, 'pool2x2'])}")
    found = re.fullmatch(r"([1-9]\d*)(%?)", amount)
    if found is None or (found[2] and int(found[1]) > 100):
        raise UserError(
            f"{name}: give a number of image tokens or a share up to 100 %, as in {PREFIX}64-{way} or "
            f"{PREFIX}50%-{way}"
        )
    share = int(found[1]) if found[2] else 0
    reduction = Reduction(way, number=0 if share else int(found[1]), percent=share)
    return _setting(name, reduction, f"{amount.replace('%', ' %')} of the image tokens, those {WAYS[way]}")


def _setting(name: str, reduction: Reduction, description: str) -> Setting:
    without = ("sdpa", "flash_attention_2") if reduction.way == "attention" else ()
    return Setting(
        name=name,
        kind="visual_tokens",
        description=f"fewer image tokens: {description}",
        touches=("prefill", "decode"),
        reduction=reduction,
        excludes=dict.fromkeys(without, "returns no attention weights to choose by"),
    )


SETTINGS = tuple(found for name in ("50%-grid", "pool2x2") if (found := find(f"{PREFIX}{name}")) is not None)
