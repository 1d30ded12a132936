"""The reader's limits, the GPUs within them, and the best of these by what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from vlmnb.fit.bounds import Bound
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.predict import Prediction
from vlmnb.types import Frozen


class Constraint(Frozen):
    """The reader's limits; None: no limit.

    Attributes:
        vram_gib: Most memory in GiB, as on the label of a card.
    """

    vram_gib: float | None = None
    price_usd: float | None = None
    power_w: float | None = None

    def exceeded(self, gpu: Gpu) -> bool:
        """Return whether a known figure of a GPU is above a limit."""
        pairs = (
            (self.vram_gib, gpu.memory_gib),
            (self.price_usd, gpu.price_usd),
            (self.power_w, gpu.power_w),
        )
        return any(limit is not None and value is not None and value > limit for limit, value in pairs)

    def unknown(self, gpu: Gpu) -> str:
        """Name the limited figures of a GPU that are unknown, or return an empty text."""
        pairs = (("price", self.price_usd, gpu.price_usd), ("power limit", self.power_w, gpu.power_w))
        return " and ".join(name for name, limit, value in pairs if limit is not None and value is None)

    def met(self, gpu: Gpu) -> bool:
        """Return whether a GPU is known to be within all limits."""
        return not self.exceeded(gpu) and not self.unknown(gpu)

    @property
    def words(self) -> str:
        """Return the limits as text, or an empty text."""
        given = ((self.vram_gib, "GiB"), (self.price_usd, "USD"), (self.power_w, "W"))
        return ", ".join(f"{limit:g} {unit}" for limit, unit in given if limit is not None)


class GpuFit(Frozen):
    """One GPU under the load.

    Attributes:
        free_bytes: Memory left over; negative where it does not fit.
        largest_batch: Samples that fit at one time; 0 if not one does.
        obstacle: Why the tool does not run there, or empty.
        bound: Least time of a batch.
        prediction: None if there is a reason against one, in `refusal`.
    """

    gpu: Gpu
    fits: bool
    free_bytes: float
    largest_batch: int
    obstacle: str
    bound: Bound
    prediction: Prediction | None
    refusal: str

    @property
    def runs(self) -> bool:
        """Return whether it fits and no obstacle is known."""
        return self.fits and not self.obstacle


class Best(Frozen):
    """The best GPU in one respect, or the reason why none can be named."""

    what: Literal["cheapest", "fastest", "least energy"]
    gpu: str | None
    why: str


class LeftOut(Frozen):
    """GPUs that may or may not be within the limits, because a figure is unknown.

    Attributes:
        unknown: Names of the unknown figures.
        vendors: Vendors of these GPUs.
        gpus: Number of GPUs.
        running: Number of them that run it.
    """

    unknown: str
    vendors: tuple[str, ...]
    gpus: int
    running: int


def within(rows: Iterable[GpuFit], limits: Constraint) -> tuple[list[GpuFit], tuple[LeftOut, ...]]:
    """Return the GPUs within the limits, and those left out because a figure is unknown."""
    kept: list[GpuFit] = []
    wanting: dict[str, list[GpuFit]] = {}
    for row in rows:
        if limits.met(row.gpu):
            kept.append(row)
        elif not limits.exceeded(row.gpu):
            wanting.setdefault(limits.unknown(row.gpu), []).append(row)
    left = tuple(
        LeftOut(
            unknown=name, vendors=tuple(dict.fromkeys(row.gpu.vendor for row in found)), gpus=len(found),
            running=sum(row.runs for row in found),
        )
        for name, found in wanting.items()
    )  # fmt: skip
    return kept, left


def best(
    rows: Sequence[GpuFit], limits: Constraint, left_out: Sequence[LeftOut] = (), obstacle: str = ""
) -> tuple[Best, ...]:
    """Return the cheapest, the fastest and the most economical GPU that runs it, by what is known.

    Args:
        rows: GPUs that keep within the limits.
        limits: The reader's limits.
        left_out: GPUs that may or may not be within them.
        obstacle: Why nothing runs it anywhere, or empty.
    """
    running = [row for row in rows if row.runs]
    if not running:
        why = "no GPU of the catalogue runs it"
        if obstacle:
            why = obstacle
        elif limits.words and not rows:
            why = f"no GPU of the catalogue is known to keep within {limits.words}"
        elif limits.words:
            why = f"none of the {len(rows)} GPUs within {limits.words} runs it"
        return tuple(Best(what=what, gpu=None, why=why) for what in ("cheapest", "fastest", "least energy"))
    return (_cheapest(running, sum(one.running for one in left_out)), _fastest(running), _thriftiest(running))


def _cheapest(running: Sequence[GpuFit], left_out: int) -> Best:
    priced = [(row.gpu.price_usd, row.gpu) for row in running if row.gpu.price_usd is not None]
    if not priced:
        return Best(what="cheapest", gpu=None, why="the catalogue has no price of any GPU that runs it")
    price, gpu = min(priced, key=lambda pair: pair[0])
    unpriced = len(running) - len(priced) + left_out
    why = f"{price:.0f} USD, of {len(priced)} with a known price; {unpriced} more that run it are without one"
    return Best(what="cheapest", gpu=gpu.title, why=why)


def _fastest(running: Sequence[GpuFit]) -> Best:
    predicted = [(row.prediction, row.gpu) for row in running if row.prediction]
    if predicted:
        found, gpu = min(predicted, key=lambda pair: pair[0].latency_s)
        rivals = [(one.latency_s, one.latency_error, part) for one, part in predicted]
        why = (
            f"predicted {found.latency_s:.3g} s per batch, error {100 * found.latency_error:.0f} % on "
            f"held-out records; of {len(predicted)} with a prediction among {len(running)} that run it"
            + _ties(gpu, rivals)
        )
        return Best(what="fastest", gpu=gpu.title, why=why)
    complete = [row for row in running if row.bound.compute_known]
    if not complete:
        return Best(
            what="fastest", gpu=None, why="no GPU that runs it has a prediction or a known matrix rate"
        )
    row = min(complete, key=lambda one: one.bound.total_s)
    why = (
        f"by its lower bound of {row.bound.total_s:.3g} s per batch, of {len(complete)} with a known matrix "
        f"rate among {len(running)} that run it; there is no prediction"
    )
    return Best(what="fastest", gpu=row.gpu.title, why=why)


def _thriftiest(running: Sequence[GpuFit]) -> Best:
    counted = [
        (row.prediction.energy_j_per_sample, row.prediction, row.gpu)
        for row in running
        if row.prediction and row.prediction.energy_j_per_sample is not None
    ]
    if not counted:
        why = (
            "no record has counted joules"
            if any(row.prediction for row in running)
            else "there is no prediction"
        )
        return Best(what="least energy", gpu=None, why=why)
    joules, found, gpu = min(counted, key=lambda one: one[0])
    error = "unknown" if found.energy_error is None else f"{100 * found.energy_error:.0f} %"
    why = (
        f"predicted {joules:.3g} J per sample, error {error} on held-out records; "
        f"of {len(counted)} with a prediction among {len(running)} that run it"
        + _ties(gpu, [(value, one.energy_error or 0.0, part) for value, one, part in counted])
    )
    return Best(what="least energy", gpu=gpu.title, why=why)


def _ties(best: Gpu, rivals: Sequence[tuple[float, float, Gpu]]) -> str:
    """Name the GPUs that the errors of predictions cannot distinguish from the best; empty without any."""
    most = next(value * (1 + error) for value, error, gpu in rivals if gpu == best)
    near = [(value, gpu.name) for value, error, gpu in rivals if gpu != best and value * (1 - error) <= most]
    names = [name for _, name in sorted(near)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"; within these errors also {', '.join(names[:3])}{more}" if names else ""
