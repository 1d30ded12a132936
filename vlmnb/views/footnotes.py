"""Notes below a table: why cells are ``-``, what the marks mean, how energy was obtained, what is stale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from vlmnb import paths
from vlmnb.analysis.titles import dataset_title, entry_of, titled, where
from vlmnb.meters.readings import headline
from vlmnb.records.record import Record
from vlmnb.records.resolved import changes_since, resolve_cell
from vlmnb.spec.cell import Cell
from vlmnb.views import marks
from vlmnb.views.reasons import readable
from vlmnb.views.templates import say

Why = TypeVar("Why")


def notes(records: Sequence[Record], energy: bool = True, elsewhere: bool = False) -> str:
    """Return all notes on the records of a table as Markdown.

    Args:
        records: Those of the table.
        energy: Whether it shows joules.
        elsewhere: Whether other tables or figures of the page do, where ``†`` is explained nowhere else.
    """
    parts = (reasons(records, energy), disturbed(records, energy or elsewhere), stale(records))
    return "\n".join(filter(None, parts))


def setup(records: Sequence[Record]) -> str:
    """Return what all records of a table have in common, as a line of Markdown above it."""
    cells = [record.cell for record in records]
    values = {name: {getattr(cell, name) for cell in cells} for name in Cell.model_fields}
    common = {name: found.pop() if len(found) == 1 else None for name, found in values.items()}
    machines = sorted({record.hardware for record in records})
    model, dataset = str(common["model"] or ""), str(common["dataset"] or "")
    title = entry.title if (entry := entry_of(model)) else model
    days = sorted({record.provenance.started_at[:10] for record in records if record.source == "measured"})
    return (
        say(
            "captions",
            "setup",
            machines=machines,
            of=common,
            model=title,
            dataset=dataset_title(dataset),
            days=[day for day in {days[0]: 0, days[-1]: 0} if day] if days else [],
        )
        if records
        else ""
    )


def reasons(records: Sequence[Record], energy: bool = True, remarks: bool = True) -> str:
    """Return Markdown that says why cells are ``-``, one line per reason; empty if none is.

    ``remarks``: with ours on the reports' tables of the cells; among several models each names its own.
    """
    every = [record.cell for record in records]
    ok = [record for record in records if record.status == "ok"]
    short = [record.cell for record in ok if record.short]
    above = [one for one in ok if not one.reported and one.wer is not None and one.wer > 1]

    def grouped(
        among: Iterable[Record], reason: Callable[[Record], Why | Literal[False] | None]
    ) -> list[tuple[Why, str]]:
        found: dict[Why, list[Cell]] = {}
        for record in among:
            if why := reason(record):
                found.setdefault(why, []).append(record.cell)
        return [(why, where(cells, every)) for why, cells in found.items()]

    several = len({record.cell.model for record in records}) > 1
    own = [
        f"{titled(record.cell).model}: {remark.text}" if several else remark.text
        for record in records
        if record.reported
        for remark in record.reported.remarks
    ]
    return say(
        "notes", "reasons",
        geometries=dict.fromkeys(
            (r.cell.model, r.provenance.geometry) for r in records if r.provenance.geometry
        ),
        failed=grouped(
            records, lambda r: r.status != "ok" and (r.status.replace("_", " "), readable(r.reason))
        ),
        short=where(short, every) if short else "",
        energy=grouped(ok if energy else (), lambda r: r.energy_reason),
        flops=grouped(records, lambda r: r.flops.note if r.flops else None),
        unstated=any(record.energy_method == "unstated" for record in records),
        remarks=dict.fromkeys(own if remarks else ()),
        modelled=energy and any(map(_modelled, records)),
        # Under load a median of the passes, or of some, and their sum in the joules go apart.
        follows=not any(record.window_under_load for record in ok),
        turns=any(record.timing and record.timing.turns for record in ok if not record.short),
        unscored=grouped(records, lambda r: r.quality_note),
        above=where([one.cell for one in above], every) if above else "",
        accuracies=[one.accuracy for one in above if one.accuracy is not None],
        empty=grouped(records, lambda r: r.degenerate),
        fewer=grouped(records, _fewer),
        remarked=grouped(records, lambda r: "; ".join(r.notes)),
    )  # fmt: skip


def disturbed(records: Sequence[Record], energy: bool = True) -> str:
    """Return Markdown that explains ``†`` in the tables of a page; empty if it does not occur."""
    ok = [record for record in records if record.status == "ok" and record.layers is None]
    whole = [record for record in ok if energy and record.timing and record.window_under_load]
    kept = [one for one in ok if (one.batches_under_load if one.timing else one.window_under_load)]
    return say(
        "notes", "disturbed", energy=any(record.window_under_load for record in kept) and energy,
        kept=_loads(kept, records, files=True),
        folders=dict.fromkeys(_file(record).parent.as_posix() for record in kept),
        spinning=any(map(_spins, kept)),
        left_out=_loads([record for record in whole if not record.batches_under_load], records),
    )  # fmt: skip


def compiled(records: Sequence[Record]) -> str:
    """Return a Markdown line on the time of compiling, which no latency includes; empty if there is none."""
    return say("notes", "compiled", records=[r for r in records if r.compilation and r.timing])


def stale(records: Sequence[Record]) -> str:
    """Return Markdown that says which records are stale and why, one line per reason; empty if none is."""
    reasons: dict[str, list[Cell]] = {}
    for one in records:
        if not one.reported and one.key != resolve_cell(one.cell).key:
            reasons.setdefault(changes_since(one) or "its schema", []).append(one.cell)
    every, size = [one.cell for one in records], len(records)
    told = [
        (changed, "all of them" if len(cells) == size > 1 else where(cells, every))
        for changed, cells in reasons.items()
    ]
    return say("notes", "stale", reasons=told)


def _fewer(record: Record) -> str:
    """Return which samples of a record could not be used, and why; empty if all could."""
    failed = record.failed_samples
    rows = ", ".join(f"{one.row} ({one.id})" for one in failed)
    why = "; ".join(dict.fromkeys(one.reason for one in failed))
    count = f"{len(failed)} of {record.cell.samples} samples could not be used"
    return f"{count}: row{'s' * (len(failed) > 1)} {rows} ({why})" if failed else ""


def _modelled(record: Record) -> bool:
    device = "cpu" if record.preprocessing else record.cell.device
    of_parts = (headline(part.energy, device, part.energy_refused) for part in record.metered_parts)
    found = [record.headline_energy, *of_parts]
    return any(reading is not None and reading.method == "model" for reading in found)


def _spins(record: Record) -> bool:
    sleeps = record.provenance.tuning.get("OMP_WAIT_POLICY", "PASSIVE") == "PASSIVE"
    return record.cell.device == "cpu" and not (sleeps and "GOMP_SPINCOUNT" not in record.provenance.tuning)


def _loads(records: Iterable[Record], every: Sequence[Record], files: bool = False) -> str:
    """Return the background load of each record: with its file that of the times, else that of the window."""
    shown, cells = [], [record.cell for record in every]
    for record in records:
        share = marks.load_share(record) if files else record.provenance.other_load
        name = f", `{_file(record).name}`" if files else ""
        load = "" if share is None else f": {100 * share:.0f} % of the CPU"
        shown.append(f"{where([record.cell], cells)}{load}{name}")
    return " · ".join(shown)


def _file(record: Record) -> Path:
    """Return a record's file as it lies in the usual results folder."""
    return paths.record(Path("results"), record.hardware, record.cell.model, record.key)
