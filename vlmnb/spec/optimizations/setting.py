"""The type that describes one setting of an optimization."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from vlmnb.types import Dtype

Kind = Literal[
    "precision", "quantization", "attention", "compilation", "decoding", "prefill", "visual_tokens", "engine"
]
Phase = Literal["vision", "prefill", "decode"]

KINDS: dict[Kind, str] = {
    "precision": "precisions",
    "quantization": "quantizations",
    "attention": "kinds of attention",
    "compilation": "ways of compiling",
    "decoding": "ways of decoding",
    "prefill": "ways of reading the prompt",
    "visual_tokens": "reductions of image tokens",
    "engine": "engines",
}
"""Kinds of settings with their plurals, in the order in which a combined name spells them."""

OF_CALLS: tuple[Kind, ...] = ("decoding", "prefill", "visual_tokens")
"""Kinds that concern how a model is called; the others are part of the loaded model."""

DTYPES: tuple[Dtype, ...] = get_args(Dtype)
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class Setting:
    """One setting: what it is, what it needs, and the functions that apply it to a model.

    A module of this package lists its settings in ``SETTINGS``. Its functions import torch and other
    libraries when they are called, never before.

    Attributes:
        name: As it is written in a sweep file; combined with others by ``+``.
        kind: At most one setting of each kind is in force.
        description: Shown on the support page.
        everywhere: Works with every model on every machine; any other setting has to be tried.
        in_reports: Is in the reports' tables, so our table shows it first.
        package: Import name of the package that it needs; its version is part of every content key.
        package_optional: Works without the package too.
        dtypes: Precisions that it computes in.
        implies: Name of another setting that it brings along.
        excludes: Names of settings that it cannot be combined with, each with what the other one does.
        touches: Phases of generation whose work it can change; it cannot save more than they take.
        reduction: How image tokens are reduced; a ``visual_tokens.Reduction``.
        largest_batch: Questions that it can take at a time; 0 for any number.
        guesses: A decoding step can yield several tokens.
        chunk: Tokens of the prompt that a forward pass takes; 0 for all of them.
        cache_type: Type that keys and values are stored as, with a scale of 32 bits for each layer's keys and
            for its values; empty for the model's precision.
        stored_as: The quantization of ``vlmnb.fit`` that stores the weights in the same way.
        tools: Returns versions of programs and packages, ``package`` apart, that decide whether and how it
            works on this machine; part of the content key of its cells.
        obstacle: Returns why it cannot run in a precision on a device, from the names alone; empty if it may.
        prepare: Changes a loaded model in place; takes the model and its device. Left out for an attention
            that transformers has under the same name.
        within: Returns a context in which ``generate`` and forward passes are called.
        kernel: Describes the attention kernel in use, for the record; takes transformers' name of it.
        arguments: Returns further arguments of ``generate`` for a model.
        caches: Makes the caches of a model, for rows of at most so many tokens: an object whose
            ``empty(rows)`` returns the cache for the next call of ``generate``.
    """

    name: str
    kind: Kind
    description: str
    everywhere: bool = False
    in_reports: bool = False
    package: str = ""
    package_optional: bool = False
    dtypes: tuple[Dtype, ...] = DTYPES
    implies: str = ""
    excludes: Mapping[str, str] = field(default_factory=dict)
    touches: tuple[Phase, ...] = PHASES
    reduction: Any = None
    largest_batch: int = 0
    guesses: bool = False
    chunk: int = 0
    cache_type: str = ""
    stored_as: str = ""
    tools: Callable[[], Mapping[str, str]] = dict
    obstacle: Callable[[Dtype, str], str] = lambda dtype, device: ""
    prepare: Callable[[Any, str], None] | None = None
    within: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    kernel: Callable[[str], str] = str
    arguments: Callable[[Any], dict[str, Any]] = lambda model: {}
    caches: Callable[[Any, int], Any] | None = None

    def apply(self, model: Any, device: str) -> None:
        """Change a loaded model in place."""
        if self.prepare:
            self.prepare(model, device)
        elif self.kind == "attention":
            model.set_attn_implementation(self.name)


def installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None
