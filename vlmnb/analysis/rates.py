"""The rates of a record as shares of the device's peak rates, and what limits prefill and decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from vlmnb.analysis import matching
from vlmnb.records.parts import Ceilings
from vlmnb.records.record import Record, by_cell
from vlmnb.spec.cell import Cell
from vlmnb.stats import intervals
from vlmnb.types import Frozen

Ends = tuple[float, float] | None
Place = tuple[str, str, str]
"""Hardware, device and precision."""


HALF = 0.5
"""A phase above this share of a peak rate is limited by it; below it, it is not limited by that alone."""

LITTLE = 0.2
"""A phase below this share of both peak rates is limited by neither, whatever the shapes of its products."""

Limit = Literal["arithmetic", "memory", "neither alone", "neither", "not known"]


class Peak(Frozen):
    """The highest rate of a device that any of some records measured.

    Attributes:
        per_s: FLOP/s or B/s.
        other_load: Share of all cores that other processes used in the quietest try; None if not known.
        contaminated: Whether other processes disturbed every try, so that the device may do more.
    """

    per_s: float
    key: str
    method: str
    other_load: float | None
    contaminated: bool


class Peaks(Frozen):
    """The peak rates of one device in one precision."""

    flops: Peak
    memory: Peak


class Rate(Frozen):
    """A rate, or the share of a peak rate, as a fraction.

    Attributes:
        value: From the median time of full batches, without those that background load disturbed.
        ends: Its 95 % interval, from the interval of the time (the peak counts as known); None where there
            are too few batches.
    """

    value: float
    ends: Ends = None

    def over(self, peak: Peak) -> Rate:
        """Return the share of a peak rate."""
        ends = self.ends and (self.ends[0] / peak.per_s, self.ends[1] / peak.per_s)
        return Rate(value=self.value / peak.per_s, ends=ends)


class Rates(Frozen):
    """The rates of a record; None where a part of them was not measured.

    Attributes:
        prefill: Model FLOPs of a batch of prompts, per second until the first token.
        mfu: ``prefill`` as a share of the peak.
        prefill_memory: Bytes of the weights, each read once, per second until the first token, as a share
            of the peak.
        step_bytes: Bytes that a decoding step reads at least: decoder, output head, keys and values.
        decode: ``step_bytes`` per second of a step.
        mbu: ``decode`` as a share of the peak.
        decode_flops: FLOPs of a step per second, as a share of the peak.
    """

    prefill: Rate | None = None
    mfu: Rate | None = None
    prefill_memory: Rate | None = None
    step_bytes: int | None = None
    decode: Rate | None = None
    mbu: Rate | None = None
    decode_flops: Rate | None = None


class Nearest(NamedTuple):
    """The setting whose share of the memory's peak rate is the highest shown, and those it may not exceed."""

    cell: Cell
    mbu: Rate
    alike: list[Cell]


class Phase(NamedTuple):
    """The shares of both peak rates that a phase reaches, and which of them limits it."""

    flops: Rate
    memory: Rate
    limit: Limit


class Bottleneck(NamedTuple):
    """What the rates of some cells show.

    Attributes:
        measured: Number of cells with rates.
        quiet: Cells whose rates no background load disturbed; prefill and decoding are those of the first.
        nearest: The setting with the highest share of the memory's peak rate; None for fewer than two.
    """

    measured: int
    quiet: list[Cell]
    nearest: Nearest | None
    prefill: Phase | None
    decode: Phase | None


def peaks(records: Iterable[Record]) -> dict[Place, Peaks]:
    """Return the peak rates by hardware, device and precision: the best that any of the records measured.

    Copying is equally fast in every precision, so the peak of the memory is the best over all precisions.
    """
    known = [record for record in records if record.ceilings]
    made = {}
    for at in dict.fromkeys(map(_place, known)):
        near = [record for record in known if _place(record)[:2] == at[:2]]
        same = [record for record in near if _place(record) == at]
        made[at] = Peaks(
            flops=_best(same, lambda found: found.flops_per_s),
            memory=_best(near, lambda found: found.bytes_per_s),
        )
    return made


def peaks_of(record: Record, known: dict[Place, Peaks]) -> Peaks | None:
    """Return the peak rates that a record is compared with."""
    return known.get(_place(record))


def rates(record: Record, known: dict[Place, Peaks] | None = None) -> Rates:
    """Return the rates of a record as shares of known peak rates, by default the record's own."""
    top = peaks_of(record, peaks([record]) if known is None else known)
    memory, count = record.memory, record.flops
    first, step, step_bytes = record.ttft_s, _step_s(record), _step_bytes(record)
    prefill, decode = _rate(record.flops_per_batch, first), _rate(step_bytes, step)
    weights = _rate(memory.weights_bytes if memory else None, first)
    step_flops = _rate(count.per_token if count else None, step)
    return Rates(
        prefill=prefill,
        mfu=prefill.over(top.flops) if prefill and top else None,
        prefill_memory=weights.over(top.memory) if weights and top else None,
        step_bytes=step_bytes,
        decode=decode,
        mbu=decode.over(top.memory) if decode and top else None,
        decode_flops=step_flops.over(top.flops) if step_flops and top else None,
    )


def bottleneck(cells: Sequence[Cell], records: Sequence[Record], noise_floor: float = 0.0) -> Bottleneck:
    """Compare the rates of cells that have answers of one kind of length."""
    found = by_cell(records)
    shown = [found[cell] for cell in cells if cell in found and found[cell].status == "ok"]
    known = peaks(shown)
    tops = [(record, top) for record in shown if (top := peaks_of(record, known)) and not record.degenerate]
    quiet = {
        record.cell: rates(record, known)
        for record, top in tops
        if not (record.batches_under_load or top.flops.contaminated or top.memory.contaminated)
    }
    first = next(iter(quiet.values()), Rates())
    return Bottleneck(
        measured=len(tops),
        quiet=list(quiet),
        nearest=_nearest(quiet, [record for record, _ in tops if record.cell in quiet], known, noise_floor),
        prefill=_phase(first.mfu, first.prefill_memory),
        decode=_phase(first.decode_flops, first.mbu),
    )


def _nearest(
    quiet: dict[Cell, Rates], records: Sequence[Record], tops: dict[Place, Peaks], noise_floor: float
) -> Nearest | None:
    """Return the cell with the largest share, and those whose shares differ from it by no more than noise.

    Which differ is decided by the cells' own windows where not all took the same turns. By these another cell
    may be the largest: then the two are not told apart.
    """
    compared = [(record.cell, rates(record, tops).mbu) for record in matching.alike(records)]
    known = [(cell, mbu) for cell, mbu in compared if mbu and mbu.ends]
    if len(known) < 2:
        return None
    (cell, best), *others = sorted(known, key=lambda pair: -pair[1].value)
    least = best.ends[0] if best.ends else best.value
    alike = [other for other, mbu in others if mbu.ends and least <= mbu.ends[1] * (1 + noise_floor)]
    shown = [(one, mbu) for one, _ in known if (mbu := quiet[one].mbu)] or [(cell, best)]
    most, share = max(shown, key=lambda pair: pair[1].value)
    return Nearest(most, share, [one for one in (cell, *alike) if one != most])


def _phase(flops: Rate | None, memory: Rate | None) -> Phase | None:
    if flops is None or memory is None:
        return None
    return Phase(flops, memory, _limit(flops, memory))


def _limit(flops: Rate, memory: Rate) -> Limit:
    top = max(flops, memory, key=lambda rate: rate.value)
    if top.value > 1 or not flops.ends or not memory.ends or not top.ends:
        return "not known"
    most = max(flops.ends[1], memory.ends[1])
    if most < LITTLE:
        return "neither"
    if most < HALF:
        return "neither alone"
    if top.ends[0] <= HALF:
        return "not known"
    return "arithmetic" if top is flops else "memory"


def _best(records: list[Record], of: Callable[[Ceilings], float]) -> Peak:
    each = [(record.ceilings, record.key) for record in records if record.ceilings]
    top, key = max(each, key=lambda pair: of(pair[0]))
    quiet = any(found.other_load is not None and not found.contaminated for found, _ in each)
    loads = [found.other_load for found, _ in each if found.other_load is not None]
    return Peak(
        per_s=of(top),
        key=key,
        method=top.method,
        other_load=min(loads, default=None),
        contaminated=not quiet and any(found.contaminated for found, _ in each),
    )


def _place(record: Record) -> Place:
    return record.hardware, record.cell.device, record.cell.dtype


def _rate(work: int | None, seconds: intervals.Summary | None) -> Rate | None:
    if not work or seconds is None or not seconds.median:
        return None
    known = seconds.confidence >= intervals.ENOUGH and seconds.low > 0
    return Rate(
        value=work / seconds.median, ends=(work / seconds.high, work / seconds.low) if known else None
    )


def _step_s(record: Record) -> intervals.Summary | None:
    """Return the seconds of a pass of the decoder.

    Per pass and not per token: with guessed tokens a pass reads the weights once for several tokens.
    """
    timing = record.timing
    if timing is None or not timing.decode_s or not all(timing.decode_steps):
        return None
    each = tuple(s / passes for s, passes in zip(timing.decode_s, timing.decode_steps, strict=True))
    full = record.of_full_batches(each)
    return intervals.median_interval(full) if full else None


def _step_bytes(record: Record) -> int | None:
    """Return the bytes of the weights and, as a mean over steps, of the keys and values that a step reads.

    A record has the size of the keys and values at the last token; they grow by one token per step.
    """
    memory = record.memory
    if memory is None or not memory.decode_weights_bytes:
        return None
    steps = record.timing.decode_steps if record.timing and record.cell.length == "natural" else ()
    cache, new = memory.cache_bytes or 0, max(steps) + 1 if steps else record.cell.max_new_tokens
    prompt = max((answer.text_tokens + answer.image_tokens for answer in record.answers), default=0)
    if prompt and new > 1:
        cache = round(cache * (prompt + new / 2) / (prompt + new - 1))
    return memory.decode_weights_bytes + cache
