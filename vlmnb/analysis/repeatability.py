"""A/A repeats: one cell measured several times, and the noise floor that follows for comparisons.

Windows of different pages are minutes apart, and so must be those that the noise floor is taken from. A sweep
spreads the repeats of a cell, and its first measurement, which tables show, counts as one more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import combinations

from vlmnb.analysis import matching, series
from vlmnb.records import turns
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.spec.cell import Cell
from vlmnb.stats import comparison
from vlmnb.stats.comparison import Repeatability
from vlmnb.types import Frozen

FEWEST = 3
"""Windows that a threshold needs: from two alone it would be too large to be of use."""

ASSUMED = 0.2
"""Noise floor that is assumed for a machine without A/A repeats.

On a rented machine of two cores, six pairs of cells of one and the same work, measured a minute apart,
differed by 4 to 19 %.
"""

ASSUMED_VIRTUAL = 1.0
"""The same for the processor of a virtual machine, which does not see the other machines on its host.

On that rented machine four repeats of one cell, minutes apart and undisturbed as far as could be seen, had
medians of 0.14 to 0.26 s.
"""


class NoiseFloor(Frozen):
    """The relative difference that two repeats of one cell may show, and where the number comes from.

    Attributes:
        measured: Whether A/A repeats gave it; else it is assumed.
        virtual: Whether it is assumed for the processor of a virtual machine.
        repeats: A/A repeats on record; ``disturbed``: how many of them background load disturbed.
        apart_s: Seconds from the first to the last window of a cell, one number for each that counts.
    """

    value: float
    measured: bool
    virtual: bool = False
    repeats: int = 0
    disturbed: int = 0
    apart_s: tuple[float, ...] = ()


class InTurns(Frozen):
    """How far A/A repeats differ that took turns with one another, compared as all cells in turns are.

    Attributes:
        pairs: Pairs of repeats.
        different: How many of them are called significantly different, which none should be.
        most: Largest relative difference of a pair.
        within: Largest difference that the interval of any pair allows: see
            :meth:`comparison.Difference.most`. A larger one would have been found with each pair.
    """

    pairs: int
    different: int
    most: float
    within: float


def in_turns(repeats: Sequence[Record], known: Sequence[Turns]) -> InTurns | None:
    """Compare the repeats of one cell by the turns they took; None if fewer than two took any."""
    timed = [one for one in turns.shown(repeats, known, repeats=True) if one.timing and one.timing.turns]
    both = (pair for pair in combinations(timed, 2) if matching.in_turns(*pair))
    pairs = (series.latency_difference(*pair, 0.0) for pair in both)
    found = [pair for pair in pairs if pair]
    if not found:
        return None
    return InTurns(
        pairs=len(found),
        different=sum(pair.differ == "yes" for pair in found),
        most=max(max(pair.ratio, 1 / pair.ratio) - 1 for pair in found),
        within=max(max(pair.high, 1 / pair.low) - 1 for pair in found),
    )


def groups(records: Iterable[Record]) -> dict[Cell, tuple[Record, ...]]:
    """Return the windows of each repeated cell in order, its first measurement before its repeats.

    Only those of the code of its newest repeat count, and of the first measurement only its own window, not
    the times that it took in turns.

    Args:
        records: Of one machine.
    """
    measured = [r for r in records if r.latency is not None and r.source == "measured"]
    ordered = sorted(measured, key=lambda r: r.provenance.started_at)
    newest = {original(one): one.provenance.code for one in ordered if one.cell.repeat}
    found: dict[Cell, dict[int, Record]] = {cell: {} for cell in newest}
    for one in ordered:
        cell, window = original(one), matching.in_window(one) if original(one) in newest else one
        if one.provenance.code == newest.get(cell) and not matching.turns_of(window):
            found[cell][one.cell.repeat] = window
    return {cell: tuple(windows[i] for i in sorted(windows)) for cell, windows in found.items()}


def original(record: Record) -> Cell:
    """Return the cell that a record measured, or that it measured again as an A/A repeat."""
    return record.cell.model_copy(update={"repeat": 0}) if record.cell.repeat else record.cell


def apart_s(windows: Sequence[Record]) -> float:
    """Return the seconds between the beginnings of the first and the last of some records."""
    began = [datetime.fromisoformat(one.provenance.started_at) for one in windows]
    return (max(began) - min(began)).total_seconds()


def of(repeats: Sequence[Record]) -> Repeatability | None:
    """Return the repeatability of one cell; None for too few windows, or the same window twice.

    Those that background load disturbed do not count.
    """
    quiet = _quiet(repeats)
    if len(quiet) < FEWEST:
        return None
    try:
        return comparison.repeatability([one.full_batches_s for one in quiet])
    except ValueError:
        return None


def noise_floor(records: Iterable[Record], places: Iterable[tuple[str, str]]) -> NoiseFloor:
    """Return the noise floor of some machines and devices (hardware, device): measured, else assumed."""
    on_record, wanted = list(records), set(places)
    known = [measured_floor(on_record, *place) for place in wanted]
    if known and None not in known:
        value = max(found for found in known if found is not None)
        apart = [apart_s(windows) for place in wanted for windows in _counted(on_record, *place)]
        return NoiseFloor(value=value, measured=True, apart_s=tuple(sorted(apart)))
    own = [one for one in on_record if (one.hardware, one.cell.device) in wanted]
    repeats = [one for group in groups(own).values() for one in group if one.cell.repeat]
    virtual = any(map(_in_virtual_machine, own))
    return NoiseFloor(
        value=ASSUMED_VIRTUAL if virtual else ASSUMED,
        measured=False,
        virtual=virtual,
        repeats=len(repeats),
        disturbed=sum(one.batches_under_load for one in repeats),
    )


def measured_floor(records: Iterable[Record], hardware: str, device: str) -> float | None:
    """Return the noise floor from the repeats of a machine's device; None if it is not known.

    All cells that were repeated often enough count together, each around its own median: the more repeats,
    the less the threshold owes to their small number.
    """
    known = _counted(records, hardware, device)
    try:
        return comparison.pooled([[r.full_batches_s for r in quiet] for quiet in known]) if known else None
    except ValueError:
        return None


def _counted(records: Iterable[Record], hardware: str, device: str) -> list[list[Record]]:
    """Return the undisturbed windows of each repeated cell that has enough of them."""
    own = [r for r in records if r.hardware == hardware and r.cell.device == device]
    return [quiet for windows in groups(own).values() if len(quiet := _quiet(windows)) >= FEWEST]


def _quiet(repeats: Sequence[Record]) -> list[Record]:
    return [one for one in repeats if not one.batches_under_load]


def _in_virtual_machine(record: Record) -> bool:
    """Return whether a virtual machine's processor measured a record; a GPU is not shared with others."""
    kind = str(record.provenance.machine.get("virtualization", ""))
    return record.cell.device == "cpu" and kind.startswith("virtual machine")
