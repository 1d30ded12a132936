"""Give the decoder fewer image tokens than the picture has: encode it, choose or merge, shorten the prompt.

What is not kept is in no tensor: neither in the prompt nor in the mask nor, later, in the cache. Line ends
stay: one follows each row, or each merged row. Where a model counts positions in one row, they are counted
anew; where it has them in time, height and width, kept tokens keep theirs, and the text begins where it would
after the whole picture.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vlmnb.measure.failures import NotApplicable, Unsupported
from vlmnb.measure.loading import Loaded
from vlmnb.models.family import square
from vlmnb.records.parts import VisualTokens
from vlmnb.spec.optimizations.visual_tokens import Reduction


class Reducer:
    """Reduces the image tokens of batches of one cell.

    Attributes:
        seen: How many tokens a picture has and keeps; None before the first batch.
    """

    def __init__(self, loaded: Loaded, reduction: Reduction, seed: int, batches: Sequence[Any]) -> None:
        """Take all batches of the cell in order, so that each question draws by its own number.

        Raises:
            Unsupported: The model takes no images that were encoded before.
        """
        self._loaded, self._reduction, self._seed = loaded, reduction, seed
        self._first: dict[int, int] = {}
        self.seen: VisualTokens | None = None
        number = 0
        for batch in batches:
            self._first[id(batch)] = number
            number += len(batch["input_ids"])
        kind = type(loaded.model)
        taken = inspect.signature(kind.forward).parameters
        if loaded.stepping is not loaded.model or "mm_encoder_outputs" not in taken:
            raise Unsupported(f"{kind.__name__} of transformers takes no encoded images (mm_encoder_outputs)")

    def text(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return tokens and mask of a batch as the decoder gets them, without encoding its images."""
        places = batch["input_ids"] == self._loaded.model.config.image_token_id
        tokens = int(places[0].sum())
        corners = torch.arange(tokens, device=places.device).expand(len(places), -1)
        kept = self._reduction.kept(*self._grid(tokens))
        if self._reduction.side:
            rows, columns = self._grid(tokens)
            side = self._reduction.side
            corners = corners.reshape(-1, rows, columns)[:, ::side, ::side].flatten(1)
        stays = self._stays(batch, corners[:, :kept])
        return {name: _shortened(batch[name], stays) for name in ("input_ids", "attention_mask")}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Encode the images of a batch and return what the model is called with instead of it.

        Raises:
            Unsupported: The images cannot be reduced in this way.
        """
        family, model = self._loaded.family, self._loaded.model
        made, features, attended = self._encoded(batch)
        rows, columns = self._grid(int(features.shape[1]))
        if self._reduction.side:
            features, slots = self._reduction.merged(features, rows, columns)
        else:
            first = self._first.get(id(batch), 0)
            seeds = [self._seed * 1_000_003 + first + i for i in range(len(features))]
            slots = self._reduction.chosen(features, rows, columns, attended, seeds)
            features = features.gather(1, slots[:, :, None].expand(-1, -1, features.shape[-1]))
        stays = self._stays(batch, slots)
        ids = batch["input_ids"]
        reduced = {
            name: _shortened(value, stays)
            for name, value in batch.items()
            if isinstance(value, Tensor) and value.shape == ids.shape
        }
        if (positions := family.image_positions(model, batch)) is not None:
            # transformers puts the text's own count, which makes the causal mask, before the three axes.
            count = (reduced["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
            axes = [_shortened(axis, stays) for axis in positions]
            reduced["position_ids"] = torch.stack([count, *axes])
        return reduced | {"mm_encoder_outputs": {"image": family.with_features(made, features)}}

    @contextlib.contextmanager
    def within_forward(self) -> Iterator[None]:
        """Reduce image tokens in each forward pass of the block, for counters that watch the model's call."""
        family, model = self._loaded.family, self._loaded.model

        def shorten(module: Any, args: Any, given: dict[str, Any]) -> Any:
            known = {name: value for name, value in given.items() if value is not None}
            dropped = family.encoder_inputs(model, known)
            rest = {name: value for name, value in given.items() if name not in dropped}
            return args, rest | self(known)

        hook = model.base_model.register_forward_pre_hook(shorten, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def _encoded(self, batch: Mapping[str, Any]) -> tuple[Any, Tensor, Tensor | None]:
        """Return what the model made of the images, their tokens, and the attention that these get."""
        family, model = self._loaded.family, self._loaded.model
        if self._reduction.way != "attention":
            made, features = family.image_features(model, batch)
        else:
            found: list[Any] = []
            attention, class_token = family.attending(model)

            def keep(module: Any, args: Any, output: Any) -> None:
                found.append(output[1] if isinstance(output, tuple) else None)

            hook = attention.register_forward_hook(keep)
            try:
                made, features = family.image_features(model, batch)
            finally:
                hook.remove()
        if getattr(made, "deepstack_features", None) is not None:
            raise Unsupported("the tower also feeds layers of the decoder, each with all image tokens")
        if self._reduction.way != "attention":
            return made, features, None
        if not found or found[-1] is None:
            raise Unsupported("the vision tower returns no attention weights, which the choice goes by")
        # Weights are images x heads x queries x keys.
        weights = found[-1].mean(dim=1)
        attended = weights[:, 0, 1:] if class_token else weights.mean(dim=1)
        if attended.shape != features.shape[:2]:
            raise Unsupported(
                f"the tower attends to {attended.shape[-1]} patches, and {features.shape[1]} image tokens "
                "reach the decoder: none belongs to a single patch"
            )
        return made, features, attended

    def _grid(self, tokens: int) -> tuple[int, int]:
        rows, columns = square(tokens)
        if why := self._reduction.obstacle(rows, columns):
            raise NotApplicable(f"the optimization {why}")
        return rows, columns

    def _stays(self, batch: Mapping[str, Any], slots: Tensor) -> Tensor:
        """Return which tokens of each prompt stay, given the places among its image tokens that are kept."""
        places = batch["input_ids"] == self._loaded.model.config.image_token_id
        counts = places.sum(dim=1).tolist()
        if len(set(counts)) > 1:
            raise Unsupported("pictures of one batch have different numbers of image tokens")
        where = places.nonzero()[:, 1].view(len(places), -1)
        kept = where.gather(1, slots)
        stays: Tensor = (~places).scatter(1, kept, torch.ones_like(kept, dtype=torch.bool))
        of, beside = counts[0], 0
        if self._loaded.family.line_ends:
            rows, columns = self._grid(of)
            ends = where.view(len(places), rows, columns)[:, :, -1] + 1
            if side := self._reduction.side:
                lost = ends[:, torch.arange(rows, device=ends.device) % side != 0]
                stays = stays.scatter(1, lost, torch.zeros_like(lost, dtype=torch.bool))
            beside = -(-rows // (side or 1))
        self.seen = VisualTokens(kept=slots.shape[1], of=of, beside=beside)
        return stays


def _shortened(values: Tensor, stays: Tensor) -> Tensor:
    """Return those values of each prompt that stay: of every prompt equally many."""
    left: Tensor = values[stays].view(len(values), -1)
    return left
