"""Rules over one record's times, energy and memory: identities that hold whatever was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.meters import counters
from vlmnb.meters.readings import EnergyReading
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell

PHASES = 0.01
"""Share of a batch by which its phases may miss it: they are stamped on the device, the batch by the host."""

PHASES_S = 0.002
"""The same in seconds, for short batches: what a synchronization and a hook of Python take at most."""

WINDOW = 0.02
"""Share by which batches may exceed the energy window that holds them: two clocks, read one after the
other."""

IDLE = 0.1
"""Share by which mean power may lie below idle power: idling is measured at another temperature."""

CAP = 0.05
"""Share by which mean power may exceed the power limit: NVML states its power to within 5 %."""

ACCOUNTS = 0.1
"""Share by which codecarbon's account may differ from the counter: it begins and ends a little elsewhere."""

POWER = 2.0
"""Factor by which mean power may differ from the power told around a window: that is a mean of one second."""

POWER_WINDOW_S = 2.0
"""Shortest window that this is asked of: the power told at its end is then of work alone."""

JOULES_PER_KWH = 3.6e6

SHARE_OF_PEAK = 0.01
"""Share by which parts of memory may exceed the peak: allocators round blocks."""


def phases_add_up(records: Sequence[Record]) -> Iterator[Finding]:
    """Vision, prefill and decode add up to the latency of every batch, and none is negative."""
    for record in records:
        timing = record.timing
        if timing is None or not timing.prefill_s:
            continue
        rows = list(zip(timing.vision_s, timing.prefill_s, timing.decode_s, timing.latencies_s, strict=False))
        missed = [abs(sum(row[:3]) - row[3]) - max(PHASES * row[3], PHASES_S) for row in rows]
        worst = max(range(len(rows)), key=lambda i: missed[i])
        if missed[worst] > 0 or min(min(row) for row in rows) < 0:
            vision, prefill, decode, latency = rows[worst]
            # Others may take the processor between two clocks that are read one after the other.
            lost = _contaminated(record) and min(min(row) for row in rows) >= 0
            lost = lost and all(
                sum(row[:3]) < row[3] for row, over in zip(rows, missed, strict=True) if over > 0
            )
            yield finding(
                "note" if lost else "error",
                [record],
                {
                    "Vision": f"{vision:.4g} s",
                    "Prefill": f"{prefill:.4g} s",
                    "Decode": f"{decode:.4g} s",
                    "Latency": f"{latency:.4g} s",
                    "Batch": f"{worst + 1} of {len(rows)}",
                },
                "The phases of a batch are not the whole of it, while others used the machine."
                if lost
                else "The phases of a batch are not the batch: one of the times is wrong.",
                "Which phase the rest belongs to cannot be told."
                if lost
                else "Which one cannot be told; whatever is made of phases in this record is in doubt.",
            )


def every_batch_is_counted(records: Sequence[Record]) -> Iterator[Finding]:
    """Every pass holds every sample of the cell once, in full batches and a rest; every list is as long."""
    for record in records:
        timing = record.timing
        if timing is None:
            continue
        told = {
            name: len(values)
            for name in ("latencies_s", "vision_s", "prefill_s", "decode_s", "decode_steps", "batch_samples")
            if (values := getattr(timing, name))
        }
        samples = sum(timing.batch_samples) / timing.passes
        wanted = record.cell.samples
        told |= {"batches": len(_batches(record.cell) * timing.passes)}
        full = timing.batch_samples == _batches(record.cell) * timing.passes
        if len(set(told.values())) > 1 or not full or len(record.answers) not in (0, wanted):
            yield finding(
                "error",
                [record],
                {
                    **{name: str(length) for name, length in told.items()},
                    "passes": str(timing.passes),
                    "Samples a pass": f"{samples:g}",
                    "Samples of the cell": str(wanted),
                    "Answers": str(len(record.answers)),
                },
                "Batches, passes and answers do not match: some were counted twice or not at all.",
                "Medians and joules per sample of this record may be of the wrong number.",
            )


def steps_are_tokens(records: Sequence[Record]) -> Iterator[Finding]:
    """Decoding steps of a batch are the tokens of its longest answer less one; fewer with prompt lookup."""
    for record in records:
        timing = record.timing
        if timing is None or not timing.decode_steps or not record.answers:
            continue
        batches = len(timing.batch_samples) // timing.passes
        start = 0
        for batch, size in enumerate(timing.batch_samples[:batches]):
            longest = max((a.output_tokens for a in record.answers[start : start + size]), default=1)
            start += size
            steps = {timing.decode_steps[i] for i in range(batch, len(timing.decode_steps), batches)}
            # Prompt lookup guesses several tokens a step.
            guessing = optimizations.of(record.cell).guesses and max(steps) < longest
            if steps != {longest - 1} and not guessing:
                yield finding(
                    "error",
                    [record],
                    {
                        "Batch": f"{batch + 1} of {batches}",
                        "Longest answer": f"{longest} tokens",
                        "Steps": ", ".join(map(str, sorted(steps))),
                    },
                    "Decoding steps and tokens do not match: a time per token is divided by the wrong "
                    "number.",
                    "Whether tokens or steps were miscounted, or passes gave different answers, cannot be "
                    "told.",
                )
                break


def energy_is_of_the_window(records: Sequence[Record]) -> Iterator[Finding]:
    """A reading covers the samples and at least the seconds of the timed batches."""
    for record in records:
        for reading in record.energy if record.timing else ():
            assert record.timing is not None
            taken_s, samples = sum(record.timing.latencies_s), sum(record.timing.batch_samples)
            fits = reading.window_s is None or taken_s <= reading.window_s * (1 + WINDOW)
            if fits and reading.samples in (None, samples):
                continue
            window = f"{reading.window_s:.4g} s" if reading.window_s is not None else "not stated"
            yield finding(
                "error",
                [record],
                {
                    "Source": reading.source,
                    "Batches": f"{taken_s:.4g} s, {samples} samples",
                    "Energy window": f"{window}, {reading.samples or samples} samples",
                },
                "The energy is of another window than the batches: joules per sample are of the wrong "
                "number.",
                "How much of the work the counter saw cannot be told.",
            )


def power_between_idle_and_limit(records: Sequence[Record]) -> Iterator[Finding]:
    """Mean power of a counter lies between idle power and the power limit."""
    for record in records:
        for reading in record.energy:
            power = reading.power_w
            if power is None or reading.method == "model":
                continue
            idle, cap = _idle_w(record, reading), _cap_w(record) if reading.source == "gpu" else None
            low = idle is not None and power < idle * (1 - IDLE)
            high = cap is not None and power > cap * (1 + CAP)
            if low or high:
                told = {"Mean power": f"{power:.4g} W"}
                told |= {"Idle": f"{idle:.4g} W"} if idle is not None else {}
                told |= {"Limit": f"{cap:.4g} W"} if cap is not None else {}
                yield finding(
                    "error" if high else "warning",
                    [record],
                    {"Source": reading.source, **told},
                    f"Energy over time is {'above the power limit' if high else 'below idle power'}: the "
                    "joules or the seconds are wrong, or of another device.",
                    "Which of them cannot be told."
                    if high
                    else "The device may not have been idle when its idle power was measured; net energy is "
                    "in doubt.",
                )


def counters_agree(records: Sequence[Record]) -> Iterator[Finding]:
    """The GPU's counter and codecarbon's own account of the same GPU agree."""
    for record in records:
        other_j = float(record.codecarbon.get("gpu_energy") or 0) * JOULES_PER_KWH
        for reading in record.energy:
            if (
                reading.source != "gpu"
                or reading.method not in counters.methods("gpu")
                or not other_j
                or not reading.energy_j
            ):
                continue
            if abs(other_j / reading.energy_j - 1) > ACCOUNTS:
                yield finding(
                    "warning",
                    [record],
                    {
                        "Counter": f"{reading.energy_j:.4g} J",
                        "codecarbon": f"{other_j:.4g} J",
                        "Ratio": f"{other_j / reading.energy_j:.3f}",
                    },
                    "Two accounts of the GPU's energy over one window are not the same.",
                    "Which is right cannot be told; codecarbon may have added up other GPUs or another "
                    "window.",
                )


def counter_fits_the_power(records: Sequence[Record]) -> Iterator[Finding]:
    """Joules of the GPU's counter over seconds are about the power that it told around the window."""
    for record in records:
        conditions = record.provenance.conditions
        told = (conditions.start.power_w, conditions.end.power_w) if conditions else ()
        powers = [watts for watts in told if watts]
        for reading in record.energy:
            power = reading.power_w
            steady = reading.window_s is not None and reading.window_s >= POWER_WINDOW_S
            if (
                reading.source != "gpu"
                or reading.method not in counters.methods("gpu")
                or not (power and powers and steady)
            ):
                continue
            if power > POWER * max(powers) or power < min(powers) / POWER:
                yield finding(
                    "warning",
                    [record],
                    {
                        "Counter": f"{power:.4g} W over {reading.window_s:.3g} s",
                        "Power told around the window": ", ".join(f"{watts:.4g} W" for watts in powers),
                    },
                    "The energy counter and the power that the GPU tells differ by more than a factor of "
                    f"{POWER:g}: one of them is in another unit, of another GPU or of another time.",
                    "Power is told twice only, before and after; how it ran between is not on record.",
                )


def peak_holds_its_parts(records: Sequence[Record]) -> Iterator[Finding]:
    """Peak memory is no less than what it was before, nor than weights and cache together on a GPU."""
    for record in records:
        memory = record.memory
        if memory is None or memory.peak_bytes is None:
            continue
        parts = {"Baseline": memory.baseline_bytes}
        known = memory.weights_bytes is not None and memory.cache_bytes is not None
        if known and record.cell.device.startswith("cuda"):
            parts["Weights and cache"] = (memory.weights_bytes or 0) + (memory.cache_bytes or 0)
        room = memory.peak_bytes * (1 + SHARE_OF_PEAK)
        wrong = {name: size for name, size in parts.items() if size is not None and size > room}
        held = memory.reserved_peak_bytes
        if held is not None and held * (1 + SHARE_OF_PEAK) < memory.peak_bytes:
            wrong["Held by the allocator"] = held
        if wrong:
            yield finding(
                "error",
                [record],
                {"Peak": f"{memory.peak_bytes} B", **{name: f"{value} B" for name, value in wrong.items()}},
                "The peak is less than what it must hold, or more than what holds it: it is of another "
                "window or another device.",
                "How much memory the cell takes cannot be concluded from this record.",
            )


def window_was_undisturbed(records: Sequence[Record]) -> Iterator[Finding]:
    """Nobody else used the machine while a cell was timed, and clocks were not held down."""
    busy = [r for r in records if _contaminated(r)]
    if busy:
        loads = [r.provenance.other_load or 0.0 for r in busy]
        yield finding(
            "note",
            busy,
            {
                "Cells": f"{len(busy)} of {len(records)}",
                "Load by others, median": f"{100 * median(loads):.0f} %",
            },
            f"Other processes used the machine while {_cells(len(busy))} timed: their latencies are too "
            "long by an unknown amount, and the rules that compare latencies leave them out.",
            "What they would be on a quiet machine cannot be concluded.",
        )
    slowed = [r for r in records if (c := r.provenance.conditions) and c.throttled_s]
    for cause in sorted({cause for r in slowed for cause in _throttled(r)}):
        of = [r for r in slowed if cause in _throttled(r)]
        yield finding(
            "note",
            of,
            {
                "Cells": f"{len(of)} of {len(records)}",
                "Longest": f"{max(_throttled(r)[cause] for r in of):.3g} s",
            },
            f"The GPU's clocks were held down ({cause.replace('_', ' ')}) while {_cells(len(of))} timed.",
            "A cooler or less limited machine of the same kind may be faster.",
        )


def _batches(cell: Cell) -> tuple[int, ...]:
    """Samples in each batch of a pass."""
    full, rest = divmod(cell.samples, cell.batch_size)
    return (cell.batch_size,) * full + ((rest,) if rest else ())


def _contaminated(record: Record) -> bool:
    return bool(record.provenance.conditions and record.provenance.conditions.contaminated)


def _throttled(record: Record) -> dict[str, float]:
    return record.provenance.conditions.throttled_s if record.provenance.conditions else {}


def _idle_w(record: Record, reading: EnergyReading) -> float | None:
    if reading.idle_j is not None and reading.window_s:
        return reading.idle_j / reading.window_s
    cards = [card for card in record.provenance.sensors if card.source == reading.source]
    return next((card.idle_power_w for card in cards if card.idle_power_w is not None), None)


def _cap_w(record: Record) -> float | None:
    conditions = record.provenance.conditions
    told = (conditions.start.power_cap_w, conditions.end.power_cap_w) if conditions else ()
    return max((cap for cap in told if cap is not None), default=None)


RULES = rules(
    "measured",
    (
        phases_add_up, every_batch_is_counted, steps_are_tokens, energy_is_of_the_window,
        power_between_idle_and_limit, counters_agree, counter_fits_the_power, peak_holds_its_parts,
        window_was_undisturbed,
    ),
)  # fmt: skip


def _cells(count: int) -> str:
    return "1 cell was" if count == 1 else f"{count} cells were"
