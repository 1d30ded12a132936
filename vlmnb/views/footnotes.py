"""What stands beneath a table: why cells are ``-``, what counters say, how energy was obtained."""

from __future__ import annotations

import html as markup
from collections.abc import Sequence

from vlmnb.meters.readings import headline
from vlmnb.records import staleness
from vlmnb.records.record import Record
from vlmnb.records.resolved import resolve_cell
from vlmnb.spec.cell import Cell, words
from vlmnb.views.axis_table import STATUS_WORDS


def beneath(records: Sequence[Record], energy: bool = True) -> str:
    """Markdown that says why cells are ``-``, one line per reason; empty where none is.

    Args:
        records: Of the cells that are shown.
        energy: Whether joules are among what is shown.
    """
    reasons: dict[tuple[str, str], list[Cell]] = {}
    for record in records:
        if record.status != "ok":
            reasons.setdefault((record.status, record.reason), []).append(record.cell)
    every = [record.cell for record in records]
    others = dict.fromkeys((r.cell.model, r.provenance.geometry) for r in records if r.provenance.geometry)
    lines = [
        f"- *Another geometry than that of {escape(model)}*: the checkpoint has {escape(geometry)}; nothing "
        "measured with it is a number of that model."
        for model, geometry in others
    ]
    lines += [
        f"- `-` *{STATUS_WORDS[status]}*: {escape(reason)} ({_where(cells, every)})"
        for (status, reason), cells in reasons.items()
    ]
    timed = [r for r in records if r.status == "ok" and r.timing is not None]
    short = [r.cell for r in timed if not r.full_batches_s]
    if short:
        lines.append(f"- `-` latency: fewer samples than one batch ({_where(short, every)})")
    refused: dict[str, list[Cell]] = {}
    for record in records:
        if energy and record.status == "ok" and record.energy_reason:
            refused.setdefault(record.energy_reason, []).append(record.cell)
    lines += [f"- `-` energy: {escape(why)} ({_where(cells, every)})" for why, cells in refused.items()]
    differing: dict[str, list[Cell]] = {}
    for record in records:
        if record.flops and record.flops.note:
            differing.setdefault(record.flops.note, []).append(record.cell)
    lines += [f"- FLOPs: {escape(why)} ({_where(cells, every)})" for why, cells in differing.items()]
    if any(r.energy_method == "unstated" for r in records):
        lines.append("- Energy: the report does not say how it was obtained (`unstated`), nor its spread.")
    lines += [f"- {escape(text)}" for text in dict.fromkeys(_remarks(records))]
    if energy and any(_modelled(record) for record in records):
        lines.append(
            "- `≈` energy is *modelled* by codecarbon from CPU time and a nominal power, not measured; "
            "it follows time and says little more."
        )
    return "\n".join(lines)


def compiled(records: Sequence[Record]) -> str:
    """A Markdown line on what compiling took, which is in no latency; empty where nothing was compiled."""
    parts = [
        f"{escape(record.cell.optimization)} at batch {record.cell.batch_size}, "
        f"{record.timing.first_call_s:.3g} s (graphs compiled since the model was loaded: "
        f"{record.compilation.cache_misses}; found compiled by an earlier process: "
        f"{record.compilation.cache_hits})"
        for record in records
        if record.compilation and record.timing
    ]
    return f"- Compilation is in no time above. First calls: {'; '.join(parts)}." if parts else ""


def stale(found: Sequence[Record]) -> str:
    """Markdown that says which records are stale and why, one line per reason; empty where none is."""
    reasons: dict[str, list[str]] = {}
    for one in found:
        if not one.reported and one.key != resolve_cell(one.cell).key:
            changed = staleness.changes(one) or "its schema"
            reasons.setdefault(changed, []).append(words(one.cell))
    again = "`vlmnb sweep SPEC --stale` measures them again"
    return "\n".join(
        f"- *stale*: measured here before this changed: {escape(changed)}; {again} "
        f"({escape('; '.join(cells))})"
        for changed, cells in reasons.items()
    )


def _modelled(record: Record) -> bool:
    """Whether joules that are shown of a record, or of its layers, were modelled."""
    parts = [part.energy for part in record.layers.parts] if record.layers else []
    found = [record.headline_energy, *(headline(readings, record.cell.device) for readings in parts)]
    return any(reading is not None and reading.method == "model" for reading in found)


def _remarks(records: Sequence[Record]) -> list[str]:
    return [remark.text for record in records if record.reported for remark in record.reported.remarks]


def escape(text: str) -> str:
    """Text for a Markdown line: no markup, no line breaks, at most 300 characters."""
    short = " ".join(text.split())
    short = short if len(short) <= 300 else short[:299] + "…"
    return markup.escape(short, quote=False).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def _where(cells: Sequence[Cell], every: Sequence[Cell]) -> str:
    """What tells cells apart from the others of a page: only the fields that differ on it."""
    named = {"dataset": "", "device": "", "optimization": "", "batch_size": "batch size ",
             "image_size": "image size ", "seq_len": "prompt length "}  # fmt: skip
    parts = []
    for name, word in named.items():
        if len({getattr(cell, name) for cell in every}) > 1 or len(every) == 1:
            values = dict.fromkeys(str(getattr(cell, name)) for cell in cells)
            parts.append(word + ", ".join(values))
    return "; ".join(parts)
