"""The support page: which optimization runs with which model on which device, computed from the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from vlmnb.analysis.base_configuration import Setup, on_a_device
from vlmnb.book.content import Content, model_title
from vlmnb.book.rendering import code, render
from vlmnb.errors import UserError
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.optimizations import BASE_ATTENTION
from vlmnb.views.reasons import readable
from vlmnb.views.table import Field, without

OF_THE_CELL = ("not_applicable", "not_enough_tokens")
"""Statuses that depend on an image size or a prompt length, not on an optimization."""

Tried = dict[tuple[str, str], dict[int, Record]]
"""By optimization and model: the record that counts for each batch size."""


def page(content: Content) -> str:
    """Return the page."""
    return render(
        "support.md", batches=optimizations.at_batches(optimizations.defaults("fp32"), 16),
        devices=[_device(*device, content.models) for device in matrix(content.records).items()],
        reported=_reported(content),
        descriptions=_descriptions(content.records),
    )  # fmt: skip


def _descriptions(records: Iterable[Record]) -> dict[str, str]:
    """Return what every setting is, and those with a number in their name that were tried."""
    tried = {part for r in records if r.source == "measured" for part in r.cell.optimization.split("+")}
    found = dict(optimizations.settings())
    for name in sorted(tried - found.keys()):
        with suppress(UserError):  # of a record of another version
            found |= {name: one} if (one := optimizations.setting(name)) else {}
    return {code(name): one.description for name, one in found.items()}


def _reported(content: Content) -> dict[str, tuple[list[str], list[str]]]:
    """Return by model the optimizations of which a report has figures on a GPU, and those it leaves blank."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for record in content.records:
        if record.source == "reports" and record.cell.device == "cuda":
            ran, blank = found.setdefault(model_title(record.cell.model), ([], []))
            (ran if record.status == "ok" else blank).append(record.cell.optimization)
    titles = [title for title in map(model_title, content.models) if title in found]
    return {
        title: (sorted(set(ran), key=_order), sorted(set(blank) - set(ran), key=_order))
        for title, (ran, blank) in ((title, found[title]) for title in titles)
    }


def matrix(records: Iterable[Record]) -> dict[tuple[str, str], Tried]:
    """Choose the record that counts for each optimization, model and batch size, by hardware and device.

    A record with status ok goes first, then the newest. Figures of reports do not count: nothing was tried.
    """
    groups: dict[tuple[str, str], Tried] = {}
    for record in sorted(on_a_device(records), key=lambda r: (r.status == "ok", r.provenance.started_at)):
        cell = record.cell
        if record.source == "measured" and cell.measure == "generation" and record.status not in OF_THE_CELL:
            tried = groups.setdefault((record.hardware, cell.device), {})
            tried.setdefault((cell.optimization, cell.model), {})[cell.batch_size] = record
    return dict(sorted(groups.items()))


def _device(group: tuple[str, str], found: Tried, models: Sequence[str]) -> dict[str, object]:
    """Collect what was tried on one device; the table refers to the reasons by number, from 1.

    ``reasons``: the words of the records, by the line that the page shows.
    """
    there = [model for model in models if any(of == model for _, of in found)]
    reasons: dict[str, dict[str, None]] = {}
    rows = [
        (code(name), *(_field(found.get((name, model), {}), reasons) for model in there))
        for name in sorted({name for name, _ in found}, key=_order)
    ]
    untried: dict[tuple[str, ...], list[str]] = {}
    for model in there:
        seen = {BASE_ATTENTION, *(part for name, of in found if of == model for part in name.split("+"))}
        if left := [name for name in optimizations.settings() if name not in seen]:
            untried.setdefault(tuple(left), []).append(model_title(model))
    return {
        "title": Setup("measured", *group).title, "models": [model_title(model) for model in there],
        "rows": rows, "reasons": reasons, "untried": untried,
        "ran": len({name for (name, _), sizes in found.items() for r in sizes.values() if r.status == "ok"}),
        "random": [model_title(model) for model in there if _random(model, found)],
    }  # fmt: skip


def _random(model: str, found: Tried) -> bool:
    tried = [record for (_, of), by_size in found.items() if of == model for record in by_size.values()]
    return all(record.cell.weights == "random" for record in tried)


def _field(found: Mapping[int, Record], reasons: dict[str, dict[str, None]]) -> Field:
    if not found:
        return replace(without("not tried"), words=True)
    sizes: dict[str, list[str]] = {}
    titles = []
    for size, record in sorted(found.items()):
        word = "ok"
        if record.status != "ok":
            why = readable(record.reason)
            reasons.setdefault(why, {})[record.reason] = None
            word = f"{record.status.replace('_', ' ')} ({list(reasons).index(why) + 1})"
        sizes.setdefault(word, []).append(str(size))
        titles.append(f"batch {size}, record {record.key}: {record.reason or 'ok'}")
    text = "; ".join(f"{word}, batch {', '.join(of)}" for word, of in sizes.items())
    return Field(text, "; ".join(titles), words=True)


def _order(name: str) -> tuple[int, Sequence[int], str]:
    """Sort single optimizations first, in the order in which they are described."""
    known = list(optimizations.settings())
    places = [known.index(part) if part in known else len(known) for part in name.split("+")]
    return len(places), places, name
