"""FLOPs of a forward pass by two counters, fvcore and torch, set up so that they count the same thing.

A FLOP is one floating-point operation: a multiply-add is two. Counted are matrix products, convolutions
and attention; norms, activations and other elementwise work, a few thousandths, are left out.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vlmnb.flops import flop_count
from vlmnb.flops.flop_count import FlopCount, Parts
from vlmnb.models.family import PLACES

T = TypeVar("T")

FLOPS_PER_MAC = 2
"""fvcore counts a multiply-add as one, everybody else here as two."""

PRODUCTS = frozenset({"addmm", "bmm", "conv", "einsum", "linear", "matmul", "mm"})
"""Operators that fvcore counts in multiply-adds. It counts others (layer norm and the like) in operations,
and ``set_op_handle(name=None)`` does not switch off a rule that it has."""


def count_forward(
    model: nn.Module, inputs: Mapping[str, Any], places: Sequence[tuple[str, str]] = PLACES
) -> FlopCount:
    """Count the prompt's forward pass (prefill) of a batch, with logits for every position.

    Attention is counted in its eager form and restored afterwards: both counters miss the two matrix
    products of the fused attention kernels, at least on a CPU (pytorch/pytorch#195460). Pass the plain
    model: the counters do not see the products of a quantized or compiled one.

    fvcore traces the model, and tracing drops what does not reach the result. A vision layer whose output is
    not taken (LLaVA's last, ``vision_feature_layer=-2``) runs, torch counts it, and fvcore does not.

    Args:
        model: A model of transformers.
        inputs: What its processor made of a batch; values that are not tensors are passed on as they are.
        places: Patterns of module names, with the part that they belong to; a family has them.
    """
    with quiet(model):
        counter, torch_note = attempt("torch", lambda: watch(lambda: model(**inputs, use_cache=False)))
        traced, fvcore_note = attempt("fvcore", lambda: _count_fvcore(model, inputs))
    by_fvcore, modules, unsupported = traced if traced is not None else (None, {}, {})
    split: list[Parts | None] = []
    notes = [torch_note, fvcore_note]
    for name, totals in (("torch", flop_count.totals_of(counter) if counter else {}), ("fvcore", modules)):
        parts, note = attempt(f"{name} by phase", partial(flop_count.split, totals, places))
        split.append(parts if totals else None)
        notes.append(note)
    return FlopCount(
        fvcore=by_fvcore,
        torch=int(counter.get_total_flops()) if counter else None,
        unsupported_ops=unsupported,
        note="; ".join(text for text in notes if text),
        prefill_torch=split[0],
        prefill_fvcore=split[1],
    )


def count_call(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Count one call of a part of a model by torch's counter; return None if it cannot be counted.

    Attention is counted in the implementation that is set: set it to eager before.
    """
    counter, _ = attempt("torch", lambda: watch(lambda: module(*args, **kwargs)))
    return int(counter.get_total_flops()) if counter else None


def watch(work: Callable[[], Any]) -> FlopCounterMode:
    """Return torch's counter after it has watched a work."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        work()
    return counter


class _LogitsOf(nn.Module):
    """A model in the form that tracing needs: tensors in by position, one tensor out."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], fixed: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self._names = names
        self._fixed = dict(fixed)

    def forward(self, *tensors: Tensor) -> Tensor:
        named = dict(zip(self._names, tensors, strict=True))
        logits: Tensor = self.model(**named, **self._fixed, use_cache=False, return_dict=True).logits
        return logits


def _count_fvcore(model: nn.Module, inputs: Mapping[str, Any]) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return the total, FLOPs by module, and operators left out."""
    from fvcore.nn import FlopCountAnalysis

    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    fixed = {name: value for name, value in inputs.items() if name not in tensors}
    wrapped = _LogitsOf(model, tuple(tensors), fixed)
    with torch.no_grad():
        analysis = FlopCountAnalysis(wrapped, tuple(tensors.values()))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        modules = {
            f"root.{module}".rstrip("."): FLOPS_PER_MAC * int(sum(ops[name] for name in PRODUCTS))
            for module, ops in analysis.by_module_and_operator().items()
        }
        return modules["root"], modules, dict(sorted(analysis.unsupported_ops().items()))


def attempt(what: str, count: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return count(), ""
    except Exception as error:  # a count is extra: the measurement goes on without it
        first_line = str(error).strip().split("\n", maxsplit=1)[0]
        return None, f"{what} could not count: {type(error).__name__}: {first_line}"


@contextlib.contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Set eager attention, evaluation mode and silence for the time of a count."""
    modes = [(module, module.training) for module in model.modules()]
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), _eager_attention(model):
            warnings.simplefilter("ignore")
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        logging.disable(disabled)


@contextlib.contextmanager
def _eager_attention(model: Any) -> Iterator[None]:
    """Set eager attention in every part of the model, and afterwards each part's own again."""
    # The parts may differ, so one name for all of them could not restore them.
    before = [(config, config._attn_implementation) for config in _configs(model)]
    try:
        if before:
            model.set_attn_implementation("eager")
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def _configs(model: nn.Module) -> list[Any]:
    """Return every configuration within the model once, those of its parts included."""
    found: dict[int, Any] = {}
    waiting: list[Any] = [module.config for module in model.modules() if hasattr(module, "config")]
    while waiting:
        config = waiting.pop()
        if id(config) not in found and hasattr(config, "_attn_implementation"):
            found[id(config)] = config
            waiting += [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return list(found.values())
