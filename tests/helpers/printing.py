"""Make rows of reports with chosen figures, for tests that plant an error in them."""

from __future__ import annotations

from typing import Any

from factory import ABSENT, but, cell, record

from vlmnb.records import report_transcripts
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Reported

COLUMNS = {
    "wer": "fraction", "latency_s": "s", "energy_j_per_sample": "J per sample", "flops": "FLOP",
    "latency_percent": "%", "energy_percent": "%",
}  # fmt: skip


def printed(
    model: str = "llava-1.5-7b", *, file: str = "000", table: str = "T", kind: str = "report",
    axis: str = "device", **settings: Any,
) -> Record:  # fmt: skip
    """Make a record of one row of a report: figures by quantity; the rest are fields of the cell."""
    texts = {name: settings.pop(name) for name in COLUMNS if name in settings}
    base = {
        "model": model, "dataset": "textvqa", "samples": 300, "device": "cuda", "dtype": "fp16",
        "optimization": "fp16", "batch_size": 1, "image_size": 224, "max_new_tokens": 64,
    }  # fmt: skip
    of = cell(**(base | settings))
    figures = tuple(
        Figure.model_validate(
            {"file": file, "kind": kind, "table": table, "axis": axis, "row": of.optimization,
             "column": name, "quantity": name, "unit": COLUMNS[name], "printed": text,
             "value": report_transcripts.number(text)}
        )
        for name, text in texts.items()
    )  # fmt: skip
    return record(
        of, key=f"{abs(hash((of, file, table))):016x}"[:16], source="reports", hardware="reports",
        reported=Reported(figures=figures), **ABSENT,
    )  # fmt: skip


def together(*rows: Record) -> Record:
    """Join rows of one cell into one record."""
    figures = tuple(f for row in rows for f in row.reported.figures if row.reported)
    return but(rows[0], reported=Reported(figures=figures))
