"""What a book is made of: records, published pages and failed runs; their titles, order and addresses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlmnb import models, paths
from vlmnb.analysis import titles
from vlmnb.audit.rule import Finding
from vlmnb.records.parts import Shown
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.spec import axes
from vlmnb.types import Frozen


class Failure(Frozen):
    """A failed run, as the sweep filed it."""

    model: str
    axis: str
    error: str
    stderr_tail: str = ""
    command: str = ""
    at: str = ""


class Redraw(NamedTuple):
    """How an outdated page is drawn again, and how many of its cells have older records.

    Attributes:
        command: A sweep.
        stale: Cells measured with other code, packages or settings.
        other_inputs: Cells without a record that have an older one, which ``older`` describes.
    """

    command: str
    stale: int = 0
    other_inputs: int = 0
    older: str = ""


@dataclass(frozen=True)
class Page:
    """A published run of a notebook, which ``axis`` names.

    Attributes:
        executed_at: UTC, ISO 8601, or empty.
        records: Records that the page's tables name.
        failed_rerun: A failed run of the same notebook that is newer than the page.
        redraw: How an outdated page is drawn again; None if the page is up to date.
    """

    model: str
    axis: str
    executed_at: str
    parameters: Mapping[str, Any]
    records: tuple[Record, ...]
    failed_rerun: Failure | None = None
    redraw: Redraw | None = None

    @property
    def redraw_command(self) -> str:
        """The command that draws an outdated page again; empty if the page is up to date."""
        return self.redraw.command if self.redraw else ""

    @property
    def from_report(self) -> bool:
        """Whether the page shows figures of a report instead of measurements."""
        return self.parameters.get("source") == "reports"

    @property
    def path(self) -> str:
        """File of the page below ``book/``, without the ending."""
        folder = "reports" if self.from_report else "runs"
        return f"{folder}/{paths.model_folder(self.model)}/{self.axis}"

    @property
    def title(self) -> str:
        """The page's heading, unique in the book."""
        suffix = ", as reported" if self.from_report else ""
        return f"{axis_title(self.axis)} — {model_title(self.model)}{suffix}"

    @property
    def name(self) -> str:
        """The page's name among the downloads, unique in the book."""
        return f"{'reports-' if self.from_report else ''}{paths.model_folder(self.model)}-{self.axis}"

    @property
    def label(self) -> str:
        """The page's name in labels: letters, digits and hyphens."""
        return re.sub("[^a-z0-9]", "-", self.name.lower())

    def download(self, suffix: str) -> str:
        """Return the address of the page's CSV file or notebook in the built site."""
        return f"downloads/{self.name}.{suffix}"


@dataclass(frozen=True)
class Content:
    """Everything the generated pages are made of.

    Attributes:
        problems: What the book leaves out, a line each.
        disputed: What the audit finds in the figures of the reports.
        turns: Times that cells took in turns.
    """

    records: tuple[Record, ...] = ()
    pages: tuple[Page, ...] = ()
    failures: tuple[Failure, ...] = ()
    problems: tuple[str, ...] = ()
    disputed: tuple[Finding, ...] = ()
    turns: tuple[Turns, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Models with anything to show, in the registry's order, then all others by name."""
        seen = {record.cell.model for record in self.records} | {page.model for page in self.pages}
        seen |= {failure.model for failure in self.failures}
        return tuple(models.ordered(seen))


def model_title(name: str) -> str:
    """Return a model's title; its name if the registry no longer has it."""
    entry = titles.entry_of(name)
    return entry.title if entry else name


def bundled(name: str) -> bool:
    """Return whether a model is one of the bundled small stand-ins, and not a folder of the reader's."""
    entry = titles.entry_of(name)
    return entry is not None and entry.bundled


def parameters(name: str) -> int:
    """Return the number of parameters of bundled weights; 0 if there are none."""
    path = paths.bundled_model(name) / "model.safetensors"
    if not path.exists():
        return 0
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(t["shape"]) for tensor, t in header.items() if tensor != "__metadata__")


def axis_title(name: str) -> str:
    """Return an axis's title; for another notebook its file name in words."""
    return axes.AXES[name].title if name in axes.AXES else name.replace("_", " ").capitalize()


def axis_order(axis: str) -> tuple[int, str]:
    """Return a key that sorts notebooks as the axes are listed, then all others by name."""
    known = list(axes.AXES)
    return (known.index(axis) if axis in known else len(known), axis)


def turns_path(name: str) -> str:
    """Return where readers find the raw times of turns, from the folder of the book's files."""
    return f"downloads/turns/{name}.json"


def turns_paths(records: Iterable[Record]) -> list[str]:
    """Return where readers find the raw times of all turns that records show or are compared by."""
    timed = [record.timing for record in records if record.latency_s is not None]
    names = {each.turns for timing in timed if isinstance(timing, Shown) for each in timing.each}
    return [turns_path(name) for name in sorted(names)]


def record_path(record: Record) -> str:
    """Return the address of a record's file in the built site."""
    folder = Path("downloads/records")
    return paths.record(folder, record.hardware, record.cell.model, record.key).as_posix()


def minute(time: str) -> str:
    """Return an ISO 8601 time to the minute."""
    return time[:16].replace("T", " ")
