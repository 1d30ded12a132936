"""What a record reached, and the ceilings that it is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vlmnb.records import background_load
from vlmnb.records.layer_profile import Ceilings
from vlmnb.records.record import Record
from vlmnb.stats import intervals
from vlmnb.types import Frozen
from vlmnb.views.axis_table import ENOUGH

Ends = tuple[float, float] | None


class Ceiling(Frozen):
    """The most that any of some records saw a device do.

    Attributes:
        per_s: FLOP/s or B/s.
        key: Of the record that saw it.
        method: How it was measured.
        other_load: Share of all cores that others used in the quietest try; None where nobody looked.
        contaminated: Whether others disturbed every try, so that the device may do more.
    """

    per_s: float
    key: str
    method: str
    other_load: float | None
    contaminated: bool

    @property
    def mark(self) -> tuple[str, str]:
        """What stands behind a share of it, and what the share's tooltip adds."""
        if not self.contaminated:
            return "", ""
        load = "" if self.other_load is None else f", with {100 * self.other_load:.0f} % of its cores or more"
        return background_load.MARK, f"; other processes used the machine in every try of the ceiling{load}"


class Roof(Frozen):
    """The ceilings of one device for one precision."""

    flops: Ceiling
    memory: Ceiling


class Rate(Frozen):
    """A rate, or the share of a ceiling, as a fraction.

    Attributes:
        value: From the median time of full batches that others did not disturb.
        ends: Its 95 % interval, from that of the time (a ceiling is taken as known); None where batches are
            too few.
    """

    value: float
    ends: Ends = None

    def over(self, ceiling: Ceiling) -> Rate:
        """The share of a ceiling."""
        ends = self.ends and (self.ends[0] / ceiling.per_s, self.ends[1] / ceiling.per_s)
        return Rate(value=self.value / ceiling.per_s, ends=ends)


class Rates(Frozen):
    """What a record reached; None where a part of it was not measured.

    Attributes:
        prefill: Model FLOPs of a batch of prompts per second until the first token.
        mfu: The same as a share of the ceiling.
        prefill_memory: Bytes of the weights, each read once, per second likewise, as a share of the ceiling.
        step_bytes: Bytes that a decoding step reads at least: decoder, output head, keys and values.
        decode: These per second of a step.
        mbu: The same as a share of the ceiling.
        decode_flops: FLOPs of a step per second, as a share of the ceiling.
    """

    prefill: Rate | None = None
    mfu: Rate | None = None
    prefill_memory: Rate | None = None
    step_bytes: int | None = None
    decode: Rate | None = None
    mbu: Rate | None = None
    decode_flops: Rate | None = None


def roofs(records: Iterable[Record]) -> dict[tuple[str, str, str], Roof]:
    """The ceilings by hardware, device and precision: the best that any of the records saw.

    A copy is the same in every precision, so that the memory's ceiling is the best of all.
    """
    known = [record for record in records if record.ceilings]
    made = {}
    for at in dict.fromkeys(map(_place, known)):
        near = [record for record in known if _place(record)[:2] == at[:2]]
        same = [record for record in near if _place(record) == at]
        made[at] = Roof(
            flops=_best(same, lambda found: found.flops_per_s),
            memory=_best(near, lambda found: found.bytes_per_s),
        )
    return made


def _best(records: list[Record], of: Callable[[Ceilings], float]) -> Ceiling:
    each = [(record.ceilings, record.key) for record in records if record.ceilings]
    top, key = max(each, key=lambda pair: of(pair[0]))
    quiet = any(found.other_load is not None and not found.contaminated for found, _ in each)
    loads = [found.other_load for found, _ in each if found.other_load is not None]
    return Ceiling(
        per_s=of(top),
        key=key,
        method=top.method,
        other_load=min(loads, default=None),
        contaminated=not quiet and any(found.contaminated for found, _ in each),
    )


def roof_of(record: Record, known: dict[tuple[str, str, str], Roof]) -> Roof | None:
    """The ceilings that a record is held against."""
    return known.get(_place(record))


def rates(record: Record, known: dict[tuple[str, str, str], Roof] | None = None) -> Rates:
    """The rates of a record.

    Args:
        record: Of generated answers.
        known: Ceilings to hold it against; its own if not given.
    """
    roof = roof_of(record, roofs([record]) if known is None else known)
    memory, count = record.memory, record.flops
    first, step, step_bytes = record.ttft_s, _step_s(record), _step_bytes(record)
    prefill, decode = _rate(record.flops_per_batch, first), _rate(step_bytes, step)
    weights = _rate(memory.weights_bytes if memory else None, first)
    step_flops = _rate(count.per_token if count else None, step)
    return Rates(
        prefill=prefill,
        mfu=prefill.over(roof.flops) if prefill and roof else None,
        prefill_memory=weights.over(roof.memory) if weights and roof else None,
        step_bytes=step_bytes,
        decode=decode,
        mbu=decode.over(roof.memory) if decode and roof else None,
        decode_flops=step_flops.over(roof.flops) if step_flops and roof else None,
    )


def _place(record: Record) -> tuple[str, str, str]:
    return record.hardware, record.cell.device, record.cell.dtype


def _rate(work: int | None, seconds: intervals.Summary | None) -> Rate | None:
    if not work or seconds is None or not seconds.median:
        return None
    known = seconds.confidence >= ENOUGH and seconds.low > 0
    return Rate(
        value=work / seconds.median, ends=(work / seconds.high, work / seconds.low) if known else None
    )


def _step_s(record: Record) -> intervals.Summary | None:
    """Seconds of a pass of the decoder.

    Per pass and not per token: with guessed tokens a pass reads the weights once for several.
    """
    timing = record.timing
    if timing is None or not timing.decode_s or not all(timing.decode_steps):
        return None
    each = tuple(s / passes for s, passes in zip(timing.decode_s, timing.decode_steps, strict=True))
    full = record.of_full_batches(each)
    return intervals.median_interval(full) if full else None


def _step_bytes(record: Record) -> int | None:
    """Weights that a step reads, and the keys and values that it finds on the mean over steps.

    What is on record of these is their size at the last token; they grow by one token with every step.
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
