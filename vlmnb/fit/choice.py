"""The reader's limits, the GPUs within them, and the best of these by what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from vlmnb.fit.bounds import Bound
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.predict import Prediction
from vlmnb.stats.formatting import format_si
from vlmnb.types import Frozen


class Constraint(Frozen):
    """The reader's limits; None: no limit.

    Attributes:
        vram_gib: Most memory in GiB, as on the label of a card.
    """

    vram_gib: float | None = None
    price_usd: float | None = None
    power_w: float | None = None

    def _limited(self, gpu: Gpu) -> list[tuple[str, float, float | None]]:
        """Return what is limited, the limit and the figure of a GPU."""
        limits = {"memory": self.vram_gib, "price": self.price_usd, "power limit": self.power_w}
        figures = (gpu.memory_gib, gpu.price_usd, gpu.power_w)
        pairs = zip(limits.items(), figures, strict=True)
        return [(name, limit, value) for (name, limit), value in pairs if limit is not None]

    def exceeded(self, gpu: Gpu) -> bool:
        """Return whether a known figure of a GPU is above a limit."""
        return any(value is not None and value > limit for _, limit, value in self._limited(gpu))

    def unknown(self, gpu: Gpu) -> str:
        """Name the limited figures of a GPU that are unknown, or return an empty text."""
        return " and ".join(name for name, _, value in self._limited(gpu) if value is None)

    @property
    def words(self) -> str:
        """Return the limits as text, or an empty text."""
        given = ((self.vram_gib, "GiB"), (self.price_usd, "USD"), (self.power_w, "W"))
        return ", ".join(f"{limit:g} {unit}" for limit, unit in given if limit is not None)


class GpuFit(Frozen):
    """One GPU under the load.

    Attributes:
        free_bytes: Memory left over; negative where it does not fit.
        uncertain: That is less than the overhead, which is assumed.
        largest_batch: Samples that fit at one time; 0 if not one does.
        obstacle: Why the tool does not run there, or empty.
        refusal: Why there is no prediction, or empty.
    """

    gpu: Gpu
    fits: bool
    free_bytes: float
    uncertain: bool
    largest_batch: int
    obstacle: str
    bound: Bound
    prediction: Prediction | None
    refusal: str

    @property
    def runs(self) -> bool:
        """Return whether it fits and no obstacle is known."""
        return self.fits and not self.obstacle


What = Literal["cheapest", "fastest", "least energy"]


class Best(Frozen):
    """The best GPU in one respect, or the reason why none can be named."""

    what: What
    gpu: str | None
    why: str

    def noted(self, note: str) -> Best:
        """Return it with a note behind its reason."""
        return self.model_copy(update={"why": self.why + note})


class LeftOut(Frozen):
    """How many GPUs may or may not be within the limits, because a figure is unknown, and how many run it."""

    unknown: str
    vendors: tuple[str, ...]
    gpus: int
    running: int


def within(rows: Iterable[GpuFit], limits: Constraint) -> tuple[list[GpuFit], tuple[LeftOut, ...]]:
    """Return the GPUs within the limits, and those left out because a figure is unknown."""
    kept: list[GpuFit] = []
    wanting: dict[str, list[GpuFit]] = {}
    for row in rows:
        if limits.exceeded(row.gpu):
            continue
        unknown = limits.unknown(row.gpu)
        (wanting.setdefault(unknown, []) if unknown else kept).append(row)
    left = tuple(
        LeftOut(
            unknown=name, vendors=tuple(dict.fromkeys(row.gpu.vendor for row in found)), gpus=len(found),
            running=sum(row.runs for row in found),
        )
        for name, found in wanting.items()
    )  # fmt: skip
    return kept, left


def best(
    rows: Sequence[GpuFit],
    limits: Constraint,
    left_out: Sequence[LeftOut] = (),
    obstacle: str = "",
    stored: str = "",
) -> tuple[Best, ...]:
    """Return the cheapest, the fastest and the most economical GPU that runs it, by what is known.

    The rows keep within the limits; the GPUs left out may or may not. An obstacle is why nothing runs it
    anywhere; ``stored`` is the quantization, for the reason why none runs it.
    """
    running = [row for row in rows if row.runs]
    if running:
        unpriced, close = sum(one.running for one in left_out), {r.gpu.title for r in running if r.uncertain}
        named = _cheapest(running, unpriced), _fastest(running), _thriftiest(running)
        return tuple(one.noted("; it fits just about" * (one.gpu in close)) for one in named)
    how = f" as {stored}" * bool(stored)
    why = obstacle or f"no GPU of the catalogue runs it{how}"
    if limits.words and not obstacle:
        why = f"none of the {len(rows)} GPUs within {limits.words} runs it{how}"
        if not rows:
            why = f"no GPU of the catalogue is known to keep within {limits.words}"
    return tuple(Best(what=what, gpu=None, why=why) for what in ("cheapest", "fastest", "least energy"))


def _cheapest(running: Sequence[GpuFit], left_out: int) -> Best:
    priced = [(row.gpu.price_usd, row.gpu) for row in running if row.gpu.price_usd is not None]
    if not priced:
        return Best(what="cheapest", gpu=None, why="the catalogue has no price of any GPU that runs it")
    price, gpu = min(priced, key=lambda pair: pair[0])
    unpriced = len(running) - len(priced) + left_out
    why = f"{price:.0f} USD, of {len(priced)} with a known price; {unpriced} more that run it are without one"
    return Best(what="cheapest", gpu=gpu.title, why=why)


def _fastest(running: Sequence[GpuFit]) -> Best:
    predicted = [(p.latency_s, p.latency_error, row.gpu) for row in running if (p := row.prediction)]
    if predicted:
        return _lowest("fastest", ("s", "per batch"), predicted, len(running))
    complete = [row for row in running if row.bound.compute_known]
    if not complete:
        why = "no GPU that runs it has a prediction or a known matrix rate"
        return Best(what="fastest", gpu=None, why=why)
    row = min(complete, key=lambda one: one.bound.total_s)
    why = (
        f"by its lower bound of {format_si(row.bound.total_s, 's', 3)} per batch, the least of "
        f"{len(complete)} with a known matrix rate; {len(running)} run it, and none has a prediction"
    )
    return Best(what="fastest", gpu=row.gpu.title, why=why)


def _thriftiest(running: Sequence[GpuFit]) -> Best:
    predicted = [(p, row.gpu) for row in running if (p := row.prediction)]
    joules = [(p.energy_j_per_sample, p.energy_error, gpu) for p, gpu in predicted]
    counted = [(value, error, gpu) for value, error, gpu in joules if value is not None]
    if counted:
        return _lowest("least energy", ("J", "per sample"), counted, len(running))
    why = "no record has counted joules" if predicted else "there is no prediction"
    return Best(what="least energy", gpu=None, why=why)


def _lowest(
    what: What, unit: tuple[str, str], found: Sequence[tuple[float, float | None, Gpu]], running: int
) -> Best:
    """Name the GPU of the lowest prediction, and those that its error cannot distinguish from the best.

    ``found`` has the prediction, its relative error (None: unknown) and the GPU.
    """
    value, error, best = min(found, key=lambda one: one[0])
    most = value * (1 + (error or 0.0))
    rivals = sorted((v, gpu.name) for v, e, gpu in found if gpu != best and v * (1 - (e or 0.0)) <= most)
    names = [name for _, name in rivals]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    ties = f"; within these errors also {', '.join(names[:3])}{more}" if names else ""
    shown = "unknown" if error is None else f"{100 * error:.0f} %"
    why = (
        f"predicted {format_si(value, unit[0], 3)} {unit[1]}, error {shown} on held-out records; "
        f"of {len(found)} with a prediction among {running} that run it{ties}"
    )
    return Best(what=what, gpu=best.title, why=why)
