"""Notes below a table: why cells are ``-``, what the marks mean, how energy was obtained, what is stale."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence

from vlmnb.meters.readings import headline
from vlmnb.records import staleness
from vlmnb.records.record import Record
from vlmnb.records.resolved import resolve_cell
from vlmnb.spec.cell import Cell, words
from vlmnb.views.table import STATUS_WORDS

MARKUP = str.maketrans({"|": "\\|", "*": "\\*", "_": "\\_"})


def notes(records: Sequence[Record], energy: bool = True) -> str:
    """Return all notes on the records of a table as Markdown; ``energy``: whether joules are shown."""
    parts = (reasons(records, energy), quality(records), disturbed(records, energy), stale(records))
    return "\n".join(filter(None, parts))


def reasons(records: Sequence[Record], energy: bool = True) -> str:
    """Return Markdown that says why cells are ``-``, one line per reason; empty if none is.

    Args:
        records: Records of the cells that are shown.
        energy: Whether joules are shown.
    """
    every = [record.cell for record in records]
    ok = [record for record in records if record.status == "ok"]
    others = dict.fromkeys((r.cell.model, r.provenance.geometry) for r in records if r.provenance.geometry)
    lines = [
        f"- *Another geometry than that of {escape(model)}*: the checkpoint has {escape(geometry)}; no "
        "number measured with it is a number of that model."
        for model, geometry in others
    ]
    failed = _grouped(
        records, lambda r: r.status != "ok" and f"*{STATUS_WORDS[r.status]}*: {escape(r.reason)}"
    )
    lines += [f"- `-` {why} ({_where(cells, every)})" for why, cells in failed.items()]
    short = [r.cell for r in ok if r.timing is not None and not r.full_batches_s]
    if short:
        lines.append(f"- `-` latency: fewer samples than one batch ({_where(short, every)})")
    refused = _grouped(ok, lambda r: r.energy_reason) if energy else {}
    lines += [f"- `-` energy: {escape(why)} ({_where(cells, every)})" for why, cells in refused.items()]
    counts = _grouped(records, lambda r: r.flops.note if r.flops else None)
    lines += [f"- FLOPs: {escape(why)} ({_where(cells, every)})" for why, cells in counts.items()]
    if any(r.energy_method == "unstated" for r in records):
        lines.append("- Energy: the report states neither how it was obtained (`unstated`) nor its spread.")
    remarks = (remark.text for r in records if r.reported for remark in r.reported.remarks)
    lines += [f"- {escape(text)}" for text in dict.fromkeys(remarks)]
    if energy and any(_modelled(record) for record in records):
        lines.append(
            "- `≈` energy is *modelled* by codecarbon from CPU time and a nominal power, not measured; "
            "it follows the time and adds little to it."
        )
    return "\n".join(lines)


def quality(records: Sequence[Record]) -> str:
    """Return Markdown on answers without scores and on answers that say nothing; empty if there are none."""
    every = [record.cell for record in records]
    notes = _grouped(records, lambda r: r.quality_note)
    lines = [f"- Scores: {escape(why)} ({_where(cells, every)})" for why, cells in notes.items()]
    nothing = _grouped(records, lambda r: r.degenerate)
    lines += [
        f"- `∅` {why} ({_where(cells, every)}): such times and joules are not those of a model that answers."
        for why, cells in nothing.items()
    ]
    return "\n".join(lines)


def disturbed(records: Sequence[Record], energy: bool = True) -> str:
    """Return Markdown that explains ``†`` in the tables of a page; empty if it does not occur.

    Args:
        records: Records of the cells that are shown.
        energy: Whether joules are shown.
    """
    timed = [record for record in records if record.status == "ok" and record.timing is not None]
    kept = [record for record in timed if record.batches_under_load]
    left_out = [r for r in timed if energy and r.window_under_load and not r.batches_under_load]
    lines = []
    if kept:
        lines.append(
            f"- `†` other processes used the machine meanwhile: times{' and joules' * energy} may be too "
            "high, and rows may differ for this reason alone. To measure again, delete the records on an "
            f"idle machine ({_loads(kept)})"
        )
    if left_out:
        lines.append(
            "- `†` other processes used the machine meanwhile: latencies leave out the disturbed passes; "
            f"joules, one reading of the whole window, include them ({_loads(left_out)})"
        )
    return "\n".join(lines)


def compiled(records: Sequence[Record]) -> str:
    """Return a Markdown line on the time of compiling, which no latency includes; empty if there is none."""
    parts = [
        f"{escape(record.cell.optimization)} at batch {record.cell.batch_size}, "
        f"{record.timing.first_call_s:.3g} s (graphs compiled since the model was loaded: "
        f"{record.compilation.cache_misses}; found compiled by an earlier process: "
        f"{record.compilation.cache_hits})"
        for record in records
        if record.compilation and record.timing
    ]
    return f"- The times above do not include compilation. First calls: {'; '.join(parts)}." if parts else ""


def stale(records: Sequence[Record]) -> str:
    """Return Markdown that says which records are stale and why, one line per reason; empty if none is."""
    reasons: dict[str, list[str]] = {}
    for one in records:
        if not one.reported and one.key != resolve_cell(one.cell).key:
            changed = staleness.changes(one) or "its schema"
            reasons.setdefault(changed, []).append(words(one.cell))
    again = "`vlmnb sweep SPEC --stale` measures them again"
    return "\n".join(
        f"- *stale*: measured here before this changed: {escape(changed)}; {again} "
        f"({escape('; '.join(cells))})"
        for changed, cells in reasons.items()
    )


def escape(text: str) -> str:
    """Return text for a Markdown line: no markup, no line breaks, at most 300 characters."""
    short = " ".join(text.split())
    short = short if len(short) <= 300 else short[:299] + "…"
    return html.escape(short, quote=False).translate(MARKUP)


def _grouped(
    records: Iterable[Record], reason: Callable[[Record], str | bool | None]
) -> dict[str, list[Cell]]:
    """Return the cells of records by their reason, without those that have none."""
    found: dict[str, list[Cell]] = {}
    for record in records:
        if why := reason(record):
            found.setdefault(str(why), []).append(record.cell)
    return found


def _modelled(record: Record) -> bool:
    """Return whether energy that is shown of a record, or of its layers, was modelled."""
    parts = [part.energy for part in record.layers.parts] if record.layers else []
    found = [record.headline_energy, *(headline(readings, record.cell.device) for readings in parts)]
    return any(reading is not None and reading.method == "model" for reading in found)


def _where(cells: Sequence[Cell], every: Sequence[Cell]) -> str:
    """Name cells by the fields that differ between the cells of a page."""
    named = {"dataset": "", "device": "", "optimization": "", "batch_size": "batch size ",
             "image_size": "image size ", "seq_len": "prompt length "}  # fmt: skip
    parts = []
    for name, word in named.items():
        if len({getattr(cell, name) for cell in every}) > 1 or len(every) == 1:
            values = dict.fromkeys(str(getattr(cell, name)) for cell in cells)
            parts.append(word + ", ".join(values))
    return "; ".join(parts)


def _loads(records: Sequence[Record]) -> str:
    """Name records with the share of the CPU that other processes used."""
    shown = []
    for record in records:
        share = record.provenance.other_load
        shown.append(words(record.cell) + ("" if share is None else f": {100 * share:.0f} %"))
    return "; ".join(shown)
