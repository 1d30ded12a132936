"""FLOPs of a forward pass by two counters, fvcore and torch, set up so that they count the same thing.

A FLOP is one floating-point operation: a multiply-add is two. Counted are matrix products, convolutions
and attention; norms, activations and other elementwise work, a few thousandths, are left out.

Counters go by shapes, so products of matrices are not computed while they count: zeros of the right shape
stand for them. A count of a large model takes little time and needs no values of its weights.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vlmnb.flops import flop_count
from vlmnb.flops.flop_count import FlopCount
from vlmnb.models.family import PLACES

T = TypeVar("T")

COMPUTED = {getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm")}
"""Products of matrices whose last two arguments are the matrices, as torch runs them."""

PRODUCTS = ("addmm", "bmm", "conv", "einsum", "linear", "matmul", "mm")
"""Operators that fvcore counts in multiply-adds, two FLOPs each. Others, such as layer norm, it counts in
operations, and ``set_op_handle(name=None)`` does not switch off a rule that it has."""


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
        by_torch, *notes = attempt("torch", lambda: watch(lambda: model(**inputs, use_cache=False)))
        traced, note = attempt("fvcore", lambda: _count_fvcore(model, inputs))
    by_fvcore, unsupported = traced or (None, {})
    totals, parts = {"torch": by_torch, "fvcore": by_fvcore}, {}
    notes.append(note)
    for way, found in totals.items():
        if found:
            parts[f"prefill_{way}"], note = attempt(
                f"{way} by phase", partial(flop_count.split, found, places)
            )
            notes.append(note)
    return FlopCount(
        **{way: found[""] if found else None for way, found in totals.items()},
        unsupported_ops=unsupported,
        note="; ".join(filter(None, notes)),
        **parts,
    )


def count_call(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Count one call of a part of a model by torch's counter; return None if it cannot be counted.

    Attention is counted in the implementation that is set: set it to eager before.
    """
    totals, _ = attempt("torch", lambda: watch(lambda: module(*args, **kwargs)))
    return totals[""] if totals else None


def watch(work: Callable[[], Any]) -> dict[str, int]:
    """Return torch's count of each module while a work runs, its children included; the total is ``""``.

    Convolutions that a module computes by their weights alone (short ones over the text) are like a child.
    """
    counter = FlopCounterMode(display=False)
    shapes: Any = _SHAPES()
    with torch.no_grad(), shapes, counter:
        work()
    counts = {"" if name == "Global" else name: ops for name, ops in counter.get_flop_counts().items()}
    convolved = {
        name: int(sum(n for op, n in ops.items() if "conv" in str(op))) for name, ops in counts.items()
    }
    inside = {f"{name}.convolution": n for name, n in flop_count.own(convolved).items() if n}
    return {"": 0, **{name: int(sum(ops.values())) for name, ops in counts.items()}, **inside}


class _Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives zeros of the right shape in place of products of matrices."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in COMPUTED:
            return func(*args, **(kwargs or {}))
        left, right = args[-2:]
        return left.new_zeros((*left.shape[:-1], right.shape[-1]))


_SHAPES: Any = _Shapes
"""The same, for mypy: torch's class has no types."""


@contextlib.contextmanager
def _shapes_but_of_convolutions(model: nn.Module) -> Iterator[None]:
    """Compute no products of matrices within the block; convolutions would be lost to torch's tracing."""
    mode: Any = _SHAPES()
    hooks = []

    def leave(module: Any, args: Any) -> None:
        mode.__exit__(None, None, None)

    def enter(module: Any, args: Any, output: Any) -> None:
        mode.__enter__()

    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            hooks += [module.register_forward_pre_hook(leave), module.register_forward_hook(enter)]
    try:
        with mode:
            yield
    finally:
        for hook in hooks:
            hook.remove()


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


def _count_fvcore(model: nn.Module, inputs: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Return FLOPs of modules as ``watch`` does, and the operators left out."""
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import conv_flop_count, get_shape

    def padded_by_name(given: list[Any], made: list[Any]) -> dict[str, int]:
        shapes = (get_shape(value) for value in (*given[:2], made[0]))
        return {"conv": conv_flop_count(*shapes)}

    def added_to(given: list[Any], made: list[Any]) -> dict[str, int]:
        return {"bmm": math.prod(get_shape(given[1])) * get_shape(given[2])[-1]}

    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    fixed = {name: value for name, value in inputs.items() if name not in tensors}
    with torch.no_grad(), _shapes_but_of_convolutions(model):
        analysis = FlopCountAnalysis(_LogitsOf(model, tuple(tensors), fixed), tuple(tensors.values()))
        analysis.set_op_handle("aten::_convolution_mode", padded_by_name)  # as SigLIP's, padding="valid"
        analysis.set_op_handle("aten::baddbmm", added_to)  # nn.MultiheadAttention with a mask, as Aria's
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        modules = {
            module: 2 * int(sum(ops[name] for name in PRODUCTS))
            for module, ops in analysis.by_module_and_operator().items()
        }
        return modules, dict(sorted(analysis.unsupported_ops().items()))


def attempt(what: str, count: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return count(), ""
    except Exception as error:  # a count is extra: the measurement goes on without it
        first_line = str(error).strip().split("\n", maxsplit=1)[0]
        return None, f"{what} could not count: {type(error).__name__}: {first_line}"


@contextlib.contextmanager
def quiet(model: nn.Module, experts: str = "eager") -> Iterator[None]:
    """Set eager attention, evaluation mode and silence for the time of a count.

    Args:
        model: A model of transformers, or a part of one.
        experts: How experts are computed meanwhile, where transformers offers several ways: both counters
            miss grouped products (``grouped_mm``), which it takes by itself.
    """
    modes = [(module, module.training) for module in model.modules()]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), _counted_ways(model, experts):
            warnings.simplefilter("ignore")
            model.eval()
            for parameter in learned:  # torch's counter fails where a module is given one (Idefics2)
                parameter.requires_grad = False
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter in learned:
            parameter.requires_grad = True
        logging.disable(disabled)


@contextlib.contextmanager
def _counted_ways(model: Any, experts: str) -> Iterator[None]:
    """Set eager attention and a way of experts in every part of the model, afterwards each part's own."""
    if not hasattr(model, "config"):
        yield
        return
    attention = _attention(model.config)
    before = model.get_experts_implementation() if hasattr(model, "get_experts_implementation") else {}
    try:
        model.set_attn_implementation("eager")
        if any(before.values()):
            model.set_experts_implementation(experts)
        yield
    finally:
        model.set_attn_implementation(attention)
        if any(before.values()):
            model.set_experts_implementation(before)


def _attention(config: Any) -> dict[str, Any]:
    """Return the attention of a configuration and its parts, as ``set_attn_implementation`` takes it.

    A part without parts of its own has a plain name: transformers 5.17 takes no other.
    """
    parts = {name: getattr(config, name, None) for name in config.sub_configs}
    return {
        "": config._attn_implementation,
        **{
            name: _attention(part) if part.sub_configs else part._attn_implementation
            for name, part in parts.items()
            if part
        },
    }
