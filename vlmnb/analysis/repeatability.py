"""A/A repeats: one cell measured in several windows, and what that says about differences between cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from vlmnb.data import catalogue
from vlmnb.records import background_load, record, store
from vlmnb.records.record import Record
from vlmnb.spec.cell import Cell
from vlmnb.stats import comparison, intervals
from vlmnb.stats.comparison import Repeatability
from vlmnb.stats.formatting import percent
from vlmnb.types import Frozen
from vlmnb.views import findings
from vlmnb.views.axis_table import ONE_READING, Field, Table, absent, seconds

FEWEST = 3
"""Windows from which a threshold is told: two say so little that theirs is of no use."""


def read(results: Path) -> list[Record]:
    """All records of repeats below a folder, found by the index."""
    with store.Index(results) as index:
        files = [results / name for name in index.entries(having="repeat")]
    return [record.read(file) for file in files if file.exists()]


def groups(records: Iterable[Record]) -> dict[Cell, tuple[Record, ...]]:
    """Repeats of one cell by that cell, in order: of the newest code alone, on one machine alone.

    Args:
        records: Of one machine.
    """
    found: dict[Cell, dict[str, dict[int, Record]]] = {}
    measured = [r for r in records if r.cell.repeat and r.latency is not None and r.source == "measured"]
    for one in sorted(measured, key=lambda r: r.provenance.started_at):
        cell = one.cell.model_copy(update={"repeat": 0})
        by_code = found.setdefault(cell, {})
        # Windows of the code that measured last stand last.
        windows = by_code.pop(one.provenance.code, {})
        by_code[one.provenance.code] = {**windows, one.cell.repeat: one}
    return {
        cell: tuple(windows for _, windows in sorted(list(by_code.values())[-1].items()))
        for cell, by_code in found.items()
    }


class Allowance(Frozen):
    """How far two windows of one cell are taken to differ by themselves.

    Attributes:
        drift: Relative difference.
        origin: Where it comes from, in words.
    """

    drift: float
    origin: str


def of(windows: Sequence[Record]) -> Repeatability | None:
    """What the windows of one cell say; None where they are too few, or the same window twice.

    Windows that others disturbed are no repeats: they tell of the others.
    """
    quiet = [window for window in windows if not background_load.of_batches(window)]
    if len(quiet) < FEWEST:
        return None
    try:
        return comparison.repeatability([window.full_batches_s for window in quiet])
    except ValueError:
        return None


def allowance(records: Iterable[Record], places: Iterable[tuple[str, str]]) -> Allowance:
    """What is allowed for between windows of some machines and devices: measured, else assumed.

    Args:
        records: Repeats on record, and what is to be compared.
        places: Hardware and device of what is to be compared.
    """
    on_record, wanted = list(records), set(places)
    known = [drift(on_record, *place) for place in wanted]
    if known and None not in known:
        return Allowance(
            drift=max(found for found in known if found is not None), origin="A/A repeats of this machine"
        )
    own = [one for one in on_record if (one.hardware, one.cell.device) in wanted]
    windows = [window for group in groups(own).values() for window in group]
    disturbed = sum(map(background_load.of_batches, windows))
    why = "no A/A repeats of this machine are on record"
    if windows:
        why = f"A/A repeats of this machine are on record, but no {FEWEST} windows of one cell"
    if disturbed:
        why = (
            f"others used the machine during {disturbed} of its {len(windows)} A/A repeats, and {FEWEST} "
            "undisturbed ones of a cell are needed; repeat them on a quiet machine"
        )
    if any(map(_in_virtual_machine, own)):
        kind = "an assumption for a virtual machine, whose neighbours on the host cannot be seen"
        return Allowance(drift=findings.VIRTUAL_DRIFT, origin=f"{kind}: {why}")
    return Allowance(drift=findings.ASSUMED_DRIFT, origin=f"an assumption: {why}")


def _in_virtual_machine(record: Record) -> bool:
    """Whether a record was measured on the processor of a virtual machine; a GPU is given to one alone."""
    told = str(record.provenance.machine.get("virtualization", ""))
    return record.cell.device == "cpu" and told.startswith("virtual machine")


def drift(records: Iterable[Record], hardware: str, device: str) -> float | None:
    """Relative difference that two windows of one cell may show on a machine's device; None: not known.

    The largest threshold of the cells that were repeated there: a smaller one would hold for some only.
    """
    own = [r for r in records if r.hardware == hardware and r.cell.device == device]
    known = (of(windows) for windows in groups(own).values())
    return max((found.threshold for found in known if found), default=None)


def table(records: Sequence[Record]) -> Table:
    """One row per window: median with its interval, and what disturbed it."""
    rows = []
    for one in sorted(records, key=lambda r: (r.cell.dataset, r.cell.length, r.cell.repeat)):
        first = (Field(catalogue.get(one.cell.dataset).title, words=True), Field(one.cell.length, words=True),
                 Field(str(one.cell.repeat)))  # fmt: skip
        latency, load = one.latency, one.provenance.other_load
        if latency is None:
            rows.append((*first, *(absent(one) for _ in range(4))))
            continue
        shown, (mark, why) = seconds(latency, one.key), background_load.latency_mark(one)
        rows.append(
            (
                *first,
                replace(shown, text=shown.text + mark, title=shown.title + why),
                Field(intervals.verdict(one.full_batches_s), key=one.key, words=True),
                Field(f"{100 * load:.0f} %" if load is not None else "-", ONE_READING, one.key),
                Field(one.provenance.started_at[11:19] or "-", "UTC", one.key),
            )
        )
    heads = (
        "Data set",
        "Answers",
        "Window",
        "Latency per batch, s [95 %]",
        "Verdict",
        "Load by others",
        "Began",
    )
    return Table("Windows of one and the same cell, each with the model loaded anew", heads, tuple(rows))


def text(records: Sequence[Record]) -> str:
    """Markdown list: the threshold of each repeated cell, and what it means."""
    lines = []
    for cell, windows in groups(records).items():
        found = of(windows)
        name = f"{catalogue.get(cell.dataset).title}, answers of {cell.length} length"
        disturbed = [window for window in windows if background_load.of_batches(window)]
        aside = ""
        if disturbed:
            keys = ", ".join(f"`{window.key}`" for window in disturbed)
            aside = (
                f" Others used the machine during {len(disturbed)} of {len(windows)} windows (†), which do "
                f"not count. Repeat them on a quiet machine: delete their records ({keys}), and run the "
                "sweep again."
            )
        if found is None:
            count = len(windows) - len(disturbed)
            lines.append(f"- {name}: undisturbed windows on record: {count}, needed: {FEWEST}.{aside}")
            continue
        lines.append(
            f"- {name}: medians of {found.windows} windows have a spread of {percent(found.spread)} % "
            "(standard deviation of their logarithms). Two windows "
            f"of this cell differ by less than {percent(found.threshold)} % in 95 % of cases: a smaller "
            f"difference between two cells is no evidence. One of {percent(found.detectable)} % would be "
            f"found in {100 * comparison.POWER:.0f} % of cases.{aside}"
        )
    return "\n".join(lines) or "- No window of this page could be measured on this machine."
