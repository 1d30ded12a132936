"""One answer to "does it fit, and what would it cost": memory, GPUs, bounds, predictions, the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast, get_args

from vlmnb.errors import UserError, nearest
from vlmnb.fit import bounds, choice, gpus, memory, model_facts, predict, quantize, shape
from vlmnb.fit.choice import Best, Constraint, GpuFit, LeftOut
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.memory import Attention, Claim, Load, Memory
from vlmnb.fit.model_facts import Card
from vlmnb.fit.predict import Observation, Prediction
from vlmnb.fit.quantize import Quantization
from vlmnb.fit.shape import Shape
from vlmnb.models.entry import NAMED_FAMILY
from vlmnb.records.record import Record
from vlmnb.types import Frozen


class Peak(Frozen):
    """A measured peak of a GPU's allocator, and our estimate."""

    model: str
    key: str
    batch_size: int
    image_size: int
    measured_bytes: int
    estimated_bytes: int


class OwnMemory(Frozen):
    """The answer for the memory that the reader named.

    Attributes:
        others: Quantizations that would run in it.
        sure: Those of them that leave as much free as is assumed for driver and allocator.
    """

    vram_gib: float
    runs: bool
    free_bytes: float
    uncertain: bool
    others: tuple[str, ...]
    sure: tuple[str, ...]


class Fit(Frozen):
    """The answer about one model, quantization and load.

    Attributes:
        seen_px: Side of an image that the model sees.
        eager_bytes: Activations if transformers computes eager attention.
        obstacles: Why nothing runs the model, by quantization; only quantizations that nothing runs.
        own: The answer for the memory that the reader named, or None.
        left_out: GPUs that may or may not be within the constraint.
        best: Empty if one GPU was asked about.
    """

    card: Card
    quantization: Quantization
    load: Load
    constraint: Constraint
    seen_px: int
    eager_bytes: int
    memory: Memory
    by_quantization: tuple[Memory, ...]
    obstacles: dict[str, str]
    own: OwnMemory | None
    weights_by_type: dict[str, tuple[int, float]]
    claims: tuple[Claim, ...]
    peaks: tuple[Peak, ...]
    gpus: tuple[GpuFit, ...]
    left_out: tuple[LeftOut, ...]
    best: tuple[Best, ...]

    @property
    def shown(self) -> tuple[Memory, ...]:
        """Return the rows of the table of memory: without what no tool converts the model to."""
        if self.card.family != NAMED_FAMILY:
            return self.by_quantization
        gone = self.obstacles.keys() - {self.quantization.name}
        return tuple(one for one in self.by_quantization if one.quantization not in gone)

    @property
    def obstacle(self) -> str:
        """Return why nothing runs it under the quantization asked for, or an empty text."""
        return self.obstacles.get(self.quantization.name, "")


MOST = 1_000_000
"""The largest number that is accepted."""


def load_of(
    name: str, *, batch_size: int = 1, image_size: int = 0, text_tokens: int = 0, new_tokens: int = 0,
    context: int = 0, attention: str = "sdpa",
) -> Load:  # fmt: skip
    """Return the load of a model; zeros mean its base configuration.

    Raises:
        UserError: There is no such model or attention, or a number is negative or above ``MOST``.
    """
    entry, known = shape.of(name).entry, get_args(Attention)
    if attention not in known:
        raise UserError(f"unknown attention {attention!r}; {nearest(attention, known)}")
    load = Load(
        batch_size=batch_size, image_size=image_size or entry.image_size,
        text_tokens=text_tokens or entry.seq_lens[0], new_tokens=new_tokens or entry.max_new_tokens,
        context=context, attention=cast(Attention, attention),
    )  # fmt: skip
    for name, value in load.model_dump(exclude={"attention"}).items():
        what = name.replace("_", " ")
        if value < 0 or (value == 0 and name != "context"):
            raise UserError(f"{what} is {value}; give a positive number")
        if value > MOST:
            raise UserError(f"{what} is more than {MOST}; give a smaller number")
    return load


def of(
    name: str, quantization_name: str, load: Load, records: Iterable[Record] = (), *,
    only: Sequence[Gpu] = (), constraint: Constraint | None = None,
) -> Fit:  # fmt: skip
    """Answer everything about a model under a load; predictions are fitted on the records.

    Without ``only``, all GPUs of the catalogue are looked at.

    Raises:
        UserError: A name is unknown, or the load exceeds the model's context.
    """
    model, quantization, limits = shape.of(name), quantize.get(quantization_name), constraint or Constraint()
    card, found = model_facts.of(model), list(records)
    known = predict.observations(found)
    memories = {
        kind.name: memory.need(model, kind, load.under(model, kind))
        for kind in quantize.QUANTIZATIONS.values()
    }
    seen, needed = load.under(model, quantization), memories[quantization.name]
    eager = load.model_copy(update={"attention": "eager"})
    obstacles = {
        kind.name: reason
        for kind in quantize.QUANTIZATIONS.values()
        if (reason := quantize.obstacle(model, kind))
    }
    by_type = quantize.bits_by_type(quantize.stored(model, quantization))
    every = [_gpu(model, quantization, seen, gpu, needed, known) for gpu in (only or gpus.catalogue())]
    rows, left_out = (every, ()) if only else choice.within(every, limits)
    rows.sort(key=lambda row: (not row.runs, row.gpu.old, row.gpu.memory_gib, row.gpu.name))
    return Fit(
        card=card, quantization=quantization, load=load, constraint=limits,
        seen_px=model.side(seen.image_size), memory=needed,
        eager_bytes=memory.activations_bytes(model, eager),
        by_quantization=tuple(memories.values()), obstacles=obstacles,
        own=_own(limits.vram_gib, needed, memories, obstacles),
        weights_by_type={kind: (stored.weights, stored.bits) for kind, stored in by_type.items()},
        claims=_claims(model, card, load),
        peaks=tuple(peak for record in found if record.cell.model == name and (peak := _peak(record))),
        gpus=tuple(rows), left_out=left_out,
        best=() if only
        else choice.best(rows, limits, left_out, obstacles.get(quantization.name, ""), quantization.name),
    )  # fmt: skip


def _own(
    vram_gib: float | None, needed: Memory, memories: Mapping[str, Memory], obstacles: Mapping[str, str]
) -> OwnMemory | None:
    if vram_gib is None:
        return None
    have = vram_gib * 2**30
    fitting = [name for name, one in memories.items() if one.total_bytes <= have and name not in obstacles]
    others = tuple(name for name in fitting if name != needed.quantization)
    left = have - needed.total_bytes
    return OwnMemory(
        vram_gib=vram_gib, runs=needed.quantization in fitting, free_bytes=left,
        uncertain=abs(left) < memory.OVERHEAD_BYTES, others=others,
        sure=tuple(name for name in others if memories[name].total_bytes + memory.OVERHEAD_BYTES <= have),
    )  # fmt: skip


def _gpu(
    model: Shape, quantization: Quantization, load: Load, gpu: Gpu, needed: Memory,
    known: Sequence[Observation],
) -> GpuFit:  # fmt: skip
    least = bounds.bound(bounds.work(model, quantization, load), quantization, gpu)
    found = predict.predict(model, quantization, load, gpu, known)
    free = gpu.usable_bytes - needed.total_bytes
    return GpuFit(
        gpu=gpu, fits=free >= 0, free_bytes=free, uncertain=abs(free) < memory.OVERHEAD_BYTES, 
        obstacle=quantize.obstacle(model, quantization) or gpu.obstacle(quantization),
        largest_batch=memory.largest_batch(model, quantization, load, gpu.usable_bytes), bound=least,
        prediction=found if isinstance(found, Prediction) else None,
        refusal=found if isinstance(found, str) else "",
    )  # fmt: skip


def _peak(record: Record) -> Peak | None:
    """Return the peak of a GPU record; a CPU's includes Python and its libraries."""
    seen = predict.observed(record)
    if seen is None or record.memory is None or record.memory.peak_bytes is None:
        return None
    load = predict.measured_load(record)
    ours = memory.need(shape.of(record.cell.model), quantize.get(seen.quantization), load)
    return Peak(
        model=record.cell.model, key=record.key, batch_size=record.cell.batch_size,
        image_size=record.cell.image_size, measured_bytes=record.memory.peak_bytes,
        estimated_bytes=ours.total_bytes - ours.overhead_bytes,
    )  # fmt: skip


def _claims(model: Shape, card: Card, load: Load) -> tuple[Claim, ...]:
    known = card.published
    return memory.claims(model, known.memory_claimed, known.parameters_claimed, load) if known else ()
