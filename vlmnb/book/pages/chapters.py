"""A chapter per model: what it is, what it costs, its pages, and what could not be measured."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from vlmnb import paths
from vlmnb.analysis import base_configuration
from vlmnb.book import contents
from vlmnb.models.entry import ModelEntry
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting
from vlmnb.views import markup


def model_page(content: contents.Content, name: str) -> str:
    """A model's chapter: what it is, what it costs, its pages, and what could not be measured."""
    entry = base_configuration.entry_of(name)
    own = [r for r in content.records if r.cell.model == name]
    parts = [f"# {contents.model_title(name)}"]
    parts += [entry.summary, _model_facts(entry)] if entry else ["The registry no longer has this model."]
    for setting, entries in base_configuration.base_entries(own).items():
        parts += [
            f"## Base configuration on {setting.title}", base_configuration.cost_table(entries),
            base_configuration.quality_table(entries),
        ]  # fmt: skip
    parts += ["## Its pages", _report_list(content, name), _run_list(content, name)]
    parts += [_card_hint(content, name) if entry else "", _unmeasured(own), _model_card(entry)]
    return contents.joined(parts)


def _model_facts(entry: ModelEntry) -> str:
    names = (markup.escape(base_configuration.dataset_title(name)) for name in entry.datasets)
    native = f"only {entry.native_image_size}" if entry.native_image_size else "several"
    facts = {
        "Name": f"<code>{entry.name}</code>",
        "Weights": "bundled with the project" if entry.bundled else markup.escape(entry.source),
        **_weights_facts(entry),
        "Image sizes it takes": native,
        "Axis of image sizes": ", ".join(map(str, entry.image_sizes)) + f" (base {entry.base_image_size})",
        "Axis of prompts": ", ".join(map(str, entry.seq_lens)) + f" tokens (base {entry.seq_lens[0]})",
        "Base precision": f"{entry.base_dtype} on a CPU, fp16 on a GPU",
        "Longest answer": f"{entry.max_new_tokens} tokens",
        "Data sets": ", ".join(names),
    }
    return markup.facts(facts)


def _weights_facts(entry: ModelEntry) -> dict[str, str]:
    """Size of bundled weights, from the header of the safetensors file."""
    path = paths.bundled_model(entry.name) / "model.safetensors"
    if not entry.bundled or not path.exists():
        return {}
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    parameters = sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
    return {
        "Parameters": f"{parameters:,}".replace(",", " "),
        "Weights file": formatting.format_si(path.stat().st_size, "B"),
    }


def _card_hint(content: contents.Content, name: str) -> str:
    """How its page on memory and GPUs is made; empty where it is there."""
    if any(page.model == name and page.axis == "card" for page in content.pages):
        return ""
    return (
        "Its page on memory and on the GPUs that run it measures nothing: `vlmnb sweep sweeps/cards.yaml`, "
        "then `vlmnb book`, make it."
    )


def _model_card(entry: ModelEntry | None) -> str:
    """The model card that ships with a bundled model, below the chapter."""
    card = paths.bundled_model(entry.name) / "README.md" if entry and entry.bundled else None
    if card is None or not card.exists():
        return ""
    lines, fenced = [], False
    for line in card.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not fenced else line)
    return "## Model card\n\n" + "\n".join(lines[1:]).strip()


def _report_list(content: contents.Content, name: str) -> str:
    """The pages of the report on a model, in the report's order; empty where there is none."""
    own = [page for page in content.pages if page.model == name and page.source == "reports"]
    lines = [
        f"- [{contents.axis_title(page.axis)}, as reported](/book/reports/{name}/{page.axis}.ipynb)"
        for page in sorted(own, key=lambda page: contents.axis_order(page.axis))
    ]
    if not lines:
        return ""
    first = "What a report says of it, table by table, with our own measurements beside where there are any:"
    return "\n".join([first, "", *lines])


def _run_list(content: contents.Content, name: str) -> str:
    own = [page for page in content.pages if page.model == name]
    published = {page.axis: page for page in own if page.source == "measured"}
    failures = {failure.axis: failure for failure in content.failures if failure.model == name}
    if len(published) < len(own) and not published.keys() - {"card"} and not failures:
        return contents.joined([_single_cells(content.records, name), _card_line(name) if published else ""])
    lines = ["What was measured here:", ""] if len(published) < len(own) else []
    for axis in sorted({*published, *failures, *axes.AXES}, key=contents.axis_order):
        question = axes.AXES[axis].question if axis in axes.AXES else ""
        if axis in published:
            target = f"[{contents.axis_title(axis)}](/book/runs/{name}/{axis}.ipynb)"
            page = published[axis]
            mark = " **The last rerun failed**; the page is of an earlier one." if page.outdated else ""
            mark = mark or (" **Outdated**; the page says how it is drawn again." if page.redrawn_by else "")
        else:
            target = f"{contents.axis_title(axis)} (not published)"
            mark = " Not run yet."
            if axis in failures:
                mark = f" **The run failed**: {markup.plain(failures[axis].error)}."
                mark += " See [](/book/generated/status.md)."
        lines.append(f"- {target}: {question}{mark}")
    return "\n".join(lines)


def _card_line(name: str) -> str:
    question = axes.AXES["card"].question
    return f"Nothing is measured for its [model card](/book/runs/{name}/card.ipynb): {question}"


def _single_cells(records: Sequence[Record], name: str) -> str:
    """What is said of a model of which no page of own measurements is published."""
    found = [r for r in records if r.cell.model == name and r.source == "measured" and r.status == "ok"]
    if not found:
        return "None of its tables has been measured here."
    places = formatting.enumerated(sorted({markup.plain(r.hardware) for r in found}))
    cells = "One cell was" if len(found) == 1 else f"{len(found)} cells were"
    return (
        f"None of its tables has been measured here as a whole. {cells}, on {places}: where the report has a "
        "figure of the same cell, both stand side by side on the pages above."
    )


def _unmeasured(own: Sequence[Record]) -> str:
    """Cells without numbers, by reason."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for found in own:
        if found.status != "ok":
            groups.setdefault((found.status, found.reason), []).append(found.cell)
    if not groups:
        return ""
    rows = []
    for (status, reason), cells in sorted(groups.items()):
        which = markup.escape(_settings(cells))
        rows.append([f"<code>{status}</code>", markup.escape(reason), str(len(cells)), which])
    header = ["Status", "Reason", "Cells", "Which"]
    table = markup.table(header, rows, text=(1, 3))
    return f"## What could not be measured\n\nThe statuses are explained in [](#statuses).\n\n{table}"


def _settings(cells: Sequence[Cell]) -> str:
    """The settings of cells, each with all its values."""

    def values(field: str) -> str:
        return ", ".join(str(value) for value in sorted({getattr(cell, field) for cell in cells}))

    names = sorted({base_configuration.dataset_title(cell.dataset) for cell in cells})
    return (
        f"{', '.join(names)}; {values('device')}; {values('optimization')}; batch {values('batch_size')}; "
        f"image {values('image_size')}; prompt {values('seq_len')}"
    )
