"""The table of A/A repeats, and sentences on the noise floor."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb.analysis import repeatability
from vlmnb.analysis.repeatability import FEWEST, NoiseFloor
from vlmnb.data import catalogue
from vlmnb.records.record import Record
from vlmnb.stats import comparison
from vlmnb.stats.formatting import percent
from vlmnb.views import detail_table, fields
from vlmnb.views.fields import Column
from vlmnb.views.table import Field, Row, Table, missing, without

COLUMNS: tuple[Column, ...] = (
    ("Latency per batch, s [95 %]", fields.latency),
    ("Verdict", detail_table.verdict),
    ("Background load", detail_table.background_load),
    ("Began", lambda record: _began(record)),
)


def table(records: Sequence[Record]) -> Table:
    """Make a table with one row per repeat: median with its interval, and the background load."""
    rows: list[Row] = []
    for one in sorted(records, key=lambda r: (r.cell.dataset, r.cell.length, r.cell.repeat)):
        title = Field(catalogue.get(one.cell.dataset).title, words=True)
        label = (title, Field(one.cell.length, words=True), Field(str(one.cell.repeat)))
        timed = one.latency is not None
        rows.append((*label, *(show(one) if timed else missing(one) for _, show in COLUMNS)))
    heads = ("Data set", "Answers", "Repeat", *(head for head, _ in COLUMNS))
    return Table("Repeats of one and the same cell, each with the model loaded anew", heads, tuple(rows))


def text(records: Sequence[Record]) -> str:
    """Return a Markdown list: the threshold of each repeated cell, and what it means."""
    lines = []
    for cell, repeats in repeatability.groups(records).items():
        found, disturbed = repeatability.of(repeats), [r for r in repeats if r.batches_under_load]
        name = f"{catalogue.get(cell.dataset).title}, answers of {cell.length} length"
        line = f"- {name}: undisturbed repeats on record: {len(repeats) - len(disturbed)}, needed: {FEWEST}."
        if found:
            line = (
                f"- {name}: the medians of {found.windows} repeats have a spread of "
                f"{percent(found.spread)} % (standard deviation of their logarithms). Two repeats of this "
                f"cell differ by less than {percent(found.threshold)} % in 95 % of cases: a smaller "
                f"difference between two cells is no evidence. A difference of {percent(found.detectable)} % "
                f"would be found in {100 * comparison.POWER:.0f} % of cases."
            )
        if disturbed:
            keys = ", ".join(f"`{one.key}`" for one in disturbed)
            line += (
                f" Other processes used the machine during {len(disturbed)} of {len(repeats)} repeats (†), "
                f"which do not count. Delete their records ({keys}) and run the sweep again on a quiet "
                "machine."
            )
        lines.append(line)
    return "\n".join(lines) or "- No repeat of this page could be measured on this machine."


def noise_floor(floor: NoiseFloor) -> str:
    """Return a sentence on the noise floor and where it comes from."""
    return f"Two repeats of one cell may differ by up to {percent(floor.value)} % ({_origin(floor)})."


def _origin(floor: NoiseFloor) -> str:
    if floor.measured:
        return "A/A repeats of this machine"
    assumed = "an assumption"
    if floor.virtual:
        assumed += " for a virtual machine, which does not see the other machines on its host"
    if floor.disturbed:
        return (
            f"{assumed}: other processes used the machine during {floor.disturbed} of its {floor.repeats} "
            f"A/A repeats, and {FEWEST} undisturbed ones of a cell are needed; repeat them on a quiet machine"
        )
    if floor.repeats:
        return f"{assumed}: the A/A repeats of this machine include no {FEWEST} of one cell"
    return f"{assumed}: there are no A/A repeats of this machine"


def _began(record: Record) -> Field:
    time = record.provenance.started_at[11:19]
    return Field(time, "UTC", record.key) if time else without("not recorded", record.key)
