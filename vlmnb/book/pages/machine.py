"""The machine page: what each machine is, its energy counters, conditions during timing, and A/A repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from vlmnb.analysis import repeatability
from vlmnb.book.content import Content, dataset_title
from vlmnb.book.rendering import render
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.meters.readings import SensorCard
from vlmnb.records.record import Record
from vlmnb.stats import formatting

Rows = list[tuple[str | int, ...]]


def page(content: Content) -> str:
    """Return the page."""
    machines: dict[str, list[Record]] = {}
    for record in content.records:
        if record.source == "measured":
            machines.setdefault(record.hardware, []).append(record)
    return render(
        "machine", machines=[machine(name, machines[name]) for name in sorted(machines)],
        reported=sum(record.source == "reports" for record in content.records),
        fewest=repeatability.FEWEST,
    )  # fmt: skip


def machine(name: str, records: Sequence[Record]) -> dict[str, object]:
    """Collect what the template shows of one machine."""
    made = [record.provenance for record in records]
    newest = max(made, key=lambda one: one.started_at)
    loads = sorted(one.other_load for one in made if one.other_load is not None)
    times = sorted(one.started_at[:10] for one in made if one.started_at)
    repeats, loaded = _repeats(records)
    return {
        "name": name,
        "description": newest.machine,
        "gpus": [
            f"{gpu['name']}, {formatting.format_si(gpu['memory_bytes'], 'B', 3)}, driver {gpu['driver']}"
            for gpu in newest.machine.get("gpus", ())
        ],
        "virtualization": next((v for one in made if (v := one.machine.get("virtualization"))), ""),
        "packages": [f"{package} {version}" for package, version in sorted(newest.packages.items())],
        "threads": sorted({one.threads for one in made if one.threads is not None}),
        "energy": sorted({f"{r.source}: {r.method}, {r.detail}" for one in records for r in one.energy}),
        "load": f"{100 * loads[len(loads) // 2]:.0f} %" if loads else "",
        "most_load": f"{100 * loads[-1]:.0f} %" if loads else "",
        "records": len(records),
        "first": times[0] if times else "",
        "last": times[-1] if times else "",
        "counters": _counters(records),
        "conditions": _observed([one.conditions for one in made if one.conditions is not None]),
        "repeats": repeats,
        "loaded_repeats": loaded,
    }


def _counters(records: Iterable[Record]) -> Rows:
    """Return the newest calibration of each energy counter, and why others could not be read."""
    cards: dict[str, SensorCard] = {}
    refused: dict[tuple[str, str], str] = {}
    for record in sorted(records, key=lambda record: record.provenance.started_at):
        cards |= {card.sensor: card for card in record.provenance.sensors}
        refused |= {(no.source, no.method): no.reason for no in record.energy_refused}
    rows: Rows = []
    for card in cards.values():
        refused.pop((card.source, card.method), None)
        idle = formatting.format_si(card.idle_power_w, "W", 3) if card.idle_power_w else card.note or "-"
        period, step = formatting.format_si(card.period_s, "s", 3), formatting.format_si(card.step_j, "J", 3)
        rows.append((card.sensor, card.source.upper(), card.method, idle, period, step, card.updates))
    for (source, method), reason in refused.items():
        rows.append(("not readable", source.upper(), method, reason, "-", "-", "-"))
    return rows


def _observed(found: Sequence[Conditions]) -> dict[str, object]:
    """Return the least and the most of what the windows observed; empty where no window observed it."""
    states = [state for one in found for state in (one.start, one.end)]
    throttled = sum(bool(one.throttled_s) for one in found)
    causes = ", ".join(sorted({cause for one in found for cause in one.throttled_s}))
    held_down = f"in {throttled} of {len(found)} windows ({causes})" if throttled else "in no window"
    return {
        "sm_clock": _span(states, lambda state: state.sm_clock_hz, "Hz"),
        "memory_clock": _span(states, lambda state: state.memory_clock_hz, "Hz"),
        "power_cap": _span(states, lambda state: state.power_cap_w, "W"),
        "temperature": _span(states, lambda state: state.temperature_c, "°C"),
        "cpu_clock": _span(states, lambda state: state.cpu_clock_hz, "Hz"),
        "throttled": held_down if any(state.sm_clock_hz for state in states) else "",
        "reasons": sorted({reason for state in states for reason in state.throttle_reasons}),
        "governors": sorted({state.cpu_governor for state in states if state.cpu_governor}),
        "cpu_limit": _limits(found),
        "loaded": sum(one.contaminated for one in found),
        "windows": len(found),
    }


def _repeats(records: Sequence[Record]) -> tuple[Rows, int]:
    """Return the A/A repeats of each cell, and how many of them all had background load."""
    rows: Rows = []
    loaded = 0
    for cell, repeats in repeatability.groups(records).items():
        found, busy = repeatability.of(repeats), sum(one.batches_under_load for one in repeats)
        loaded += busy
        name = f"{cell.model}, {dataset_title(cell.dataset)}, {cell.device}, batch {cell.batch_size}"
        shares = (found.spread, found.threshold, found.detectable) if found else ()
        shown = [f"{formatting.percent(share)} %" for share in shares] or ["-"] * 3
        rows.append((name, cell.length, len(repeats), busy, *shown))
    return rows, loaded


def _limits(found: Sequence[Conditions]) -> str:
    limits = sorted({one.cpu_limit for one in found}, key=lambda limit: limit or 0)
    cpus = sorted({one.cpus for one in found if one.cpus})
    shown = ", ".join(f"{limit:g} cores" if limit else "none" for limit in limits)
    return f"{shown}; may run on {', '.join(map(str, cpus))} logical cores" if cpus else shown


def _span(states: Iterable[DeviceState], of: Callable[[DeviceState], float | None], unit: str) -> str:
    values = [value for state in states if (value := of(state)) is not None]
    if not values:
        return ""
    ends = (formatting.format_si(value, unit, 3) for value in (min(values), max(values)))
    return " to ".join(dict.fromkeys(ends))
