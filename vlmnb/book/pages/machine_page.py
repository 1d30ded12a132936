"""What the machine page says of sensors, conditions and repeats, from the records of one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from vlmnb.analysis import repeatability
from vlmnb.data import catalogue
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.meters.readings import SensorCard
from vlmnb.records import background_load
from vlmnb.records.record import Record
from vlmnb.stats import formatting
from vlmnb.views import markup


def sections(records: Sequence[Record]) -> list[str]:
    """Blocks of Markdown: sensor cards, conditions, A/A repeats; each only where records tell of it."""
    parts = []
    cards = sensor_table(records)
    if cards:
        parts += ["### Sensors of energy", cards]
    around = conditions_table(records)
    if around:
        parts += ["### Conditions around the windows", around]
    return [*parts, "### Repeats of one cell", repeats_block(records)]


def sensor_table(records: Iterable[Record]) -> str:
    """The newest card of each counter, and why others could not be read; empty where there is neither."""
    cards: dict[str, SensorCard] = {}
    refused: dict[tuple[str, str], str] = {}
    for record in sorted(records, key=lambda r: r.provenance.started_at):
        cards |= {card.sensor: card for card in record.provenance.sensors}
        refused |= {(no.source, no.method): no.reason for no in record.energy_refused}
    rows = [
        [
            markup.escape(card.sensor), card.source.upper(), markup.escape(card.method),
            formatting.format_si(card.period_s, "s", 3), formatting.format_si(card.step_j, "J", 3),
            markup.escape(_idle(card)),
            str(card.updates),
        ]
        for card in cards.values()
    ]  # fmt: skip
    rows += [
        ["not readable", source.upper(), markup.escape(method), *["-"] * 2, markup.escape(reason), "-"]
        for (source, method), reason in refused.items()
        if all((card.source, card.method) != (source, method) for card in cards.values())
    ]
    header = [
        "Counter",
        "Of",
        "Method",
        "Period",
        "Step when idle",
        "Idle power, or why none",
        "Updates seen",
    ]
    return markup.table(header, rows, text=(1, 2, 5)) if rows else ""


def conditions_table(records: Iterable[Record]) -> str:
    """Least and most of what the windows found; empty where no record tells."""
    told = [r.provenance.conditions for r in records if r.provenance.conditions is not None]
    if not told:
        return ""
    states = [state for one in told for state in (one.start, one.end)]
    throttled = sum(bool(one.throttled_s) for one in told)
    causes = sorted({cause for one in told for cause in one.throttled_s})
    reasons = sorted({reason for state in states for reason in state.throttle_reasons})
    facts = {
        "Clock of the GPU's multiprocessors": _span(states, lambda s: s.sm_clock_hz, "Hz"),
        "Clock of the GPU's memory": _span(states, lambda s: s.memory_clock_hz, "Hz"),
        "Power cap of the GPU": _span(states, lambda s: s.power_cap_w, "W"),
        "Temperature of the GPU": _span(states, lambda s: s.temperature_c, "°C"),
        "Clocks held down": (
            f"in {throttled} of {len(told)} windows ({', '.join(causes)})" if throttled else "in no window"
        )
        if any(state.sm_clock_hz for state in states)
        else "",
        "Reasons the GPU gave": ", ".join(reasons),
        "Clock of the CPU": _span(states, lambda s: s.cpu_clock_hz, "Hz"),
        "Governor of the CPU's clock": ", ".join(sorted({s.cpu_governor for s in states if s.cpu_governor})),
        "Limit on CPU time": _limits(told),
        "Windows disturbed by others": f"{sum(one.contaminated for one in told)} of {len(told)}",
    }
    shown = {name: markup.escape(value or "not told by this machine") for name, value in facts.items()}
    return markup.facts(shown)


def repeats_block(records: Sequence[Record]) -> str:
    """What A/A repeats of this machine allow to tell apart, and which of them do not count."""
    rows, disturbed = [], 0
    for cell, windows in repeatability.groups(records).items():
        found, busy = repeatability.of(windows), sum(map(background_load.of_batches, windows))
        disturbed += busy
        name = f"{cell.model}, {catalogue.get(cell.dataset).title}, {cell.device}, batch {cell.batch_size}"
        numbers = [found.spread, found.threshold, found.detectable] if found else []
        told = [f"{formatting.percent(number)} %" for number in numbers] or [markup.MISSING] * 3
        rows.append([markup.escape(name), cell.length, str(len(windows)), str(busy), *told])
    if not rows:
        return (
            "No cell has been measured in several windows on this machine, so what two windows of one cell "
            "may differ by is an assumption. `vlmnb sweep sweeps/repeat.yaml` measures it."
        )
    header = ["Cell", "Answers", "Windows", "Disturbed", "Spread", "Threshold", "Detectable difference"]
    made = markup.table(header, rows, text=(1,))
    if not disturbed:
        return made
    aside = (
        "Windows that others disturbed do not count: on a quiet machine, delete their records and measure "
        "them again (`vlmnb sweep sweeps/repeat.yaml`). A threshold takes "
        f"{repeatability.FEWEST} undisturbed ones."
    )
    return f"{made}\n\n{aside}"


def _idle(card: SensorCard) -> str:
    return formatting.format_si(card.idle_power_w, "W", 3) if card.idle_power_w else card.note or "-"


def _limits(told: Sequence[Conditions]) -> str:
    limits = {one.cpu_limit for one in told}
    cpus = sorted({one.cpus for one in told if one.cpus})
    said = ", ".join(
        f"{limit:g} cores" if limit else "none" for limit in sorted(limits, key=lambda x: x or 0)
    )
    return f"{said}; may run on {', '.join(map(str, cpus))} logical cores" if cpus else said


def _span(states: Iterable[DeviceState], of: Callable[[DeviceState], float | None], unit: str) -> str:
    values = [value for state in states if (value := of(state)) is not None]
    if not values:
        return ""
    ends = list(dict.fromkeys(formatting.format_si(value, unit, 3) for value in (min(values), max(values))))
    return " to ".join(ends)
