"""One answer to "does it fit, and what would it cost": memory, GPUs, bounds, predictions, the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from vlmnb.errors import UserError
from vlmnb.fit import cards, gpus, memory, predict, quantize, roofline, shape, tensors
from vlmnb.fit.cards import Card
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.memory import Claim, Load, Memory
from vlmnb.fit.predict import Observation, Prediction, Refusal
from vlmnb.fit.quantize import Quantization
from vlmnb.fit.roofline import Bound
from vlmnb.fit.shape import Shape
from vlmnb.record import Record
from vlmnb.spec import Frozen


class Constraint(Frozen):
    """What the reader has: None where it is no matter.

    Attributes:
        vram_gib: Most memory, in GiB, as cards are labelled.
    """

    vram_gib: float | None = None
    price_usd: float | None = None
    power_w: float | None = None

    def met(self, gpu: Gpu) -> bool:
        """Whether a GPU is within it; an unknown price or power is not."""
        limits = (
            (self.vram_gib, gpu.memory_gib),
            (self.price_usd, gpu.price_usd),
            (self.power_w, gpu.power_w),
        )
        return all(limit is None or (value is not None and value <= limit) for limit, value in limits)

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
        obstacle: Why the tool does not run there, or empty.
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


class Peak(Frozen):
    """A measured peak of a GPU's allocator beside our estimate."""

    model: str
    key: str
    batch_size: int
    image_size: int
    measured_bytes: int
    estimated_bytes: int


class Fit(Frozen):
    """Everything asked about one model, quantization and load.

    Attributes:
        seen_px: Side of an image as the model sees it, where its processor brings images to a size.
        best: Empty where a single GPU was asked about.
    """

    card: Card
    quantization: Quantization
    load: Load
    constraint: Constraint
    seen_px: int
    memory: Memory
    by_quantization: tuple[Memory, ...]
    weights_by_type: dict[str, tuple[int, float]]
    claims: tuple[Claim, ...]
    peaks: tuple[Peak, ...]
    gpus: tuple[GpuFit, ...]
    best: tuple[Best, ...]


def load_of(
    name: str, *, batch_size: int = 1, image_size: int = 0, text_tokens: int = 0, new_tokens: int = 0
) -> Load:
    """The load of a model; zeros mean its base configuration.

    Raises:
        UserError: There is no such model, or a number is negative.
    """
    entry = shape.of(name).entry
    given = {
        "batch size": batch_size,
        "image size": image_size,
        "text tokens": text_tokens,
        "new tokens": new_tokens,
    }
    for what, value in given.items():
        if value < 0 or (what == "batch size" and value == 0):
            raise UserError(f"{what} is {value}; give a positive number")
    side = image_size or entry.native_image_size or entry.base_image_size
    return Load(
        batch_size=batch_size, image_size=side, text_tokens=text_tokens or entry.seq_lens[0],
        new_tokens=new_tokens or entry.max_new_tokens,
    )  # fmt: skip


def of(
    name: str,
    quantization_name: str,
    load: Load,
    records: Iterable[Record] = (),
    *,
    only: Sequence[Gpu] = (),
    constraint: Constraint | None = None,
) -> Fit:
    """Everything about a model under a load.

    Args:
        name: A model of the registry.
        quantization_name: How its weights are stored.
        load: Batch, image, prompt and answer.
        records: To fit predictions on and to check memory with.
        only: GPUs to look at; empty: the catalogue.
        constraint: What the best GPU must keep within.

    Raises:
        UserError: A name is unknown, or the load exceeds the model's context.
    """
    model, quantization = shape.of(name), quantize.get(quantization_name)
    found = list(records)
    known = predict.observations(found)
    needed = memory.need(model, quantization, load)
    limits = constraint or Constraint()
    rows = [
        _gpu(model, quantization, load, gpu, needed, known)
        for gpu in (only or gpus.catalogue())
        if only or limits.met(gpu)
    ]
    rows.sort(key=lambda row: (not row.runs, row.gpu.memory_gib, row.gpu.name))
    stored = quantize.stored(model, quantization)
    return Fit(
        card=cards.of(model), quantization=quantization, load=load, constraint=limits,
        seen_px=model.side(load.image_size), memory=needed,
        by_quantization=tuple(memory.need(model, other, load) for other in quantize.QUANTIZATIONS.values()),
        weights_by_type=quantize.bits_by_type(stored, tensors.COMPONENTS),
        claims=memory.claims(load) if name == memory.CLAIMED_MODEL else (),
        peaks=tuple(peak for record in found if record.cell.model == name and (peak := _peak(record))),
        gpus=tuple(rows), best=() if only else best(rows, limits),
    )  # fmt: skip


def best(rows: Sequence[GpuFit], limits: Constraint) -> tuple[Best, ...]:
    """The cheapest, the fastest and the thriftiest of the GPUs that run it, from what is known only."""
    running = [row for row in rows if row.runs]
    if not running:
        why = "no GPU of the catalogue runs it"
        if limits.words and not rows:
            why = f"no GPU of the catalogue is known to keep within {limits.words}"
        elif limits.words:
            why = f"none of the {len(rows)} GPUs within {limits.words} runs it"
        return tuple(Best(what=what, gpu=None, why=why) for what in ("cheapest", "fastest", "least energy"))
    return (_cheapest(running), _fastest(running), _thriftiest(running))


def _cheapest(running: Sequence[GpuFit]) -> Best:
    priced = [(row.gpu.price_usd, row.gpu) for row in running if row.gpu.price_usd is not None]
    if not priced:
        return Best(what="cheapest", gpu=None, why="the catalogue has no price of any GPU that runs it")
    price, gpu = min(priced, key=lambda pair: pair[0])
    why = f"{price:.0f} USD, of {len(priced)} with a known price among {len(running)} that run it"
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


def _gpu(
    model: Shape,
    quantization: Quantization,
    load: Load,
    gpu: Gpu,
    needed: Memory,
    known: Sequence[Observation],
) -> GpuFit:
    least = roofline.bound(roofline.work(model, quantization, load), quantization, gpu)
    found = predict.predict(model, quantization, load, gpu, known)
    free = gpu.usable_bytes - needed.total_bytes
    return GpuFit(
        gpu=gpu, fits=free >= 0, free_bytes=free, obstacle=gpu.obstacle(quantization),
        largest_batch=memory.largest_batch(model, needed, load, gpu.usable_bytes), bound=least,
        prediction=found if isinstance(found, Prediction) else None,
        refusal=found.reason if isinstance(found, Refusal) else "",
    )  # fmt: skip


def _peak(record: Record) -> Peak | None:
    """The peak of a GPU record; a CPU's holds Python and its libraries and says nothing of the model."""
    seen = predict.observed(record)
    if seen is None or record.memory is None or record.memory.peak_bytes is None:
        return None
    attention: memory.Attention = "eager" if record.provenance.attention == "eager" else "sdpa"
    ours = memory.need(
        shape.of(record.cell.model), quantize.get(seen.quantization), predict.measured_load(record), attention
    )
    return Peak(
        model=record.cell.model, key=record.key, batch_size=record.cell.batch_size,
        image_size=record.cell.image_size, measured_bytes=record.memory.peak_bytes,
        estimated_bytes=ours.allocated_bytes,
    )  # fmt: skip
