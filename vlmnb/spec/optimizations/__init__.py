"""Optimizations: settings, and names such as ``bf16+sdpa`` that combine them, with one spelling each.

Each module here holds one setting, or a small group of one library, in ``SETTINGS``; a new module is found by
itself. A module whose settings have numbers in their names has a function ``find``. Everything known of a
setting is there, the functions that apply it to a model included; torch and other libraries are imported only
when such a function is called. Read ``setting`` first.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from vlmnb.errors import UserError, nearest
from vlmnb.spec.optimizations.setting import DTYPES as DTYPES
from vlmnb.spec.optimizations.setting import KINDS, Kind, installed
from vlmnb.spec.optimizations.setting import Setting as Setting
from vlmnb.types import Device, Dtype, Frozen

if TYPE_CHECKING:
    from vlmnb.spec.cell import Cell
    from vlmnb.spec.optimizations.visual_tokens import Reduction

BASE_ATTENTION = "eager"

_SHOWN: tuple[Kind, ...] = (
    "precision", "attention", "compilation", "quantization", "decoding", "prefill", "visual_tokens", "engine"
)  # fmt: skip
"""Order of the kinds in the table of the optimization axis."""


@functools.cache
def settings() -> dict[str, Setting]:
    """Return all settings by name: found in the modules of this package, ordered by kind."""
    found = [setting for module in _modules() for setting in getattr(module, "SETTINGS", ())]
    return {setting.name: setting for setting in sorted(found, key=lambda s: _SHOWN.index(s.kind))}


def setting(name: str) -> Setting | None:
    """Return the setting of a name: one of ``settings``, or one that a module finds by its name.

    Raises:
        UserError: A number in the name is wrong.
    """
    if name in settings():
        return settings()[name]
    made = (module.find(name) for module in _modules() if hasattr(module, "find"))
    return next((found for found in made if found), None)


@functools.cache
def _modules() -> list[Any]:
    names = sorted(info.name for info in pkgutil.iter_modules(__path__, f"{__name__}."))
    return [importlib.import_module(name) for name in names]


class Optimization(Frozen):
    """What a name such as ``bf16+sdpa`` means.

    Attributes:
        name: The one spelling of this combination.
        dtype: The precision that the model computes in.
        names: Names of the settings in force, at most one of each kind; the base attention is among them.
    """

    name: str
    dtype: Dtype
    names: tuple[str, ...]

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Return the settings in force."""
        return tuple(found for name in self.names if (found := setting(name)))

    def of(self, kind: Kind) -> str:
        """Return the name of the setting of a kind; empty if there is none.

        A compiled decoder has a static cache, so ``decoding`` is never empty then.
        """
        return next((setting.name for setting in self.settings if setting.kind == kind), "")

    @property
    def tried(self) -> bool:
        """Return whether some library may refuse it, because not every model or machine can do it."""
        return not all(setting.everywhere for setting in self.settings)

    def tools(self) -> dict[str, str]:
        """Return what on this machine decides whether and how it works, packages of settings apart."""
        return {name: found for s in self.settings for name, found in s.tools().items()}

    @property
    def guesses(self) -> bool:
        """Return whether a decoding step can yield several tokens."""
        return any(setting.guesses for setting in self.settings)

    @property
    def static_cache(self) -> bool:
        """Return whether keys and values are in memory of fixed size."""
        return any(setting.caches for setting in self.settings)

    @property
    def cache_type(self) -> str:
        """Return the type that keys and values are stored as; empty for the model's precision."""
        return next((setting.cache_type for setting in self.settings if setting.cache_type), "")

    @property
    def chunk(self) -> int:
        """Return how many tokens of the prompt a forward pass takes; 0 for all of them."""
        return next((setting.chunk for setting in self.settings if setting.chunk), 0)

    @property
    def reduction(self) -> Reduction | None:
        """Return how image tokens are reduced; None if all are kept."""
        return next((setting.reduction for setting in self.settings if setting.reduction), None)

    def kernel(self, own: str) -> str:
        """Describe the attention kernel that a model uses, given transformers' name of it."""
        kind = "engine" if self.of("engine") else "attention"
        return next(s.kernel(own) for s in self.settings if s.kind == kind)

    @contextmanager
    def within(self) -> Iterator[None]:
        """Set up what calls of the model need, for the time of a block."""
        with ExitStack() as stack:
            for setting in self.settings:
                stack.enter_context(setting.within())
            yield

    def arguments(self, model: Any) -> dict[str, Any]:
        """Return further arguments of ``generate``."""
        return {k: v for s in self.settings for k, v in s.arguments(model).items()}

    def caches(self, model: Any, positions: int) -> Any | None:
        """Make the caches that ``generate`` is given; None where it makes its own."""
        return next((s.caches(model, positions) for s in self.settings if s.caches), None)


def tidied(names: Sequence[str], parameter: str) -> list[str]:
    """Return the names in a list parameter without blanks around their settings.

    Raises:
        UserError: One is empty; it must not mean the base configuration.
    """
    made = ["+".join(part.strip() for part in name.split("+")) for name in names]
    if "" in made:
        raise UserError(
            f"{parameter} holds an empty name; name the precision of the base ({', '.join(DTYPES)}), or "
            "leave it out"
        )
    return made


@functools.lru_cache(maxsize=1024)
def parse(name: str, base_dtype: Dtype) -> Optimization:
    """Resolve a name on top of the base configuration (``base_dtype``, eager attention).

    Names with the same meaning get the same spelling, so that one cell is measured once: with an fp32 base,
    ``fp32+sdpa`` and ``sdpa`` are both ``sdpa``, and ``eager`` is ``fp32``. A setting that cannot compute in
    the base precision brings one along that it can, bf16 if possible.

    Raises:
        UserError: A setting is unknown, two are of one kind, or they exclude one another.
    """
    chosen = _chosen(name)
    implied = [(s.name, settings()[s.implies]) for s in chosen.values() if s.implies]
    for by, needed in implied:
        other = chosen.setdefault(needed.kind, needed)
        if other is not needed:
            raise UserError(
                f"optimization {name!r}: {by} needs {needed.name}, which excludes {other.name}; keep one"
            )
    chosen.setdefault("attention", settings()[BASE_ATTENTION])
    named = chosen.pop("precision", None)
    dtype = _precision(name, named.name if named else "", base_dtype, list(chosen.values()))
    ordered = [chosen[kind] for kind in KINDS if kind in chosen]
    unsaid = {BASE_ATTENTION, *(needed.name for _, needed in implied)}
    extra = [s.name for s in ordered if s.name not in unsaid]
    spelled = [dtype] * (dtype != base_dtype or not extra) + extra
    return Optimization(name="+".join(spelled), dtype=dtype, names=tuple(s.name for s in ordered))


def of(cell: Cell) -> Optimization:
    """Return the optimization of a cell."""
    return parse(cell.optimization, cell.dtype)


def _chosen(name: str) -> dict[Kind, Setting]:
    """Return the settings of a name by their kind."""
    chosen = dict[Kind, Setting]()
    for part in name.split("+"):
        if not part:
            raise UserError(f"optimization {name!r}: a setting is missing beside a +")
        found = setting(part)
        if found is None:
            raise UserError(f"unknown optimization {part!r}; {nearest(part, settings())}")
        if found.kind in chosen:
            both = f"{chosen[found.kind].name}, {part}"
            raise UserError(f"optimization {name!r} names two {KINDS[found.kind]} ({both}); keep one")
        chosen[found.kind] = found
    names = [found.name for found in chosen.values()]
    others = [found.name for kind, found in chosen.items() if kind not in ("precision", "engine")]
    if "engine" in chosen and others:
        raise UserError(
            f"optimization {name!r}: {chosen['engine'].name} runs the model outside torch, where "
            f"{' and '.join(others)} cannot change it; keep one"
        )
    for found in chosen.values():
        for other in names:
            if why := found.excludes.get(other):
                raise UserError(
                    f"optimization {name!r}: {found.name} excludes {other}, which {why}; keep one"
                )
    return chosen


def _precision(name: str, named: str, base: Dtype, chosen: Sequence[Setting]) -> Dtype:
    """Return the precision that all settings can compute in: the named one, else the base, else bf16."""
    possible = [dtype for dtype in DTYPES if all(dtype in setting.dtypes for setting in chosen)]
    if not possible:
        limited = " and ".join(s.name for s in chosen if s.dtypes != DTYPES)
        raise UserError(f"optimization {name!r}: {limited} have no precision in common; keep one")
    for wanted in (named, "" if named else base, "" if named else "bf16"):
        if wanted in possible:
            return wanted
    if not named:
        return possible[0]
    limit = next(s for s in chosen if named not in s.dtypes)
    instead = " or ".join(f"{dtype}+{limit.name}" for dtype in limit.dtypes)
    raise UserError(f"optimization {name!r}: {limit.name} does not compute in {named}; write {instead}")


def require(name: str, base_dtype: Dtype) -> None:
    """Raise a UserError if a package that an optimization needs is not installed; none is imported."""
    for setting in parse(name, base_dtype).settings:
        package = setting.package
        if package and not setting.package_optional and not installed(package):
            raise UserError(
                f"optimization {setting.name} needs the package {package}, which is not installed: "
                f"pip install -r requirements.txt -c constraints.txt (or: pip install {package})"
            )


def packages() -> tuple[str, ...]:
    """Return the packages that settings use; their versions are part of every content key."""
    return tuple(dict.fromkeys(s.package for s in settings().values() if s.package))


def obstacle(optimization: Optimization, device: str) -> str:
    """Return why an optimization cannot run on a device, without loading a model; empty if it may."""
    reasons = (setting.obstacle(optimization.dtype, device) for setting in optimization.settings)
    return next(filter(None, reasons), "")


def base_dtype(cpu_dtype: Dtype, device: Device) -> Dtype:
    """Return the base precision: that of the model's entry on a CPU, fp16 on a GPU as in the reports."""
    return "fp16" if device == "cuda" else cpu_dtype


def defaults(base: Dtype) -> list[str]:
    """Return the optimizations that the axis shows, the first being the original.

    The reports' rows come first, then every other setting alone.
    """
    reported = sorted(setting.name for setting in settings().values() if setting.in_reports)
    names = [base, *reported, *settings()]
    return list(dict.fromkeys(parse(name, base).name for name in names))


def at_batches(names: Sequence[str], batch_size: int) -> list[tuple[int, list[str]]]:
    """Return optimizations by the batch size at which they are measured if the user gave none.

    A setting with a largest batch (prompt lookup takes one question at a time) is measured at that size, and
    so is the original again: a comparison of two batch sizes would show the effect of the batch size.
    """
    largest = {name: max(s.largest_batch for s in parse(name, "fp32").settings) for name in names}
    if size := largest[names[0]]:
        return [(size, list(names))]
    found = [(batch_size, [name for name in names if not largest[name]])]
    for size in sorted(set(largest.values()) - {0}):
        found.append((size, [names[0], *(name for name in names if largest[name] == size)]))
    return found


def groups(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Return the cells of the optimization axis that can be compared: groups of one batch size each."""
    sizes = dict.fromkeys(cell.batch_size for cell in cells)
    return [tuple(cell for cell in cells if cell.batch_size == size) for size in sizes]
