"""The catalogue of GPUs, ``data/gpus.csv``, with sources for every GPU."""

from __future__ import annotations

import csv
import difflib
import functools
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from vlmnb import paths
from vlmnb.errors import UserError, nearest
from vlmnb.files import plain_yaml
from vlmnb.spec.sweep_file import explain
from vlmnb.types import Frozen

if TYPE_CHECKING:
    from vlmnb.fit.quantize import Quantization

Segment = Literal["data-centre", "workstation", "consumer", "mining", "unified"]
Kind = Literal["vendor", "encyclopedia", "database", "press", "seller", "model card page"]
Figure = Literal["memory", "bandwidth", "fp16", "int8", "power", "year", "capability"]

FIELDS: dict[Figure, str] = {
    "memory": "memory_gib", "bandwidth": "bandwidth_gb_s", "fp16": "fp16_tflops", "int8": "int8_tops",
    "power": "power_w", "year": "year", "capability": "compute_capability",
}  # fmt: skip
"""Figures that are compared with documents, and their fields; fp16 includes bf16."""

UNIFIED_SHARE = 0.75
"""Share of unified memory that is counted as the GPU's: the system needs the rest, and by default macOS lets
the GPU wire about that much (its ``recommendedMaxWorkingSetSize``)."""

ECC_SHARE = 15 / 16
"""Share of GDDR memory that ECC leaves, which keeps its bits in the same memory: 6.25 % less (NVIDIA, CUDA
C++ Best Practices Guide)."""

CURRENT_CUDA = 7.5
"""CUDA compute capability from which the torch of PyPI (2.13) has kernels; see quantizations.yaml."""

CURRENT_YEAR = 2018
"""Year of the first NVIDIA GPUs with it; GPUs without a capability count by it."""


PRINTED_SHARE = (0.9, 1.02)
"""What drivers print of the memory on the label: they keep some, as does ECC; some labels are rounded."""


class Source(Frozen):
    """A document that figures come from or were compared with; the address may be unknown."""

    key: str
    kind: Kind
    title: str
    address: str = ""


class Check(Frozen):
    """Figures of a GPU that agreed with the document of key `source`."""

    source: str
    figures: tuple[Figure, ...] = Field(min_length=1)


class Gpu(Frozen):
    """One GPU of the catalogue; figures that the source does not give are None.

    Attributes:
        memory_gib: Memory in GiB on the label; unified memory includes the CPU's share.
        ecc_inside: ECC is on by default and takes a share of that memory.
        bandwidth_gb_s: Peak memory bandwidth in 10^9 bytes per second.
        fp16_tflops: Dense matrix rate in 10^12 FLOP/s with 32-bit accumulation, never with sparsity.
        bf16_tflops: Dense matrix rate of bf16.
        int8_tops: Dense matrix rate of int8, in 10^12 operations per second.
        power_w: Power limit of the board, or of the module.
        price_usd: Price on the model card page, which lists the GPU under ``page_names``.
        reported_as: Name that the driver reports, as in records.
        checked: Figures that agreed with a document, within 1.2 %, years exactly.
    """

    name: str = Field(min_length=1)
    vendor: Literal["NVIDIA", "AMD", "Intel", "Apple"]
    segment: Segment
    memory_gib: float = Field(gt=0, le=2048)
    ecc_inside: bool = False
    bandwidth_gb_s: float = Field(gt=0, le=50_000)
    fp16_tflops: float | None = Field(default=None, gt=0, le=10_000)
    bf16_tflops: float | None = Field(default=None, gt=0, le=10_000)
    int8_tops: float | None = Field(default=None, gt=0, le=20_000)
    power_w: float | None = Field(default=None, gt=0, le=3_000)
    year: int | None = Field(default=None, ge=2006, le=2030)
    price_usd: float | None = Field(default=None, gt=0)
    compute_capability: float | None = Field(default=None, ge=1, le=20)
    reported_as: str = ""
    page_names: tuple[str, ...] = ()
    sources: tuple[str, ...] = Field(min_length=1)
    checked: tuple[Check, ...] = ()

    @property
    def given(self) -> tuple[Figure, ...]:
        """Return the figures that are known."""
        return tuple(figure for figure, field in FIELDS.items() if getattr(self, field) is not None)

    @property
    def uncompared(self) -> tuple[Figure, ...]:
        """Return the figures that were not compared with a document."""
        compared = {figure for check in self.checked for figure in check.figures}
        return tuple(figure for figure in self.given if figure not in compared)

    @property
    def memory_bytes(self) -> float:
        """Return all of its memory."""
        return self.memory_gib * 2**30

    @property
    def usable_bytes(self) -> float:
        """Return the part that a model may use."""
        if self.segment == "unified":
            return self.memory_bytes * UNIFIED_SHARE
        return self.memory_bytes * (ECC_SHARE if self.ecc_inside else 1)

    @property
    def title(self) -> str:
        """Return vendor and name."""
        return f"{self.vendor} {self.name}"

    @property
    def old(self) -> bool:
        """Return whether the torch of PyPI no longer supports it, or would not if it were NVIDIA's."""
        if self.compute_capability is not None:
            return self.compute_capability < CURRENT_CUDA
        return self.year is None or self.year < CURRENT_YEAR

    def obstacle(self, quantization: Quantization) -> str:
        """Say why a quantization's tool does not run here, whatever the memory; empty if unknown."""
        have, oldest = self.compute_capability, quantization.oldest_cuda
        if quantization.name == "int8" and self.vendor == "Apple":
            return "bitsandbytes has no LLM.int8() for Apple GPUs"
        if have is None or have >= oldest:
            return ""
        return f"{quantization.tool} needs CUDA compute capability {oldest}, it has {have}"


@functools.cache
def catalogue() -> tuple[Gpu, ...]:
    """Return all GPUs in the order of the file.

    Raises:
        UserError: A row is wrong, names an unknown source or occurs twice; the message names file and line.
    """
    found: dict[str, Gpu] = {}
    for number, row in enumerate(_rows("gpus.csv"), start=2):
        place = f"{paths.root() / 'data' / 'gpus.csv'}, line {number}"
        given: dict[str, Any] = {name: value for name, value in row.items() if value and name != "source"}
        lists = {"page_names": row["page_names"], "sources": row["source"]}
        given |= {name: tuple(filter(None, text.split(";"))) for name, text in lists.items()}
        try:
            gpu = Gpu.model_validate(given | {"checked": _checks(row["checked"])})
        except ValidationError as error:
            raise UserError(f"{place}: {explain(error, Gpu.model_fields)}") from None
        if problem := _problem(gpu, found):
            raise UserError(f"{place}: {problem}")
        found[gpu.name] = gpu
    return tuple(found.values())


def newest_first() -> list[Gpu]:
    """Return all GPUs for somebody who chooses one: those that torch supports first, then by year."""
    return sorted(catalogue(), key=lambda gpu: (gpu.old, -(gpu.year or 0), gpu.segment, gpu.name))


def _problem(gpu: Gpu, earlier: Collection[str]) -> str:
    """Say what is wrong with a row that has all fields; empty if nothing is."""
    if gpu.name in earlier:
        return f"{gpu.name!r} occurs twice; keep one row"
    for key in (*gpu.sources, *(check.source for check in gpu.checked)):
        if key not in sources():
            return f"unknown source {key!r}; {nearest(key, sources())}"
    unknown = [figure for check in gpu.checked for figure in check.figures if figure not in gpu.given]
    return f"{unknown[0]} is compared, but the row has none" if unknown else ""


@functools.cache
def sources() -> dict[str, Source]:
    """Return the sources by key."""
    return {row["key"]: Source.model_validate(row) for row in _rows("gpu-sources.csv")}


def get(name: str) -> Gpu:
    """Return the GPU of a name as people and drivers write it, such as ``rtx4090`` or ``A100-SXM4-80GB``.

    Vendor and series may be left out. What tells one card from another may not: laptop, Ti, Ada, PCIe, the
    memory where cards of one name have different memories, or a slice of a card. Memory behind the name, as
    nvidia-smi prints it, must be the card's.

    Raises:
        UserError: No GPU of the catalogue has all of that name; the message names the nearest.
    """
    bare, printed_gib = _printed(name)
    words, memory = _words(bare)
    wanted, series = words - SERIES, words & SERIES
    if not words:
        raise UserError(f"{name!r} is no name of a GPU; all names are in data/gpus.csv")
    near: dict[str, float] = {}
    several, of_that_name = [], []
    for gpu in catalogue():
        said = {gpu.vendor.lower(), "tesla" if gpu.segment == "data-centre" else ""}
        for known, own in map(_words, _names(gpu)):
            core = known - SERIES
            fits = series <= known | said and memory in ("", own, f"{gpu.memory_gib:g}gb")
            fits &= not printed_gib or PRINTED_SHARE[0] <= printed_gib / gpu.memory_gib <= PRINTED_SHARE[1]
            if fits and wanted == core and (printed_gib or own in ("", memory)):
                return gpu
            if wanted == core and series <= known | said and gpu.name not in of_that_name:
                of_that_name.append(gpu.name)
            if fits and wanted and wanted <= core and gpu.name not in several:
                several.append(gpu.name)
            one, other = (" ".join(sorted(texts)) for texts in (wanted, core))
            alike = difflib.SequenceMatcher(None, one, other).ratio() + 0.4 * bool(wanted & core)
            near[gpu.name] = max(near.get(gpu.name, 0), alike + 0.1 * (series <= known | said))
    if of_that_name and wanted:  # all but the memory is the same: no other card is meant
        given = "has another memory" if memory or printed_gib else "needs its memory"
        raise UserError(
            f"GPU {name!r} {given}; data/gpus.csv has {' and '.join(of_that_name)}; or give --vram in GiB"
        )
    if len(several) > 1:
        raise UserError(f"GPU {name!r} could be several; give one of: {', '.join(several)}")
    likely = several or sorted((one for one in near if near[one] > 0.6), key=lambda one: -near[one])[:3]
    hint = f"did you mean {' or '.join(map(repr, likely))}? " if likely else ""
    raise UserError(f"unknown GPU {name!r}; {hint}all names are in data/gpus.csv; or give --vram in GiB")


def reported(name: str) -> Gpu | None:
    """Return the GPU that a driver reports under a name, in upper or lower case."""
    return next((gpu for gpu in catalogue() if gpu.reported_as.lower() == name.lower() != ""), None)


_SPELLED = plain_yaml.load(Path(__file__).with_name("gpu_names.yaml"))
SERIES = frozenset(_SPELLED["series"])


_BEHIND = re.compile(
    r"[\s,;(]*(?:\b(?P<mib>\d+(\.\d+)?) ?mi?b\b|\b(?P<gib>\d+\.\d+) ?gi?b\b"
    r"|(?<=,)\s*(?P<bare>\d{4,6})\s*$|\[n/a\])\)?",
    re.IGNORECASE,
)


def _printed(name: str) -> tuple[str, float]:
    """Return a name without the memory that a driver counts, and that memory in GiB; 0 if it is not there."""
    found = _BEHIND.search(name)
    if found is None:
        return name, 0
    mib, gib = found["mib"] or found["bare"] or 0, found["gib"] or 0
    return name.replace(found[0], " "), float(gib) or float(mib) / 1024


def _words(name: str) -> tuple[set[str], str]:
    """Return the words of a name, and its memory as ``80gb``, or an empty text."""
    text = name.lower()
    for pattern, spelling in _SPELLED["spellings"]:
        text = re.sub(pattern, spelling, text)
    words = set(text.split()) - set(_SPELLED["noise"])
    memory = {word for word in words if re.fullmatch(r"\d+gb", word)}
    return words - memory, " ".join(sorted(memory))


def _names(gpu: Gpu) -> tuple[str, ...]:
    """Return what a GPU is called: its name, what stands in brackets there, and what its driver calls it.

    Some drivers have one name for cards of several memories.
    """
    alone = not _words(gpu.name)[1] or _words(gpu.reported_as)[1]
    return (
        gpu.name,
        *re.split(r" \(|\)$", gpu.name),
        *([gpu.reported_as] if gpu.reported_as and alone else ()),
    )


def _checks(text: str) -> list[dict[str, Any]]:
    """Read ``key:figure+figure;key:figure`` into the fields of `Check`."""
    pairs = (part.partition(":") for part in text.split(";") if part)
    return [{"source": key, "figures": tuple(filter(None, figures.split("+")))} for key, _, figures in pairs]


def _rows(name: str) -> list[dict[str, str]]:
    path = paths.root() / "data" / name
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; restore it with: git checkout -- {path}"
        ) from None
