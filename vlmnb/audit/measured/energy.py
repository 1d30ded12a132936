"""Check where joules come from, which window they belong to, and whether the power is possible."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from vlmnb.audit.measured.window import closing_s
from vlmnb.audit.rule import WHICH, Finding, contradiction, error, finding, record_rule, warning
from vlmnb.meters import counters
from vlmnb.meters.readings import EnergyReading, headline_source
from vlmnb.records import export_columns
from vlmnb.records.layer_profile import LayerPart
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
def modelled_energy_is_codecarbons(record: Record) -> Iterator[Finding]:
    """Joules of codecarbon are those of its own output row: its power times its time, at most the TDP."""
    for reading in record.energy:
        if not reading.detail.startswith("codecarbon"):
            continue
        kwh, watts, seconds = (
            record.codecarbon.get(name)
            for name in (f"{reading.source}_energy", f"{reading.source}_power", "duration")
        )
        figures = {"Source": reading.source, "Joules": f"{reading.energy_j:.4g} J"}
        meaning = ""
        if kwh is None:
            meaning = "The record has joules of codecarbon without the row that they come from."
        else:
            row_j = float(kwh) * JOULES_PER_KWH
            figures["codecarbon's row"] = f"{row_j:.4g} J"
            if not _same(reading.energy_j, row_j):
                meaning = "The joules differ from codecarbon's row, from which they are taken."
            elif reading.method == "model" and watts is not None and seconds is not None:
                figures |= {"Its power": f"{float(watts):.4g} W", "Its time": f"{float(seconds):.4g} s"}
                meaning = _power_problem(record, reading, float(watts), float(seconds), figures)
        if meaning:
            yield error(figures, meaning, WHICH)


@record_rule
def energy_names_its_counter(record: Record) -> Iterator[Finding]:
    """Energy is called counted only where the machine has that counter, modelled only where it has none."""
    problems = [(r, _naming_problem(record, r) or _sensor_problem(record, r)) for r in record.energy]
    parts = record.layers.parts if record.layers else ()
    problems += [(r, _naming_problem(record, r)) for part in parts for r in part.energy]
    for reading, problem in problems:
        if problem:
            yield error(
                {"Source": reading.source, "Method": reading.method, "Tool": reading.detail},
                problem,
                "How these joules were obtained is unknown: measure the cell again.",
            )


@record_rule
def energy_is_of_the_replays(record: Record) -> Iterator[Finding]:
    """The energy of a part covers the time of its replays, and modelled energy stays within the TDP."""
    parts = record.layers.parts if record.layers and not record.window_under_load else ()
    wrong = [
        (part, reading, seconds)
        for part in parts
        for reading, seconds in _windows(part)
        if not 1 / REPLAYS <= seconds / (part.replays * (part.replay_s or 0.0)) <= REPLAYS
        or _above_tdp(reading, seconds)
    ]
    if wrong:
        part, reading, seconds = wrong[0]
        yield contradiction(
            {
                "Parts": f"{len({part.name for part, _, _ in wrong})} of {len(parts)}",
                "First": f"{part.name}, {reading.source}",
                "Joules": f"{reading.energy_j:.4g} J",
                "Window": f"{seconds:.4g} s",
                "Replays": f"{part.replays} of {part.replay_s:.4g} s",
            },
            "The energy of a part covers another time than its replays, or exceeds the processor's power.",
        )


@record_rule
def energy_is_of_the_window(record: Record) -> Iterator[Finding]:
    """An energy reading covers all samples and at least the seconds of the timed batches."""
    timing = record.timing
    if timing is None:
        return
    taken_s, samples = sum(timing.latencies_s), sum(timing.batch_samples)
    for reading in record.energy:
        fits = reading.window_s is None or taken_s <= reading.window_s * (1 + WINDOW)
        if fits and reading.samples in (None, samples):
            continue
        window = f"{reading.window_s:.4g} s" if reading.window_s is not None else "not stated"
        yield error(
            {
                "Source": reading.source,
                "Batches": f"{taken_s:.4g} s, {samples} samples",
                "Energy window": f"{window}, {reading.samples or samples} samples",
            },
            "Energy and batches belong to different windows: joules per sample are wrong.",
            "How much of the work the counter saw is unknown: measure the cell again.",
        )


@record_rule
def power_between_idle_and_limit(record: Record) -> Iterator[Finding]:
    """Mean power of a counter lies between idle power and the power limit."""
    for reading in record.energy:
        power = reading.power_w
        if power is None or reading.method == "model":
            continue
        idle, cap = _idle_w(record, reading), _cap_w(record) if reading.source == "gpu" else None
        low = idle is not None and power < idle * (1 - IDLE)
        high = cap is not None and power > cap * (1 + CAP)
        if low or high:
            limits = {"Mean power": power, "Idle": idle, "Limit": cap}
            yield finding(
                "error" if high else "warning",
                {"Source": reading.source}
                | {name: f"{watts:.4g} W" for name, watts in limits.items() if watts is not None},
                f"Energy over time is {'above the power limit' if high else 'below idle power'}: joules or "
                "seconds are wrong, or belong to another device.",
                WHICH
                if high
                else "The device may not have been idle when its idle power was measured: net energy is in "
                "doubt.",
            )


@record_rule
def counters_agree(record: Record) -> Iterator[Finding]:
    """The GPU's counter and codecarbon's own reading of the same GPU agree."""
    other_j = float(record.codecarbon.get("gpu_energy") or 0) * JOULES_PER_KWH
    for reading in _gpu_counters(record):
        if other_j and reading.energy_j and abs(other_j / reading.energy_j - 1) > ACCOUNTS:
            yield warning(
                {
                    "Counter": f"{reading.energy_j:.4g} J",
                    "codecarbon": f"{other_j:.4g} J",
                    "Ratio": f"{other_j / reading.energy_j:.3f}",
                },
                "Two readings of the GPU's energy over one window differ.",
                "Which one is right is unknown; codecarbon may have added other GPUs or used another window.",
            )


@record_rule
def counter_fits_the_power(record: Record) -> Iterator[Finding]:
    """Mean power by the GPU's energy counter is about the power that the GPU reports around the window."""
    conditions = record.provenance.conditions
    reported = (conditions.start.power_w, conditions.end.power_w) if conditions else ()
    powers = [watts for watts in reported if watts]
    for reading in _gpu_counters(record):
        power, window_s = reading.power_w, reading.window_s or 0.0
        if not power or not powers or window_s < POWER_WINDOW_S:
            continue
        if power > POWER * max(powers) or power < min(powers) / POWER:
            yield warning(
                {
                    "Counter": f"{power:.4g} W over {window_s:.3g} s",
                    "Power reported around the window": ", ".join(f"{watts:.4g} W" for watts in powers),
                },
                f"Energy counter and power of the GPU differ by more than a factor of {POWER:g}: one of them "
                "is in another unit, or of another GPU or time.",
                "Power is recorded only before and after the window.",
            )


@record_rule
def samples_times_joules_is_the_window(record: Record) -> Iterator[Finding]:
    """Joules per sample times the samples of the window are the joules that the source counted in it."""
    row, timing, source = export_columns.costs(record), record.timing, headline_source(record.cell.device)
    reading = next((one for one in record.energy if one.source == source), None)
    each, batch = row["energy_j_per_sample"], row["energy_j_per_batch"]
    if reading is None or timing is None or each is None:
        return
    samples = sum(timing.batch_samples)
    fits_batch = batch is None or _same(batch, each * record.cell.batch_size)
    if not _same(each * samples, reading.energy_j) or not fits_batch:
        yield contradiction(
            {
                "Joules per sample": f"{each:.4g} J",
                "Samples timed": str(samples),
                "Times samples": f"{each * samples:.4g} J",
                "Joules of the window": f"{reading.energy_j:.4g} J",
            }
            | ({} if batch is None else {"Joules per batch": f"{batch:.4g} J"}),
            "Joules per sample, samples and the joules of the window do not agree: one of them belongs to a "
            "batch, to another window, or to another number of samples.",
        )


def _power_problem(
    record: Record, reading: EnergyReading, watts: float, seconds: float, figures: dict[str, str]
) -> str:
    """Return how modelled joules contradict codecarbon's power or the TDP; empty if they do not."""
    ends_s = closing_s(record)
    if abs(reading.energy_j - watts * seconds) > watts * (ROW * seconds + ends_s):
        return "The energy in codecarbon's row is not its power times its time."
    if _above_tdp(reading, seconds + ends_s):
        figures["TDP"] = f"{_constant_w(reading, 'TDP'):g} W"
        return "The modelled energy exceeds the power of the whole processor."
    return ""


def _above_tdp(reading: EnergyReading, seconds: float) -> bool:
    tdp_w = _constant_w(reading, "TDP") if reading.source == "cpu" and reading.method == "model" else None
    return tdp_w is not None and reading.energy_j > tdp_w * seconds * (1 + ROW)


def _naming_problem(record: Record, reading: EnergyReading) -> str:
    """Return why this machine cannot have measured these joules in the named way; empty if it can."""
    gpus = record.provenance.machine.get("gpus")
    if reading.source == "gpu":
        if reading.method not in counters.methods("gpu"):
            return "No counter measures a GPU's energy by this method."
        return "" if gpus is None or gpus else "The machine has no GPU."
    if reading.method in counters.methods() and reading.method not in counters.methods(reading.source):
        return "The counter of this method measures another source."
    by_codecarbon = reading.detail.startswith("codecarbon")
    counted = any(mode in reading.detail for mode in BY_CODECARBON)
    if reading.method == "model":
        if not by_codecarbon or counted:
            return "The reading is called a model, but its tool is a counter."
        if reading.window_s is not None or reading.idle_j is not None:
            return "A model has no window between two readings of a counter."
    elif by_codecarbon and not counted:
        return "The reading is called a counter, but its tool is a model."
    return ""


def _sensor_problem(record: Record, reading: EnergyReading) -> str:
    """Return why the joules do not fit the sensors that the record lists; empty if they do."""
    cards = [card for card in record.provenance.sensors if card.source == reading.source]
    if reading.detail.startswith("codecarbon"):
        return "The energy is modelled although the record lists a counter of this source." if cards else ""
    card = next((one for one in cards if one.sensor == reading.detail), None)
    if card is None or card.method != reading.method or not reading.window_s:
        return "The counter that the joules are said to come from is not among the record's sensors."
    if card.idle_power_w is None or _same(card.idle_power_w * reading.window_s, reading.idle_j or 0.0):
        return ""
    return "Idle energy is not idle power times the window."


def _windows(part: LayerPart) -> Iterator[tuple[EnergyReading, float]]:
    """Yield the readings of a part whose seconds are known, or follow from a modelled constant power."""
    if not part.replay_s or not part.replays:
        return
    modelled_s = None
    for reading in part.energy:
        if reading.method == "model" and modelled_s is None and (watts := _constant_w(reading, "constant")):
            modelled_s = reading.energy_j / watts
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
