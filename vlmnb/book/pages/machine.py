"""The machine page: what each machine is, its energy counters, conditions during timing, and A/A repeats."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from vlmnb.analysis import repeatability, time_spent
from vlmnb.analysis.base_configuration import Setup, on_a_device
from vlmnb.analysis.titles import dataset_title
from vlmnb.book.content import Content, model_title
from vlmnb.book.rendering import Value, render
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.meters.readings import SensorCard
from vlmnb.records.record import Record
from vlmnb.spec.cell import DEVICES, Cell
from vlmnb.stats import formatting
from vlmnb.views import templates
from vlmnb.views.table import without


def page(content: Content) -> str:
    """Return the page."""
    machines: dict[str, list[Record]] = {}
    for record in content.records:
        if record.source == "measured":
            machines.setdefault(record.hardware, []).append(record)
    return render(
        "machine.md", machines=[_machine(name, machines[name]) for name in sorted(machines)], span=_span,
        reported=sum(record.source == "reports" for record in content.records),
        fewest=repeatability.FEWEST,
    )  # fmt: skip


def _machine(name: str, records: Sequence[Record]) -> dict[str, object]:
    made = sorted((record.provenance for record in records), key=lambda one: one.started_at)
    repeated = repeatability.groups(records)
    loads = [one.other_load for one in made if one.other_load is not None]
    return {
        "name": name,
        "description": made[-1].machine,
        "packages": sorted(made[-1].packages.items()),
        "virtualization": next((v for one in made if (v := one.machine.get("virtualization"))), ""),
        "threads": sorted({one.threads for one in made if one.threads is not None}),
        "tuning": sorted({f"{k}={v}" for one in made for k, v in one.tuning.items()}),
        "energy": sorted({f"{r.source}: {r.method}, {r.detail}" for one in records for r in one.energy}),
        "load": (statistics.median_high(loads), max(loads)) if loads else (),
        "records": len(records),
        "dates": [one.started_at[:10] for one in made if one.started_at],
        "counters": list(_counters(records)),
        "conditions": _observed([one.conditions for one in made if one.conditions is not None]),
        "spent": list(_spent(records)),
        "repeats": list(_repeats(repeated)),
        "disturbed": any(
            one.batches_under_load for own in repeatability.groups(records).values() for one in own
        ),
        "floors": [
            (Setup("measured", name, device).title, floor)
            for device in sorted({record.cell.device for record in on_a_device(records)})
            if (floor := repeatability.measured_floor(records, name, device)) is not None
        ],
        "assumed": [
            (Setup("measured", name, device).title, taken.value)
            for device in sorted({record.cell.device for record in on_a_device(records)})
            if not (taken := repeatability.noise_floor(records, [(name, device)])).measured
        ],
    }


def _counters(records: Iterable[Record]) -> Iterator[tuple[Value, ...]]:
    """Return the newest calibration of each energy counter, and why others could not be read."""
    cards: dict[str, SensorCard] = {}
    refused: dict[tuple[str, str], str] = {}
    for record in sorted(records, key=lambda record: record.provenance.started_at):
        cards |= {card.sensor: card for card in record.provenance.sensors}
        refused |= {(no.source, no.method): no.reason for no in record.energy_refused}
    for card in cards.values():
        refused.pop((card.source, card.method), None)
        idle = formatting.format_si(card.idle_power_w, "W", 3) if card.idle_power_w else card.note or "-"
        period, step = formatting.format_si(card.period_s, "s", 3), formatting.format_si(card.step_j, "J", 3)
        yield card.sensor, card.source.upper(), card.method, idle, period, step, card.updates
    for (source, method), reason in refused.items():
        yield "not readable", source.upper(), method, reason, "-", "-", "-"


def _observed(found: Sequence[Conditions]) -> dict[str, object]:
    states = [state for one in found for state in (one.start, one.end)]
    return {
        "states": states,
        "throttled": sum(bool(one.throttled_s) for one in found),
        "causes": sorted({cause for one in found for cause in one.throttled_s}),
        "reasons": sorted({reason for state in states for reason in state.throttle_reasons}),
        "governors": sorted({state.cpu_governor for state in states if state.cpu_governor}),
        "cpu_limits": sorted({f"{one.cpu_limit:g} cores" if one.cpu_limit else "none" for one in found}),
        "cpus": sorted({one.cpus for one in found if one.cpus}),
        "loaded": sum(one.contaminated for one in found),
        "windows": len(found),
    }


def _spent(records: Sequence[Record]) -> Iterator[tuple[Value, ...]]:
    """Return each stage of the cells with its seconds and its share of all."""
    stages = time_spent.of_cells(records)
    for stage, seconds in stages.items():
        yield stage, f"{seconds:.1f} s", f"{templates.percent(seconds / sum(stages.values()))} %"


def _repeats(repeated: Mapping[Cell, Sequence[Record]]) -> Iterator[tuple[Value, ...]]:
    for cell, repeats in repeated.items():
        found, loaded = repeatability.of(repeats), sum(one.batches_under_load for one in repeats)
        on = f"{dataset_title(cell.dataset)}, {DEVICES[cell.device]}, batch {cell.batch_size}"
        name = f"{model_title(cell.model)}, {on}"
        shares = (found.spread, found.threshold, found.detectable) if found else ()
        few = without(f"fewer than {repeatability.FEWEST} windows without background load")
        shown: list[Value] = [f"{templates.percent(share)} %" for share in shares] or [few] * 3
        windows = f"{len(repeats)}" + f" ({loaded} †)" * bool(loaded)
        yield name, cell.length, windows, formatting.duration(repeatability.apart_s(repeats)), *shown


def _span(states: Iterable[DeviceState], quantity: str, unit: str) -> str:
    """Return the least and the most of what the windows observed; empty if none observed it."""
    values = [value for state in states if (value := getattr(state, quantity)) is not None]
    ends = [formatting.format_si(end(values), unit, 3) for end in (min, max) if values]
    return " to ".join(dict.fromkeys(ends))
