"""Time cells once more in turns, batch by batch, so that a change of the machine's speed meets all alike."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from vlmnb.device import load, slots
from vlmnb.device.clock import now_s
from vlmnb.measure import failures, loading, process_state
from vlmnb.measure.batches import Batch, choose, prepare
from vlmnb.measure.generation import Generator
from vlmnb.measure.loading import Loaded, ModelSlot
from vlmnb.measure.phases import PhaseClock, Phases
from vlmnb.records import turns
from vlmnb.records.parts import Timing
from vlmnb.records.record import Record
from vlmnb.records.resolved import Resolved

EACH_S = 2.0
"""Seconds of turns for each cell: further rounds follow as long as they end within all of them together."""

LEAST_ROUNDS = 2
"""From one round alone, single batches would be compared, whose ratios spread more than those of two."""

TRIES = 3
"""Further rounds are added for so many times as long until one had no background load."""

LONGEST_PASS_S = 5.0
"""A cell whose batches take longer takes no turns: its own window is long enough to average over bursts."""

TOGETHER_BYTES = 1 << 30
"""Models whose weights take no more than this together are loaded at the same time."""


TRIES_TO_END = 2
"""Turns that did not end, because the process was stopped or killed, are begun so often."""


@dataclass
class Turn:
    """A cell that takes turns, and its times so far: one entry for each batch, round after round."""

    record: Record
    generate: Generator
    batches: Sequence[Batch]
    clock: PhaseClock
    phases: list[Phases] = field(default_factory=list)
    spent_s: float = 0.0

    def take(self, batch: Batch) -> None:
        """Generate a batch."""
        began_s = now_s()
        call = partial(self.generate, batch.inputs)
        self.phases.append(self.clock.time(call, self.generate.prompt_passes(batch.inputs))[1])
        self.spent_s += now_s() - began_s


Group = list[tuple[Resolved, Record]]
"""Cells that take turns with one another, and their records."""


def due(measured: Sequence[tuple[Resolved, Record]], fresh: AbstractSet[str], results: Path) -> list[Group]:
    """Return the groups of a notebook's cells that have to take turns.

    Cells take turns with those that answer the same data set on the same device with answers of the same
    kind of length, A/A repeats with one another.

    Args:
        measured: The cells of the notebook with their records.
        fresh: Keys of the cells measured just now. Turns without any of them are left as they are on disk.
        results: Folder of the records.
    """
    found = []
    for group in groups(measured):
        keys = {record.key for _, record in group}
        known = turns.begun(*_place(group, results))
        ended = known and (known.timings or known.tries >= TRIES_TO_END)
        if not (fresh.isdisjoint(keys) and ended):
            found.append(group)
    return found


def _place(group: Group, results: Path) -> tuple[str, Path, str, str]:
    record = group[0][1]
    return turns.name(record.key for _, record in group), results, record.hardware, record.cell.model


def take(each: Sequence[Group], slot: ModelSlot, results: Path) -> None:
    """Time the cells of each group in turns, and write what they took.

    Nothing is lost if it fails: the records are written already, and a line says why.

    Args:
        each: Groups of cells with their records.
        slot: Gives up its model, unless it is the only one that the turns need.
        results: Folder of the records.
    """
    for group in each:
        name, _, hardware, model = place = _place(group, results)
        known = turns.begun(*place)
        tries = 0 if known is None or known.timings else known.tries
        begun = turns.Turns(name=name, started_at=_utc(), timings={}, tries=tries + 1)
        turns.write(begun, results, hardware, model)
        try:
            with process_state.of_a_cell():
                made = _timed(group, slot)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a library raises: what was measured stands
            cell, (_, reason) = group[0][0].cell, failures.of(error)
            print(f"{cell.model} on {cell.dataset}: its cells took no turns: {reason}", file=sys.stderr)
            slot.clear()
            continue
        turns.write(made, results, hardware, model)


def groups(measured: Sequence[tuple[Resolved, Record]]) -> list[Group]:
    """Return the cells that take turns with one another, in their order."""
    found: dict[tuple[object, ...], Group] = {}
    for resolved, record in measured:
        if _may(resolved, record):
            cell = resolved.cell
            found.setdefault((cell.dataset, cell.device, cell.length, cell.repeat > 0), []).append(
                (resolved, record)
            )
    parts: list[Group] = []
    for group in (part for each in found.values() for part in _by_batch_size(each)):
        parts += [group] if _bytes(group) <= TOGETHER_BYTES else _by_model(group)
    return [part for part in parts if len(part) > 1]


def _by_batch_size(group: Group) -> list[Group]:
    """Return the parts of a group that are compared: optimizations are, with others of their batch size."""
    if len({resolved.cell.optimization for resolved, _ in group}) == 1:
        return [group]
    found: dict[int, Group] = {}
    for resolved, record in group:
        found.setdefault(resolved.cell.batch_size, []).append((resolved, record))
    return list(found.values())


def _may(resolved: Resolved, record: Record) -> bool:
    """Return whether a cell can take turns: it has this code's record, and runs in torch as it stands."""
    chosen, timing = resolved.optimization, record.timing
    if record.key != resolved.key or record.status != "ok" or timing is None:
        return False
    if resolved.cell.measure != "generation" or chosen.of("engine") or chosen.of("compilation"):
        return False
    return min(timing.passes_s) <= LONGEST_PASS_S


def _by_model(group: Group) -> list[Group]:
    found: list[tuple[loading.Configuration, Group]] = []
    for resolved, record in group:
        wanted = loading.configuration(resolved)
        same = next((part for known, part in found if known == wanted), None)
        if same is None:
            found.append((wanted, same := []))
        same.append((resolved, record))
    return [part for _, part in found]


def _bytes(group: Group) -> int:
    """Return the bytes of the weights of all models that a group needs, as far as records state them."""
    firsts = (part[0][1].memory for part in _by_model(group))
    return sum(memory.weights_bytes or 0 for memory in firsts if memory)


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _timed(group: Group, slot: ModelSlot) -> turns.Turns:
    import torch

    torch.set_num_threads(slots.threads())
    parts = _by_model(group)
    if len(parts) > 1:
        slot.clear()
    name, began_s = turns.name(record.key for _, record in group), now_s()
    started = _utc()
    with torch.inference_mode(), contextlib.ExitStack() as clocks:
        taking: dict[str, Turn] = {}
        for part in parts:
            wanted = loading.configuration(part[0][0])
            loaded = slot.get(wanted) if len(parts) == 1 else loading.load(wanted)
            vision = loaded.family.vision_modules(loaded.model)
            clock = clocks.enter_context(PhaseClock(loaded.stepping, vision, wanted.device))
            taking |= {record.key: _ready(resolved, record, loaded, clock) for resolved, record in part}
        each = [taking[record.key] for _, record in group]
        marks = _rounds(each)
    timings = {one.record.key: _timing(one, marks, name) for one in each}
    return turns.Turns(name=name, started_at=started, seconds=now_s() - began_s, timings=timings)


def _ready(resolved: Resolved, record: Record, loaded: Loaded, clock: PhaseClock) -> Turn:
    """Prepare a cell's batches and generate the first, and the last if it has fewer rows.

    Such a one may need code of its own. Otherwise one batch is enough: in 151 cells on two cores, batches
    that had not been generated before took 0.999 of the time of later rounds in the first round (median),
    those that had been 1.001.
    """
    samples, failed = choose(resolved)
    batches = prepare(resolved.cell, loaded, samples, failed)
    generate = Generator.of(resolved, loaded, [batch.inputs for batch in batches])
    first, last = batches[0], batches[-1]
    for batch in (first, last)[: 1 + (len(last.samples) != len(first.samples))]:
        generate(batch.inputs)
    return Turn(record, generate, batches, clock)


def _rounds(each: Sequence[Turn]) -> list[load.Reading]:
    """Let every cell generate all its batches, round after round; return the readings between rounds.

    Where several cells have a batch due at once, they go forward in one round and backward in the next,
    so that none is always the first, or always behind the same one.
    """
    due = [
        ((number + 0.5) / len(turn.batches), place, number)
        for place, turn in enumerate(each)
        for number in range(len(turn.batches))
    ]
    orders = [sorted(due, key=lambda one: (one[0], way * one[1])) for way in (1, -1)]
    began_s, marks = now_s(), [load.reading()]
    rounds, limit_s = 0, EACH_S * len(each)
    while rounds < LEAST_ROUNDS or (now_s() - began_s) * (rounds + 1) / rounds <= limit_s:
        for _, place, batch in orders[rounds % 2]:
            each[place].take(each[place].batches[batch])
        marks.append(load.reading())
        rounds += 1
        if all(map(load.is_high, load.shares(marks))):
            limit_s = TRIES * EACH_S * len(each)
    return marks


def _timing(turn: Turn, marks: list[load.Reading], name: str) -> Timing:
    own = turn.record.timing
    assert own is not None
    latencies_s, vision_s, prefill_s, decode_s, decode_steps = zip(*turn.phases, strict=True)
    update: Mapping[str, object] = {
        "latencies_s": latencies_s,
        "vision_s": vision_s,
        "prefill_s": prefill_s,
        "decode_s": decode_s,
        "decode_steps": decode_steps,
        "batch_samples": tuple(len(one.samples) for one in turn.batches) * (len(marks) - 1),
        "passes": len(marks) - 1,
        "pass_loads": tuple(load.shares(marks)),
        "contaminated": tuple(map(load.is_high, load.shares(marks))),
        "loop_s": turn.spent_s,
        "turns": name,
    }
    return own.model_copy(update=update)
