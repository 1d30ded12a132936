"""Check where joules come from, which window they belong to, and whether the power is possible."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from vlmnb.audit.measured.window import closing_s
from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.meters import counters
from vlmnb.meters.readings import EnergyReading
from vlmnb.records import export_columns
from vlmnb.records.parts import LayerPart
from vlmnb.records.record import Record

EXACT = 1e-6
"""Relative difference that rounding of floats explains and nothing else does."""

WINDOW = 0.02
"""Share by which batches may exceed the energy window around them: two clocks, read one after the other."""

IDLE = 0.1
"""Share by which mean power may lie below idle power: idle power is measured at another temperature."""

CAP = 0.05
"""Share by which mean power may exceed the power limit: NVML states its power to within 5 %."""

ACCOUNTS = 0.1
"""Share by which codecarbon's energy may differ from the counter: its window differs a little."""

POWER = 2.0
"""Factor by which mean power may differ from the power read around a window, a mean over one second."""

POWER_WINDOW_S = 2.0
"""Shortest window that this applies to: power read at its end then belongs to the work alone."""

JOULES_PER_KWH = 3.6e6

ROW = 0.1
"""Share by which codecarbon's energy may differ from its own power times its own time. The two times also
differ by the time that opening and closing the meters may take."""

REPLAYS = 3.0
"""Factor by which the window of a part's energy may differ from its replays, which are timed elsewhere."""

BY_CODECARBON = ("intel_rapl", "windows_emi", "intel_power_gadget")
"""Modes in which codecarbon reads a counter of the processor; every other is a model."""


@record_rule
def modelled_energy_is_codecarbons(record: Record) -> Iterator[Draft]:
    """Joules of codecarbon are those of its own output row: its power times its time, at most the TDP."""
    for reading in record.energy:
        if not reading.detail.startswith("codecarbon"):
            continue
        names = (f"{reading.source}_energy", f"{reading.source}_power", "duration")
        kwh, watts, seconds = map(record.codecarbon.get, names)
        if kwh is None:
            yield found("no row", reading=reading)
            continue
        row_j = float(kwh) * JOULES_PER_KWH
        if not _same(reading.energy_j, row_j):
            yield found("another row", reading=reading, row_j=row_j)
        elif reading.method == "model" and watts is not None and seconds is not None:
            watts, seconds, ends_s = float(watts), float(seconds), closing_s(record)
            tdp_w = _constant_w(reading, "TDP") if _above_tdp(reading, seconds + ends_s) else None
            case = "above the TDP" if tdp_w else ""
            if abs(reading.energy_j - watts * seconds) > watts * (ROW * seconds + ends_s):
                case = "not power times time"
            if case:
                yield found(case, reading=reading, row_j=row_j, watts=watts, seconds=seconds, tdp_w=tdp_w)


@record_rule
def energy_names_its_counter(record: Record) -> Iterator[Draft]:
    """Energy is called counted only where the machine has that counter, modelled only where it has none."""
    problems = [(r, _naming_problem(record, r) or _sensor_problem(record, r)) for r in record.energy]
    problems += [(r, _naming_problem(record, r)) for part in record.metered_parts for r in part.energy]
    for reading, problem in problems:
        if problem:
            yield found(problem, reading=reading)


@record_rule
def energy_is_of_the_replays(record: Record) -> Iterator[Draft]:
    """The energy of a part covers the time of its replays, and modelled energy stays within the TDP."""
    parts = record.layers.parts if record.layers and not record.window_under_load else ()
    windows = [(part, reading, seconds) for part in parts for reading, seconds in _windows(part)]
    wrong = [
        (part, reading, seconds)
        for part, reading, seconds in windows
        if not 1 / REPLAYS <= seconds / (part.replays * (part.replay_s or 0.0)) <= REPLAYS
        or _above_tdp(reading, seconds)
    ]
    for part, reading, seconds in wrong[:1]:
        count = len({part.name for part, _, _ in wrong})
        yield found(wrong=count, parts=len(parts), part=part, reading=reading, seconds=seconds)


@record_rule
def energy_is_of_the_window(record: Record) -> Iterator[Draft]:
    """An energy reading covers all samples and at least the seconds of the timed batches."""
    timing = record.timing
    if timing is None:
        return
    taken_s, samples = sum(timing.latencies_s), sum(timing.batch_samples)
    for reading in record.energy:
        fits = reading.window_s is None or taken_s <= reading.window_s * (1 + WINDOW)
        if not fits or reading.samples not in (None, samples):
            window = "not stated" if reading.window_s is None else f"{reading.window_s:.4g} s"
            covered, source = reading.samples or samples, reading.source
            yield found(source=source, taken_s=taken_s, samples=samples, window=window, covered=covered)


@record_rule
def power_between_idle_and_limit(record: Record) -> Iterator[Draft]:
    """Mean power of a counter lies between idle power and the power limit."""
    for reading in record.energy:
        power = reading.power_w
        if power is None or reading.method == "model":
            continue
        idle, cap = _idle_w(record, reading), _cap_w(record) if reading.source == "gpu" else None
        high = cap is not None and power > cap * (1 + CAP)
        if high or (idle is not None and power < idle * (1 - IDLE)):
            yield found("high" if high else "low", source=reading.source, power=power, idle=idle, cap=cap)


@record_rule
def counters_agree(record: Record) -> Iterator[Draft]:
    """The GPU's counter and codecarbon's own reading of the same GPU agree."""
    other_j = float(record.codecarbon.get("gpu_energy") or 0) * JOULES_PER_KWH
    for reading in _gpu_counters(record):
        if other_j and reading.energy_j and abs(other_j / reading.energy_j - 1) > ACCOUNTS:
            yield found(counter_j=reading.energy_j, other_j=other_j, ratio=other_j / reading.energy_j)


@record_rule
def counter_fits_the_power(record: Record) -> Iterator[Draft]:
    """Mean power by the GPU's energy counter is about the power that the GPU reports around the window."""
    conditions = record.provenance.conditions
    reported = (conditions.start.power_w, conditions.end.power_w) if conditions else ()
    powers = [watts for watts in reported if watts]
    for reading in _gpu_counters(record):
        power, window_s = reading.power_w, reading.window_s or 0.0
        if not power or not powers or window_s < POWER_WINDOW_S:
            continue
        if power > POWER * max(powers) or power < min(powers) / POWER:
            around = ", ".join(f"{watts:.4g} W" for watts in powers)
            yield found(power=power, window_s=window_s, around=around, factor=POWER)


@record_rule
def samples_times_joules_is_the_window(record: Record) -> Iterator[Draft]:
    """Joules per sample times the samples of the window are those of one reading, never a sum of several."""
    row, timing = export_columns.costs(record), record.timing
    reading = next((one for one in record.energy if one.source == row["energy_source"]), None)
    each, batch, method = row["energy_j_per_sample"], row["energy_j_per_batch"], row["energy_method"]
    if reading is None or timing is None or each is None:
        return
    samples = sum(timing.batch_samples)
    fits_batch = batch is None or _same(batch, each * record.cell.batch_size)
    if not _same(each * samples, reading.energy_j) or not fits_batch or method != reading.method:
        values = {"reading": reading, "batch": batch, "method": method}
        yield found(each=each, samples=samples, product=each * samples, **values)


def _above_tdp(reading: EnergyReading, seconds: float) -> bool:
    tdp_w = _constant_w(reading, "TDP") if reading.source == "cpu" and reading.method == "model" else None
    return tdp_w is not None and reading.energy_j > tdp_w * seconds * (1 + ROW)


def _naming_problem(record: Record, reading: EnergyReading) -> str:
    """Return the case of why this machine cannot have measured these joules in the named way; else empty."""
    of_gpu, model = reading.source == "gpu", reading.method == "model"
    own = reading.method in counters.methods(reading.source)
    by_codecarbon = reading.detail.startswith("codecarbon")
    counted = any(mode in reading.detail for mode in BY_CODECARBON)
    windowed = reading.window_s is not None or reading.idle_j is not None
    problems = {
        "no counter of a GPU": of_gpu and not own,
        "no GPU": of_gpu and record.provenance.machine.get("gpus") in ([], ()),
        "another source": reading.method in counters.methods() and not own,
        "counter called a model": model and (counted or not by_codecarbon),
        "model with a window": model and windowed,
        "model called a counter": not model and by_codecarbon and not counted,
    }
    return next((case for case, holds in problems.items() if holds), "")


def _sensor_problem(record: Record, reading: EnergyReading) -> str:
    """Return the case of why the joules do not fit the sensors that the record lists; empty if they do."""
    cards = [card for card in record.provenance.sensors if card.source == reading.source]
    if reading.detail.startswith("codecarbon"):
        return "modelled despite a counter" if cards else ""
    card = next((one for one in cards if one.sensor == reading.detail), None)
    if card is None or card.method != reading.method or not reading.window_s:
        return "unknown sensor"
    idle_j = None if card.idle_power_w is None else card.idle_power_w * reading.window_s
    return "" if idle_j is None or _same(idle_j, reading.idle_j or 0.0) else "another idle energy"


def _windows(part: LayerPart) -> Iterator[tuple[EnergyReading, float]]:
    """Yield the readings of a part whose seconds are known, or follow from a modelled constant power."""
    if not part.replay_s or not part.replays:
        return
    modelled = (one for one in part.energy if one.method == "model")
    constant = ((one.energy_j, _constant_w(one, "constant")) for one in modelled)
    modelled_s = next((joules / watts for joules, watts in constant if watts), None)
    for reading in part.energy:
        seconds = reading.window_s if reading.method != "model" else modelled_s
        if seconds is not None:
            yield reading, seconds


def _constant_w(reading: EnergyReading, name: str) -> float | None:
    """Return the watts that a model assumes under a name."""
    found = re.search(rf"\b{name} ([0-9.]+(?:e[+-]?\d+)?) W\b", reading.detail)
    return float(found[1]) if found else None


def _gpu_counters(record: Record) -> list[EnergyReading]:
    return [one for one in record.energy if one.source == "gpu" and one.method in counters.methods("gpu")]


def _idle_w(record: Record, reading: EnergyReading) -> float | None:
    if reading.idle_j is not None and reading.window_s:
        return reading.idle_j / reading.window_s
    cards = [card for card in record.provenance.sensors if card.source == reading.source]
    return next((card.idle_power_w for card in cards if card.idle_power_w is not None), None)


def _cap_w(record: Record) -> float | None:
    conditions = record.provenance.conditions
    caps = (conditions.start.power_cap_w, conditions.end.power_cap_w) if conditions else ()
    return max((cap for cap in caps if cap is not None), default=None)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=EXACT)
