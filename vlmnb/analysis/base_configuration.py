"""Models side by side at the base configuration: the entries and their tables.

Numbers of different machines never share a table or a figure: everything here is made per setting.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlmnb import models, paths
from vlmnb.data import catalogue
from vlmnb.errors import UserError
from vlmnb.models.entry import ModelEntry
from vlmnb.quality import captions, chance_level
from vlmnb.records import background_load, export_columns
from vlmnb.records.record import Record
from vlmnb.records.reported import Quantity
from vlmnb.spec import axes, optimizations
from vlmnb.stats import formatting
from vlmnb.views import markup

Row = dict[str, Any]

PRINTED: tuple[Quantity, ...] = ("latency_s", "energy_j_per_sample", "wer")
"""Columns that show a report's figures character by character."""

BASE_BATCH_SIZE = axes.BATCH_SIZE


PROCESS_MEMORY = (
    "Above baseline is known of a GPU alone: a process on a CPU keeps what it once took, so that the "
    "difference says too little"
)
"""Why a peak has no difference beside it."""


class Setting(NamedTuple):
    """What two numbers must have in common to be compared."""

    source: str
    hardware: str
    device: str

    @property
    def title(self) -> str:
        """The setting in words."""
        device = "GPU" if self.device == "cuda" else "CPU"
        if self.source == "reports":
            return f"the {device} of the reports (transcribed, not measured here)"
        return f"{self.hardware}, on the {device}"


@dataclass(frozen=True)
class Entry:
    """One model at the base configuration in one setting.

    Attributes:
        model: Registry entry.
        rows: Flat rows of its base records, by data set.
    """

    model: ModelEntry
    rows: dict[str, Row]

    @property
    def speed(self) -> Row:
        """The row that speed, energy and memory are read from."""
        ok = {name: row for name, row in self.rows.items() if row["status"] == "ok"}
        return ok.get(self.model.speed_dataset) or next(iter((ok or self.rows).values()))


def entry_of(name: str) -> ModelEntry | None:
    """A model's registry entry; None for a record of a model that the registry no longer has."""
    try:
        return models.get(name)
    except UserError:
        return None


def is_base(found: Record) -> bool:
    """Whether a record is of its model's base configuration, by which models are compared."""
    entry, cell = entry_of(found.cell.model), found.cell
    if entry is None or cell.measure != "generation" or cell.repeat:
        return False
    base = (BASE_BATCH_SIZE, entry.base_image_size, entry.seq_lens[0],
            optimizations.base_dtype(entry.base_dtype, cell.device), "natural", "pretrained")  # fmt: skip
    return base == (
        cell.batch_size, cell.image_size, cell.seq_len, cell.optimization, cell.length, cell.weights
    )  # fmt: skip


def base_entries(records: Iterable[Record]) -> dict[Setting, tuple[Entry, ...]]:
    """The base records of each setting; of one cell's records the best founded.

    Settings that were measured come first, then those of most models.

    Best founded means most samples, then newest.
    """
    chosen: dict[tuple[Setting, str, str], Record] = {}
    for found in sorted(records, key=lambda r: (r.cell.samples, r.provenance.started_at)):
        if is_base(found):
            setting = Setting(found.source, found.hardware, found.cell.device)
            chosen[setting, found.cell.model, found.cell.dataset] = found
    groups: dict[Setting, dict[str, dict[str, Row]]] = {}
    for (setting, model, dataset), found in chosen.items():
        row = export_columns.row(found) | _tokens(found)
        if found.reported:
            best = {name: found.reported.figure(name) for name in PRINTED}
            row["printed"] = {name: figure.printed for name, figure in best.items() if figure}
        groups.setdefault(setting, {}).setdefault(model, {})[dataset] = row
    order = list(models.registry())
    made = {
        setting: tuple(_entry(name, by_model[name]) for name in sorted(by_model, key=order.index))
        for setting, by_model in groups.items()
    }
    return dict(sorted(made.items(), key=lambda item: (item[0].source != "measured", -len(item[1]), item[0])))


def _entry(name: str, found: dict[str, Row]) -> Entry:
    """A model's entry; a checkpoint of another geometry never goes by the bare name of the model."""
    entry = models.get(name)
    if any(row["other_geometry"] for row in found.values()):
        entry = entry.model_copy(update={"title": f"{entry.title} (a checkpoint of another geometry)"})
    return Entry(entry, found)


def cost_table(entries: Sequence[Entry], folder: str = "") -> str:
    """Latency, energy, FLOPs and memory of each model, as HTML; ``folder`` is where the chapters lie."""
    header = [
        "Model", "Latency, s per batch", "Energy, J per sample", "FLOPs per batch", "Peak memory",
        "Above baseline", "Image tokens", "Answer tokens",
    ]  # fmt: skip
    rows = []
    for entry in entries:
        row = entry.speed
        rows.append(
            [
                model_link(entry.model, folder),
                *(
                    raw_link(row, shown, folder)
                    for shown in (
                        latency(row),
                        energy(row),
                        markup.in_unit(row["flops"], "FLOP"),
                        markup.in_unit(row["peak_bytes"], "B"),
                        _over_model(row),
                        _median(row["image_token_counts"]),
                        _median(row["output_token_counts"]),
                    )
                ),
            ]
        )
    caption = _cost_caption(entries)
    answered = sorted({len(counts) for e in entries if (counts := e.speed["output_token_counts"])})
    if answered:
        caption += f" Tokens are counted: medians over {formatting.reach(answered)} answers."
    if any(entry.speed["peak_bytes"] and entry.speed["peak_bytes_over_model"] is None for entry in entries):
        caption += f" {PROCESS_MEMORY}."
    return markup.table(header, rows, caption=caption)


def quality_table(entries: Sequence[Entry], folder: str = "") -> str:
    """Word error rate and accuracy of each model on each data set, as HTML."""
    datasets = dataset_names(entries)
    scored = {name for name in datasets if any(accuracy(entry, name) is not None for entry in entries)}
    header = ["Model"]
    for name in datasets:
        header.append(f"{dataset_title(name)}, WER")
        header += [f"{dataset_title(name)}, accuracy"] if name in scored else []
        header += [f"{dataset_title(name)}, CIDEr"] if captions.is_captioning(name) else []
    rows = []
    for entry in entries:
        cells = [model_link(entry.model, folder)]
        for name in datasets:
            row = entry.rows.get(name, {})
            columns = ["wer", *(["accuracy"] if name in scored else [])]
            columns += ["cider"] if captions.is_captioning(name) else []
            cells += [raw_link(row, interval(row, column), folder) for column in columns]
        rows.append(cells)
    sizes = sorted({row["samples"] for entry in entries for row in entry.rows.values()})
    spread = "with 95 % bootstrap intervals"
    if of_reports(entries):
        spread = "as the reports print them, without intervals,"
    caption = (
        f"Fractions, {spread} over {formatting.reach(sizes)} answers a data set. "
        f"Lower is better for WER, higher for accuracy and CIDEr (a number up to 10). {chance(entries)}"
    )
    return markup.table(header, rows, caption=caption.rstrip())


def headline_table(entries: Sequence[Entry], folder: str = "") -> str:
    """The few columns that answer the question, as HTML."""
    datasets = dataset_names(entries)
    header = ["Model", "Latency, s per batch", "Energy, J per sample", "Peak memory"]
    by_accuracy = {name: any(accuracy(entry, name) is not None for entry in entries) for name in datasets}
    header += [f"{dataset_title(n)}, {'accuracy' if by_accuracy[n] else 'WER'}" for n in datasets]
    rows = []
    for entry in entries:
        row = entry.speed
        memory = markup.in_unit(row["peak_bytes"], "B")
        cells = [model_link(entry.model, folder)]
        cells += [raw_link(row, shown, folder) for shown in (latency(row), energy(row), memory)]
        for name in datasets:
            column = "accuracy" if by_accuracy[name] else "wer"
            of = entry.rows.get(name, {})
            cells.append(raw_link(of, interval(of, column), folder))
        rows.append(cells)
    return markup.table(header, rows, caption=f"{_cost_caption(entries)} {chance(entries)}".rstrip())


def latency(row: Row) -> str:
    """Median seconds per batch with its interval, as HTML; marked where others disturbed it."""
    shown = interval(row, "latency_s", "latency_low_s", "latency_high_s")
    if not row.get("latency_disturbed"):
        return shown
    number, blank, ends = shown.partition(" <span")
    return f"{number}{background_load.MARK}{blank}{ends}"


def energy(row: Row) -> str:
    """Joules per sample, as HTML; a modelled value is marked."""
    value = row.get("energy_j_per_sample")
    if printed := row.get("printed", {}).get("energy_j_per_sample"):
        return markup.escape(printed)
    if value is None:
        return markup.MISSING
    mark = "≈ " if row["energy_method"] == "model" else ""
    return f"{mark}{value:.3g}{background_load.MARK if row.get('contaminated') else ''}"


def dataset_names(entries: Sequence[Entry]) -> list[str]:
    """Data sets of the entries, in the order in which the models list them."""
    listed = [name for entry in entries for name in (*entry.model.datasets, *entry.rows)]
    present = {name for entry in entries for name in entry.rows}
    return [name for name in dict.fromkeys(listed) if name in present]


def dataset_title(name: str) -> str:
    """Column heading of a data set."""
    return catalogue.CATALOGUE[name].title if name in catalogue.CATALOGUE else name


def model_link(entry: ModelEntry, folder: str) -> str:
    """A model's name as a link to its chapter, which lies in ``folder`` as seen from the page."""
    return markup.link(entry.title, f"{folder}{entry.name}.html")


def raw_link(row: Row, shown: str, folder: str) -> str:
    """What is shown of a record as a link to its file; ``folder`` as for :func:`model_link`."""
    if not row.get("key") or "vlmnb-missing" in shown:
        return shown
    root = Path("..") if folder else Path("../..")
    file = paths.record(root / "downloads" / "records", row["hardware"], row["model"], row["key"])
    return f'<a class="vlmnb-record" href="{markup.escape(file.as_posix())}">{shown}</a>'


def of_reports(entries: Sequence[Entry]) -> bool:
    """Whether all that the entries show is a report's."""
    return all(row["source"] == "reports" for entry in entries for row in entry.rows.values())


def _cost_caption(entries: Sequence[Entry]) -> str:
    counts = sorted({entry.speed["latency_n"] for entry in entries if entry.speed["latency_n"]})
    coverages = [e.speed["latency_confidence"] for e in entries if e.speed["latency_confidence"] is not None]
    names = {entry.speed["dataset"] for entry in entries}
    of = f" of {dataset_title(names.pop())}" if len(names) == 1 else ""
    words = [f"Batch {BASE_BATCH_SIZE}{of}, base image size and prompt."]
    if counts:
        shown = "95 %" if min(coverages) >= 0.95 else f"{100 * min(coverages):.0f} %"
        words.append(
            f"Latency: median of {formatting.reach(counts)} batches with an interval of {shown} coverage."
        )
    if of_reports(entries):
        words.append("As the reports print them, of TextVQA; how energy was obtained they do not say.")
    if any(entry.speed["energy_method"] == "model" for entry in entries):
        words.append("Energy after ≈ is modelled, not measured.")
    if any(entry.speed["contaminated"] for entry in entries):
        words.append(f"After †: {background_load.MEANING}.")
    if not of_reports(entries):
        words.append("Energy and memory are one reading of the window, FLOPs are counted.")
    return " ".join(words)


def _over_model(row: Row) -> str:
    """Peak less what was held before; of a process that says too little."""
    if row["peak_bytes"] and row["peak_bytes_over_model"] is None:
        return f'<span class="vlmnb-missing" title="{markup.escape(PROCESS_MEMORY)}">-</span>'
    return markup.in_unit(row["peak_bytes_over_model"], "B", 3)


def interval(row: Row, column: str, low: str = "", high: str = "") -> str:
    """A column with its interval, as HTML; of a report as it prints it."""
    ends = (row.get(low or f"{column}_low"), row.get(high or f"{column}_high"))
    if row.get(column) is not None and (printed := row.get("printed", {}).get(column)):
        return markup.escape(printed)
    if row.get(column) is None and row.get("reason"):
        return f'<span class="vlmnb-missing" title="{markup.escape(row["reason"])}">-</span>'
    return markup.with_interval(row.get(column), *ends)


def accuracy(entry: Entry, dataset: str) -> float | None:
    """A model's accuracy on a data set; None where there is none."""
    value = entry.rows.get(dataset, {}).get("accuracy")
    return None if value is None else float(value)


def chance(entries: Sequence[Entry]) -> str:
    """What an accuracy is to be read against, by data set."""
    rows = [(dataset_title(name), row) for entry in entries for name, row in entry.rows.items()]
    return chance_level.sentence((title, row["accuracy_guessing"]) for title, row in rows)


def _tokens(found: Record) -> Row:
    """How many tokens each image and each answer of a record has, for the columns that tell their medians."""
    return {
        f"{what}_token_counts": [getattr(answer, f"{what}_tokens") for answer in found.answers]
        for what in ("image", "output")
    }


def _median(counts: Sequence[int]) -> str:
    """Median of what was counted, as HTML, as the tables of details have it."""
    if not counts:
        return markup.MISSING
    of = f"median of {len(counts)} answers, {min(counts)} to {max(counts)}"
    return f'<span title="{of}">{statistics.median(counts):g}</span>'
