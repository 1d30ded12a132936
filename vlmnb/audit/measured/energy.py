"""Rules over where joules come from: codecarbon's row, the counter that is named, the replays of a part."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from vlmnb.audit.measured.timing import JOULES_PER_KWH
from vlmnb.audit.measured.window import CLOSING_DISTURBED_S, CLOSING_S
from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.meters import counters
from vlmnb.meters.readings import EnergyReading
from vlmnb.records import background_load
from vlmnb.records.layer_profile import LayerPart
from vlmnb.records.record import Record

EXACT = 1e-6
"""Relative difference that rounding of floats explains and nothing else does."""

ROW = 0.1
"""Share by which codecarbon's energy may differ from its own power times its own time. Besides, the two times
are apart by what opening and closing the meters may take."""

REPLAYS = 3.0
"""Factor by which the window of a part's energy may differ from its replays, which are timed elsewhere."""

BY_CODECARBON = ("intel_rapl", "windows_emi", "intel_power_gadget")
"""Modes in which codecarbon reads a counter of the processor; every other is a model."""


def modelled_energy_is_codecarbons(records: Sequence[Record]) -> Iterator[Finding]:
    """Joules of codecarbon are those of its own row, which is its power times its time, up to the TDP."""
    for record in records:
        row, own = record.codecarbon, [e for e in record.energy if e.detail.startswith("codecarbon")]
        for reading in own:
            told_kwh, watts, seconds = (
                row.get(name) for name in (f"{reading.source}_energy", f"{reading.source}_power", "duration")
            )
            told = {"Source": reading.source, "Joules": f"{reading.energy_j:.4g} J"}
            if told_kwh is None:
                meaning = "Joules of codecarbon's stand here without the row they are from."
            else:
                row_j = float(told_kwh) * JOULES_PER_KWH
                told["codecarbon's row"] = f"{row_j:.4g} J"
                if not math.isclose(reading.energy_j, row_j, rel_tol=EXACT):
                    meaning = "The joules are not those of the row that they are taken from."
                elif reading.method == "model" and watts is not None and seconds is not None:
                    ends_s = CLOSING_DISTURBED_S if background_load.of_window(record) else CLOSING_S
                    meaning = _against_power(reading, row_j, float(watts), float(seconds), ends_s, told)
                else:
                    continue
            if meaning:
                yield finding(
                    "error",
                    [record],
                    told,
                    meaning,
                    "Which of the figures was changed cannot be told; joules of this record are in doubt.",
                )


def energy_names_its_counter(records: Sequence[Record]) -> Iterator[Finding]:
    """A joule is called counted only where the machine has that counter, and modelled only where it is."""
    for record in records:
        for reading in record.energy:
            if problem := _of_no_sensor(record, reading) or _of_no_card(record, reading):
                yield _misnamed(record, reading, problem)
        for part in record.layers.parts if record.layers else ():
            for reading in part.energy:
                if problem := _of_no_sensor(record, reading):
                    yield _misnamed(record, reading, problem)


def energy_is_of_the_replays(records: Sequence[Record]) -> Iterator[Finding]:
    """Energy of a part is of as long a time as its replays take, and modelled energy is within the TDP."""
    for record in records:
        parts = record.layers.parts if record.layers else ()
        if background_load.of_window(record):
            continue
        wrong = [
            (part, reading, seconds)
            for part in parts
            for reading, seconds in _windows(part)
            if not 1 / REPLAYS <= seconds / _replayed_s(part) <= REPLAYS or _above_tdp(reading, seconds)
        ]
        if wrong:
            part, reading, seconds = wrong[0]
            yield finding(
                "error",
                [record],
                {
                    "Parts": f"{len({part.name for part, _, _ in wrong})} of {len(parts)}",
                    "First": f"{part.name}, {reading.source}",
                    "Joules": f"{reading.energy_j:.4g} J",
                    "Window": f"{seconds:.4g} s",
                    "Replays": f"{part.replays} of {part.replay_s:.4g} s",
                },
                "The energy of a part is of another time than its replays, or more than the processor can "
                "draw in it: joules by part are of something else.",
                "Whether joules, replays or seconds are wrong cannot be told.",
            )


def _against_power(
    reading: EnergyReading, row_j: float, watts: float, seconds: float, ends_s: float, told: dict[str, str]
) -> str:
    """What is wrong with a row's energy beside its own power, or beside the TDP; empty where nothing is."""
    told |= {"Its power": f"{watts:.4g} W", "Its time": f"{seconds:.4g} s"}
    if abs(row_j - watts * seconds) > watts * (ROW * seconds + ends_s):
        return "The energy of codecarbon's row is not its power times its time."
    if _above_tdp(reading, seconds + ends_s):
        told["TDP"] = f"{_number(reading, 'TDP'):g} W"
        return "The model gives more than the power of the whole processor."
    return ""


def _above_tdp(reading: EnergyReading, seconds: float) -> bool:
    tdp_w = _number(reading, "TDP") if reading.source == "cpu" and reading.method == "model" else None
    return tdp_w is not None and reading.energy_j > tdp_w * seconds * (1 + ROW)


def _of_no_sensor(record: Record, reading: EnergyReading) -> str:
    """Why the machine cannot have told these joules in this way; empty where it can."""
    gpus = record.provenance.machine.get("gpus")
    if reading.source == "gpu":
        if reading.method not in counters.methods("gpu"):
            return "No counter of ours counts a GPU's energy by this method."
        return "" if gpus is None or gpus else "The machine has no GPU."
    if reading.method in counters.methods() and reading.method not in counters.methods(reading.source):
        return "The counter of this method counts the energy of another source."
    by_codecarbon = reading.detail.startswith("codecarbon")
    if reading.method == "model":
        if not by_codecarbon or any(mode in reading.detail for mode in BY_CODECARBON):
            return "What is called a model says of itself that it is a counter."
        if reading.window_s is not None or reading.idle_j is not None:
            return "A model has no window between two readings of a counter."
    elif by_codecarbon and not any(mode in reading.detail for mode in BY_CODECARBON):
        return "What is called a counter says of itself that it is a model."
    return ""


def _of_no_card(record: Record, reading: EnergyReading) -> str:
    """Why the joules do not fit the sensors that the record lists; empty where they do."""
    cards = [card for card in record.provenance.sensors if card.source == reading.source]
    if reading.detail.startswith("codecarbon"):
        return "A counter of this source is listed, and no model stands in for one." if cards else ""
    card = next((one for one in cards if one.sensor == reading.detail), None)
    if card is None or card.method != reading.method or not reading.window_s:
        return "No sensor of the record is the counter that the joules are said to come from."
    idle_j = None if card.idle_power_w is None else card.idle_power_w * reading.window_s
    same = idle_j is None or math.isclose(idle_j, reading.idle_j or 0.0, rel_tol=EXACT)
    return "" if same else "Idle energy is not idle power times the window."


def _misnamed(record: Record, reading: EnergyReading, problem: str) -> Finding:
    return finding(
        "error",
        [record],
        {"Source": reading.source, "Said to be": reading.method, "Tool": reading.detail},
        problem,
        "How these joules were obtained cannot be told.",
    )


def _windows(part: LayerPart) -> Iterator[tuple[EnergyReading, float]]:
    """Readings of a part that tell their seconds, or stand beside one that does."""
    if not part.replay_s or not part.replays:
        return
    constant = next((e for e in part.energy if e.method == "model" and _number(e, "constant")), None)
    modelled_s = constant.energy_j / (_number(constant, "constant") or 1.0) if constant else None
    for reading in part.energy:
        seconds = reading.window_s if reading.method != "model" else modelled_s
        if seconds is not None:
            yield reading, seconds


def _replayed_s(part: LayerPart) -> float:
    return part.replays * (part.replay_s or 0.0)


def _number(reading: EnergyReading, name: str) -> float | None:
    """Watts that a model says it counts with."""
    found = re.search(rf"\b{name} ([0-9.]+(?:e[+-]?\d+)?) W\b", reading.detail)
    return float(found[1]) if found else None


RULES = rules(
    "measured", (modelled_energy_is_codecarbons, energy_names_its_counter, energy_is_of_the_replays)
)
