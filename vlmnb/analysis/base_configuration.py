"""The models at their base configuration, by the machine and device that measured them.

Numbers of different machines never share a table or a figure: results are grouped by :class:`Setup`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlmnb import models
from vlmnb.analysis.titles import entry_of
from vlmnb.models.entry import ModelEntry
from vlmnb.records.record import Record
from vlmnb.spec import optimizations, parameters

BASE_BATCH_SIZE = parameters.BATCH_SIZE


class Setup(NamedTuple):
    """What two numbers must have in common to be compared; ``device``: empty for all of a machine."""

    source: str
    hardware: str
    device: str

    @property
    def title(self) -> str:
        """Return the name of the set-up."""
        device = {"cuda": "the GPU", "cpu": "the CPU"}.get(self.device, "")
        if self.source == "reports":
            return f"{device and f'{device} of '}the reports (transcribed, not measured here)"
        return f"{self.hardware}{device and f', on {device}'}"


@dataclass(frozen=True)
class BaseResult:
    """One model at the base configuration in one set-up, with its records by data set."""

    model: ModelEntry
    records: dict[str, Record]

    @property
    def speed(self) -> Record:
        """Return the record that speed, energy and memory are read from."""
        ok = {name: record for name, record in self.records.items() if record.status == "ok"}
        return ok.get(self.model.speed_dataset) or next(iter((ok or self.records).values()))

    def plotted(self, dataset: str) -> Record | None:
        """Return the record on a data set if it has a latency, an error and answers that say something."""
        record = self.records.get(dataset)
        if record is None or record.latency_s is None or record.wer is None or record.degenerate:
            return None
        return record


def is_base(found: Record) -> bool:
    """Return whether a record is of its model's base configuration, in which models are compared."""
    entry, cell = entry_of(found.cell.model), found.cell
    if entry is None or cell.measure != "generation" or cell.repeat:
        return False
    base = (BASE_BATCH_SIZE, entry.base_image_size, entry.seq_lens[0],
            optimizations.base_dtype(entry.base_dtype, cell.device), "natural", "pretrained")  # fmt: skip
    return base == (
        cell.batch_size, cell.image_size, cell.seq_len, cell.optimization, cell.length, cell.weights
    )  # fmt: skip


def base_results(records: Iterable[Record]) -> dict[Setup, tuple[BaseResult, ...]]:
    """Return the base results of each set-up: measured set-ups first, then those of most models.

    If a cell has several records, the one with most samples counts, then the newest. A GPU that a machine
    does not have makes no set-up.
    """
    chosen: dict[Setup, dict[str, dict[str, Record]]] = {}
    for found in sorted(on_a_device(records), key=lambda r: (r.cell.samples, r.provenance.started_at)):
        if is_base(found):
            setup = Setup(found.source, found.hardware, found.cell.device)
            chosen.setdefault(setup, {}).setdefault(found.cell.model, {})[found.cell.dataset] = found
    made = {
        setup: tuple(_result(name, by_model[name]) for name in models.ordered(by_model))
        for setup, by_model in chosen.items()
    }
    return dict(sorted(made.items(), key=lambda item: (item[0].source != "measured", -len(item[1]), item[0])))


def on_a_device(records: Iterable[Record]) -> list[Record]:
    """Return the records but those of a GPU that a machine does not have: its cells are all unsupported."""
    found = list(records)
    there = {
        (record.hardware, record.cell.device)
        for record in found
        if record.cell.device != "cuda"
        or record.status != "unsupported"
        or record.provenance.machine.get("gpus")
    }
    return [record for record in found if (record.hardware, record.cell.device) in there]


def dataset_names(results: Sequence[BaseResult]) -> list[str]:
    """Return the data sets of the results, in the order in which the models list them."""
    listed = [name for result in results for name in (*result.model.datasets, *result.records)]
    present = {name for result in results for name in result.records}
    return [name for name in dict.fromkeys(listed) if name in present]


def scored(results: Sequence[BaseResult], dataset: str) -> bool:
    """Return whether any of the models has an accuracy on a data set."""
    found = (result.records.get(dataset) for result in results)
    return any(record is not None and record.accuracy is not None for record in found)


def of_reports(results: Sequence[BaseResult]) -> bool:
    """Return whether all results are a report's."""
    return all(record.reported for result in results for record in result.records.values())


def _result(name: str, found: dict[str, Record]) -> BaseResult:
    """Make a model's result; a checkpoint of another geometry never has just the name of the model."""
    entry = models.get(name)
    if any(record.provenance.geometry for record in found.values()):
        entry = entry.model_copy(update={"title": f"{entry.title} (a checkpoint of another geometry)"})
    return BaseResult(entry, found)
