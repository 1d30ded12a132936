"""The catalogue of GPUs, ``data/gpus.csv``, with sources for every GPU."""

from __future__ import annotations

import csv
import difflib
import functools
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from vlmnb import paths
from vlmnb.errors import UserError, nearest
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

OLDEST_CUDA: dict[str, float] = {"transformers": 5.0, "llama.cpp": 5.0, "bitsandbytes": 6.0}
"""Lowest CUDA compute capability of the tools. torch 2.13 has wheels for CUDA 12.6, which start at 5.0
(PyPI's, for CUDA 13, start at 7.5; pytorch/pytorch#172352, #190355). llama.cpp's default CUDA architectures
start at 5.0 (ggml/src/ggml-cuda/CMakeLists.txt). bitsandbytes' documentation, Installation, gives 6.0 for
4 bits."""
OLDEST_INT8 = 7.5
"""Figure of the same page for LLM.int8()."""


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

    def obstacle(self, quantization: Quantization) -> str:
        """Say why a quantization's tool does not run here, whatever the memory; empty if unknown."""
        int8, have = quantization.name == "int8", self.compute_capability
        if int8 and self.vendor == "Apple":
            return "bitsandbytes has no LLM.int8() for Apple GPUs"
        oldest = OLDEST_INT8 if int8 else OLDEST_CUDA[quantization.tool]
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
    """Return the GPU of a name, with or without its vendor or series, in upper or lower case.

    Raises:
        UserError: There is none, or there are several; the message names the nearest.
    """
    wanted = _plain(name).split()
    if not wanted:
        raise UserError(f"{name!r} is no name of a GPU; all names are in data/gpus.csv")
    named = {gpu: _plain(gpu.name).split() for gpu in catalogue()}
    exact = [gpu for gpu, words in named.items() if words == wanted]
    if found := (exact[0] if exact else reported(name)):
        return found
    close = [gpu for gpu, words in named.items() if words[: len(wanted)] == wanted]
    close = close or [
        gpu for gpu, words in named.items() if f" {' '.join(wanted)} " in f" {' '.join(words)} "
    ]
    if len(close) == 1:
        return close[0]
    if close:
        names = ", ".join(gpu.name for gpu in close)
        raise UserError(f"GPU {name!r} could be several; give one of: {names}")
    plain = {" ".join(words): gpu.name for gpu, words in named.items()}
    likely = [plain[near] for near in difflib.get_close_matches(_plain(name), plain, n=3)]
    hint = f"did you mean {' or '.join(map(repr, likely))}? " if likely else ""
    raise UserError(f"unknown GPU {name!r}; {hint}all names are in data/gpus.csv; or give --vram in GiB")


def reported(name: str) -> Gpu | None:
    """Return the GPU that a driver reports under a name, in upper or lower case."""
    return next((gpu for gpu in catalogue() if gpu.reported_as.lower() == name.lower() != ""), None)


SERIES = {
    "nvidia", "amd", "intel", "apple", "geforce", "tesla", "instinct", "radeon", "rtx", "gtx", "quadro",
}  # fmt: skip
"""Words that may be left out of a name."""


def _plain(name: str) -> str:
    text = re.sub(r"(\d+) ?gb\b", r"\1gb", re.sub(r"[-()]", " ", name.lower()))
    return " ".join(word for word in text.split() if word not in SERIES)


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
