"""Which optimization runs with which model on which device: found by trying, told from the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlmnb import compare, markup
from vlmnb.optimizations import DESCRIPTIONS
from vlmnb.record import Record
from vlmnb.tables import STATUS_WORDS

OF_THE_CELL = ("not_applicable", "not_enough_tokens")
"""Statuses that say something of an image size or a prompt, and nothing of an optimization."""

Group = tuple[str, str]
"""Hardware and device."""


def matrix(records: Iterable[Record]) -> dict[Group, dict[tuple[str, str], Record]]:
    """The record that speaks for each optimization and model, by hardware and device.

    One that went well speaks for the pair, else the newest. What was only asked for and not tried (reports)
    says nothing here.
    """
    groups: dict[Group, dict[tuple[str, str], Record]] = {}
    for record in sorted(records, key=lambda r: (r.status == "ok", r.provenance.started_at)):
        cell = record.cell
        if record.source == "measured" and cell.measure == "generation" and record.status not in OF_THE_CELL:
            groups.setdefault((record.hardware, cell.device), {})[cell.optimization, cell.model] = record
    return dict(sorted(groups.items()))


def page(records: Iterable[Record], model_titles: dict[str, str]) -> str:
    """The support matrix as a page.

    Args:
        records: All there are.
        model_titles: Title of each model, in the order of the columns.
    """
    parts = [
        "# What runs where",
        "What was tried, and how it went; nothing here is from a list. `vlmnb sweep sweeps/full.yaml` tries "
        "most settings. They combine with `+`. A number behind a word leads to the reason beneath the table.",
    ]
    for (hardware, device), found in matrix(records).items():
        parts += [f"## {hardware}, {device}", _table(found, model_titles)]
    if len(parts) == 2:
        parts.append("Nothing has been tried here yet.")
    parts += ["## The settings", _settings()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(found: dict[tuple[str, str], Record], titles: dict[str, str]) -> str:
    models = [name for name in titles if any(model == name for _, model in found)]
    names = sorted({name for name, _ in found}, key=_order)
    reasons: dict[str, int] = {}
    rows = []
    for name in names:
        fields = [_field(found.get((name, model)), reasons) for model in models]
        rows.append([f"<code>{markup.escape(name)}</code>", *fields])
    heads = ["Optimization", *(markup.escape(titles[model]) for model in models)]
    made = markup.table(heads, rows, text=tuple(range(1, len(heads))))
    listed = "\n".join(f"{number}. {markup.plain(reason)}" for reason, number in reasons.items())
    return f"{made}\n\n{listed}" if listed else made


def _field(record: Record | None, reasons: dict[str, int]) -> str:
    if record is None:
        return '<span class="vlmnb-missing" title="not tried">-</span>'
    if record.status == "ok":
        batch = record.cell.batch_size
        return f'<span title="batch {batch}, record {record.key}">ok</span>'
    number = reasons.setdefault(record.reason, len(reasons) + 1)
    word = markup.escape(STATUS_WORDS[record.status])
    return f'<span title="{markup.escape(record.reason)}">{word} ({number})</span>'


def _order(name: str) -> tuple[int, Sequence[int], str]:
    """Single settings first, in the order in which they are described."""
    places = [
        list(DESCRIPTIONS).index(part) if part in DESCRIPTIONS else len(DESCRIPTIONS)
        for part in name.split("+")
    ]
    return len(places), places, name


def _settings() -> str:
    return markup.facts(
        {f"<code>{name}</code>": markup.escape(meaning) for name, meaning in DESCRIPTIONS.items()}
    )


def titles(models: Iterable[str]) -> dict[str, str]:
    """Titles of models, by name."""
    known = {name: compare.entry_of(name) for name in models}
    return {name: entry.title if entry else name for name, entry in known.items()}
