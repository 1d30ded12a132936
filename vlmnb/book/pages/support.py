"""Which optimization runs with which model on which device: found by trying, told from the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlmnb.analysis import base_configuration
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.optimizations import BASE_ATTENTION
from vlmnb.views import markup
from vlmnb.views.axis_table import STATUS_WORDS

OF_THE_CELL = ("not_applicable", "not_enough_tokens")
"""Statuses that say something of an image size or a prompt, and nothing of an optimization."""

Group = tuple[str, str]
"""Hardware and device."""

Tried = dict[tuple[str, str], dict[int, Record]]
"""By optimization and model: the record that speaks for each batch size."""


def matrix(records: Iterable[Record]) -> dict[Group, Tried]:
    """The records that speak for each optimization and model, by hardware and device.

    Of one batch size that which went well speaks, else the newest. What was only asked for and not tried
    (reports) says nothing here.
    """
    groups: dict[Group, Tried] = {}
    for record in sorted(records, key=lambda r: (r.status == "ok", r.provenance.started_at)):
        cell = record.cell
        if record.source == "measured" and cell.measure == "generation" and record.status not in OF_THE_CELL:
            tried = groups.setdefault((record.hardware, cell.device), {})
            tried.setdefault((cell.optimization, cell.model), {})[cell.batch_size] = record
    return dict(sorted(groups.items()))


def page(records: Iterable[Record], model_titles: dict[str, str]) -> str:
    """The support matrix as a page.

    Args:
        records: All there are.
        model_titles: Title of each model, in the order of the columns.
    """
    groups = optimizations.at_batches(optimizations.defaults("fp32"), 16)
    tried = "; ".join(f"{_listed(names)} at batch {size}" for size, names in groups)
    parts = [
        "# What runs where",
        "What was tried, and how it went, from the records alone; nothing here is from a list. *ok* names "
        "the batch sizes at which a setting ran; a number behind another word leads to the reason beneath "
        "the table; `-` was not tried.",
        "`vlmnb sweep sweeps/quickstart.yaml` tries these with each bundled model, on its multiple-choice "
        f"data set: {tried}. With a GPU, fp16 is the "
        "original instead of fp32. Settings combine with `+` in many more ways, which are tried where "
        "somebody asks for them (parameter `optimizations`).",
    ]
    told = len(parts)
    for (hardware, device), found in matrix(records).items():
        parts += [f"## {hardware}, {device}", _table(found, model_titles), untried(found, model_titles)]
    if len(parts) == told:
        parts.append("Nothing has been tried here yet.")
    parts += ["## The settings", _settings()]
    return "\n\n".join(part for part in parts if part) + "\n"


def untried(found: Tried, titles: dict[str, str]) -> str:
    """Markdown that names the settings that no record of a device has, alone or combined."""
    models = [name for name in titles if any(model == name for _, model in found)]
    lines = []
    for model in models:
        seen = {part for name, of in found if of == model for part in name.split("+")}
        rest = [name for name in optimizations.settings() if name not in seen and name != BASE_ATTENTION]
        if rest:
            lines.append(f"- {markup.plain(titles[model])}: {_listed(rest)}")
    return "Not tried here, neither alone nor combined:\n\n" + "\n".join(lines) if lines else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(found: Tried, titles: dict[str, str]) -> str:
    models = [name for name in titles if any(model == name for _, model in found)]
    names = sorted({name for name, _ in found}, key=_order)
    reasons: dict[str, int] = {}
    rows = []
    for name in names:
        fields = [_field(found.get((name, model), {}), reasons) for model in models]
        rows.append([f"<code>{markup.escape(name)}</code>", *fields])
    heads = ["Optimization", *(markup.escape(titles[model]) for model in models)]
    made = markup.table(heads, rows, text=tuple(range(1, len(heads))))
    listed = "\n".join(f"{number}. {markup.plain(reason)}" for reason, number in reasons.items())
    return f"{made}\n\n{listed}" if listed else made


def _field(found: dict[int, Record], reasons: dict[str, int]) -> str:
    """What happened, with the batch sizes at which it did."""
    told: dict[str, dict[int, str]] = {}
    for size, record in sorted(found.items()):
        word = "ok"
        if record.status != "ok":
            number = reasons.setdefault(record.reason, len(reasons) + 1)
            word = f"{markup.escape(STATUS_WORDS[record.status])} ({number})"
        told.setdefault(word, {})[size] = f"batch {size}, record {record.key}: {record.reason or 'ok'}"
    if not told:
        return '<span class="vlmnb-missing" title="not tried">-</span>'
    return "; ".join(
        f'<span title="{markup.escape("; ".join(titles.values()))}">{word}, batch '
        f"{', '.join(map(str, titles))}</span>"
        for word, titles in told.items()
    )


def _order(name: str) -> tuple[int, Sequence[int], str]:
    """Single settings first, in the order in which they are described."""
    known = list(optimizations.settings())
    places = [known.index(part) if part in known else len(known) for part in name.split("+")]
    return len(places), places, name


def _settings() -> str:
    return markup.facts(
        {f"<code>{s.name}</code>": markup.escape(s.description) for s in optimizations.settings().values()}
    )


def titles(models: Iterable[str]) -> dict[str, str]:
    """Titles of models, by name."""
    known = {name: base_configuration.entry_of(name) for name in models}
    return {name: entry.title if entry else name for name, entry in known.items()}
