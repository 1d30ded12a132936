"""What the reader has to keep within, which GPUs do, and the best of them from what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from vlmnb.fit.bounds import Bound
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.predict import Prediction
from vlmnb.types import Frozen


class Constraint(Frozen):
    """What the reader has: None where it is no matter.

    Attributes:
        vram_gib: Most memory, in GiB, as cards are labelled.
    """

    vram_gib: float | None = None
    price_usd: float | None = None
    power_w: float | None = None

    def exceeded(self, gpu: Gpu) -> bool:
        """Whether a figure of a GPU that is known lies above a limit."""
        pairs = (
            (self.vram_gib, gpu.memory_gib),
            (self.price_usd, gpu.price_usd),
            (self.power_w, gpu.power_w),
        )
        return any(limit is not None and value is not None and value > limit for limit, value in pairs)

    def unknown(self, gpu: Gpu) -> str:
        """Which limited figures of a GPU are not known, so that it may or may not be within; or empty."""
        pairs = (("price", self.price_usd, gpu.price_usd), ("power limit", self.power_w, gpu.power_w))
        return " and ".join(name for name, limit, value in pairs if limit is not None and value is None)

    def met(self, gpu: Gpu) -> bool:
        """Whether a GPU is known to be within it."""
        return not self.exceeded(gpu) and not self.unknown(gpu)

    @property
    def words(self) -> str:
        """What the reader asked for, or empty."""
        told = ((self.vram_gib, "GiB"), (self.price_usd, "USD"), (self.power_w, "W"))
        return ", ".join(f"{limit:g} {unit}" for limit, unit in told if limit is not None)


class GpuFit(Frozen):
    """One GPU under the load.

    Attributes:
        free_bytes: Memory left over; negative where it does not fit.
        largest_batch: Samples that fit at one time, 0 where not even one does.
        obstacle: Why the tool does not run there, or nowhere, or empty.
        bound: Least time of a batch.
        prediction: None where there is a reason against one, in `refusal`.
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
        """Whether it fits and nothing known stands against it."""
        return self.fits and not self.obstacle


class Best(Frozen):
    """The best GPU in one respect, or why none can be named."""

    what: Literal["cheapest", "fastest", "least energy"]
    gpu: str | None
    why: str


class LeftOut(Frozen):
    """GPUs that are not known to keep within the constraint, nor to exceed it.

    Attributes:
        unknown: The figure that is not known.
        vendors: Whose they are.
        gpus: How many.
        running: How many of them run it.
    """

    unknown: str
    vendors: tuple[str, ...]
    gpus: int
    running: int


def within(rows: Iterable[GpuFit], limits: Constraint) -> tuple[list[GpuFit], tuple[LeftOut, ...]]:
    """The GPUs that keep within the constraint, and how many are left out for want of a figure."""
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
    """The cheapest, the fastest and the thriftiest of the GPUs that run it, from what is known only.

    Args:
        rows: GPUs that keep within the limits.
        limits: What the reader has.
        left_out: GPUs of which that is not known.
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
        return Best(what="fastest", gpu=None, why="there is neither a prediction nor a matrix rate of any")
    row = min(complete, key=lambda one: one.bound.total_s)
    why = (
        f"by its lower bound of {row.bound.total_s:.3g} s per batch, of {len(complete)} with a known matrix "
        f"rate among {len(running)} that run it; there is no prediction"
    )
    return Best(what="fastest", gpu=row.gpu.title, why=why)


def _thriftiest(running: Sequence[GpuFit]) -> Best:
    told = [
        (row.prediction.energy_j_per_sample, row.prediction, row.gpu)
        for row in running
        if row.prediction and row.prediction.energy_j_per_sample is not None
    ]
    if not told:
        why = (
            "no record has counted joules"
            if any(row.prediction for row in running)
            else "there is no prediction"
        )
        return Best(what="least energy", gpu=None, why=why)
    joules, found, gpu = min(told, key=lambda entry: entry[0])
    error = "unknown" if found.energy_error is None else f"{100 * found.energy_error:.0f} %"
    why = (
        f"predicted {joules:.3g} J per sample, error {error} on held-out records; "
        f"of {len(told)} with a prediction among {len(running)} that run it"
        + _ties(gpu, [(value, one.energy_error or 0.0, part) for value, one, part in told])
    )
    return Best(what="least energy", gpu=gpu.title, why=why)


def _ties(best: Gpu, rivals: Sequence[tuple[float, float, Gpu]]) -> str:
    """Others that the errors of predictions do not tell from the best one, in words; empty without any."""
    most = next(value * (1 + error) for value, error, gpu in rivals if gpu == best)
    near = [(value, gpu.name) for value, error, gpu in rivals if gpu != best and value * (1 - error) <= most]
    names = [name for _, name in sorted(near)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"; within these errors also {', '.join(names[:3])}{more}" if names else ""
