"""Generate answers as a cell asks: greedily, of natural or fixed length, with its way of decoding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlmnb.measure import failures
from vlmnb.measure.loading import Loaded
from vlmnb.measure.visual_tokens import Reducer
from vlmnb.meters.readings import ProbeLogits
from vlmnb.records.resolved import Resolved
from vlmnb.spec.cell import Cell

PROBED = 128
"""Logits of a token that a record keeps: enough to see a shift, few enough to be committed."""


@dataclass
class Heard:
    """What a call of ``generate`` showed.

    Attributes:
        logits: Those of the first question's first two new tokens.
        token: The first of these tokens.
        cache_tokens: Positions that the cache held after the second one's pass.
    """

    logits: list[Any] = field(default_factory=list)
    token: int | None = None
    cache_tokens: int | None = None


@dataclass(frozen=True)
class Generator:
    """Calls a model's ``generate``.

    Attributes:
        loaded: The model.
        limits: Arguments for the length of answers.
        decoding: Arguments for the way of decoding.
        caches: Static caches, if the cell's optimization has them.
        reduce: Reduces image tokens, if the cell's optimization does.
        passes: Forward passes over the prompt by a batch's id; those that take one are left out.
        guesses: A pass can yield several tokens.
    """

    loaded: Loaded
    limits: dict[str, Any]
    decoding: dict[str, Any]
    caches: Any | None
    reduce: Reducer | None = None
    passes: Mapping[int, int] = field(default_factory=dict)
    guesses: bool = False

    @classmethod
    def of(cls, resolved: Resolved, loaded: Loaded, inputs: Sequence[Any]) -> Generator:
        """Return the generator of a cell, given its model and the tensors of all its batches."""
        cell, chosen = resolved.cell, resolved.optimization
        reduce = None
        if chosen.reduction:
            reduce = Reducer(loaded, chosen.reduction, cell.seed, inputs)
        texts = [reduce.text(batch) if reduce else batch for batch in inputs]
        lengths = [int(batch["input_ids"].shape[1]) for batch in texts]
        longest, passes = max(lengths), dict[int, int]()
        if chunk := chosen.chunk:
            if loaded.stepping is not loaded.model:
                kind = type(loaded.model).__name__
                raise failures.Unsupported(
                    f"{kind}.generate of transformers hands on what it does not read in chunks"
                )
            passes = {id(batch): -(-size // chunk) for batch, size in zip(inputs, lengths, strict=True)}
        # Answers of natural and of fixed length use caches of one size, so that a compiled step serves both.
        new = max(cell.max_new_tokens, resolved.entry.max_new_tokens)
        caches = chosen.caches(loaded.model, longest + new)
        if loaded.engine:
            loaded.engine.prepare(inputs, longest + new)
        arguments = chosen.arguments(loaded.model)
        return cls(loaded, limits(cell), arguments, caches, reduce, passes, chosen.guesses)

    def __call__(self, batch: Any) -> Any:
        """Return prompts and new tokens of a batch."""
        return self._generate(batch, **self.limits)

    def prompt_passes(self, batch: Any) -> int:
        """Return how many forward passes the prompts of a batch take."""
        return self.passes.get(id(batch), 1)

    def text(self, batch: Any) -> Mapping[str, Any]:
        """Return the tokens and the mask of a batch as the decoder gets them."""
        return self.reduce.text(batch) if self.reduce else batch

    @contextlib.contextmanager
    def heard(self, batch: Any) -> Iterator[Heard]:
        """Listen to a call with a batch within the block: it shows what ``probe`` would need a run for."""
        last, found = self.prompt_passes(batch), Heard()
        passes = 0

        def keep(module: Any, args: Any, output: Any) -> None:
            nonlocal passes
            passes += 1
            if passes in (last, last + 1):
                found.logits.append(output.logits[0, -1].float().clone())
                found.cache_tokens = _held(output.get("past_key_values"))

        hook = self.loaded.stepping.register_forward_hook(keep)
        try:
            yield found
        finally:
            hook.remove()

    def probe(self, batch: Any, heard: Heard | None = None) -> ProbeLogits:
        """Return logits of the first question's first two new tokens, by the prefill and a decoding step.

        Args:
            batch: Whose first question it is.
            heard: What a call with this batch showed; without it, or where a pass yields several tokens or
                the answer ended with its first, the model runs.

        Raises:
            NotMeasured: Some are not numbers.
        """
        import torch

        if self.loaded.engine:
            raise failures.NotMeasured("llama.cpp's package for Python does not hand out logits")
        if heard is None or len(heard.logits) < 2 or self.guesses or heard.token in self._ends():
            two = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False}
            with torch.inference_mode():
                made = self._generate(batch, **two, output_logits=True, return_dict_in_generate=True)
            heard = Heard(
                [logits[0] for logits in made.logits[:2]], int(made.sequences[0, -2]),
                _held(made.past_key_values),
            )  # fmt: skip
        both = torch.stack(heard.logits)
        if wrong := int((~both.isfinite()).sum()):
            raise failures.NotMeasured(
                f"{wrong} of {both.numel()} are not numbers, so answers, scores and lengths mean nothing"
            )
        first, second = (_kept(logits) for logits in both)
        return ProbeLogits(
            vocabulary=both.shape[-1],
            values=first,
            token=heard.token,
            step_values=second,
            cache_tokens=heard.cache_tokens,
        )

    def _ends(self) -> Sequence[int]:
        """Return the tokens that end an answer; what follows one in a batch is padding."""
        end = self.loaded.stepping.generation_config.eos_token_id
        return end if isinstance(end, list) else [end]

    def _generate(self, batch: Any, **arguments: Any) -> Any:
        arguments |= self.decoding
        if self.caches is not None:
            # On a GPU generate would compile by itself; only what the cell asks for is to be compiled.
            arguments |= {
                "past_key_values": self.caches.empty(len(batch["input_ids"])),
                "disable_compile": True,
            }
        if self.loaded.engine:
            return self.loaded.engine.generate(batch, **arguments)
        with failures.calling(batch), self.loaded.configuration.optimization.within():
            given = self.reduce(batch) if self.reduce else batch
            return self.loaded.model.generate(**given, **arguments)


def limits(cell: Cell) -> dict[str, Any]:
    """Return arguments of ``generate``: greedy, and of fixed length if the cell says so."""
    fixed = {"min_new_tokens": cell.max_new_tokens} if cell.length == "fixed" else {}
    return {"max_new_tokens": cell.max_new_tokens, "do_sample": False, **fixed}


def _kept(logits: Any) -> tuple[float, ...]:
    """Return ``PROBED`` evenly spaced logits of a token with six digits."""
    import torch

    places = torch.linspace(0, len(logits) - 1, min(PROBED, len(logits))).round().long()
    return tuple(float(f"{value:.6g}") for value in logits.float().cpu()[places].tolist())


def _held(cache: Any) -> int | None:
    """Return the positions that a cache holds; None without a cache, or with one that does not count them."""
    return int(cache.get_seq_length()) if hasattr(cache, "get_seq_length") else None
