"""Check that no optimization saves more than the phases take whose work it can change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vlmnb.analysis import worth
from vlmnb.audit.measured.across_records import CONFIDENCE, comparable, noise_floors, optimized
from vlmnb.audit.rule import Draft, found, rule
from vlmnb.records.record import Record


@rule("measured")
def savings_within_their_bound(records: Sequence[Record]) -> Iterator[Draft]:
    """No optimization saves more than its bound, beyond the interval, where the machine kept its speed."""
    floors = noise_floors(records)
    for base, other in optimized([r for r in records if comparable(r)]):
        floor = floors[base.hardware, base.cell.device]
        saved = worth.saving(base, other, floor, CONFIDENCE)
        if saved is None or worth.speed_changed(base, other, floor):
            continue
        case = ""
        if saved.seconds and saved.seconds.low > saved.bound_high_s:
            case = "seconds"
        elif other.energy_method != "model" and _more_joules(base, saved, floor):
            case = "joules"
        if case:
            yield found(case, [base, other], cell=other.cell, bound=saved.bound_high_s, saved=saved)


def _more_joules(base: Record, saved: worth.Saving, floor: float) -> bool:
    if saved.joules is None or saved.bound_j is None:
        return False
    return saved.joules.value > saved.bound_j + floor * (base.energy_j_per_sample or 0.0)
