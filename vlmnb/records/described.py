"""What the columns of an export mean, as a dictionary, and exports in the words of other tools.

Croissant (https://docs.mlcommons.org/croissant) describes a table for machines; model-index is how the cards
of the Hub list evaluation results.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vlmnb.data import catalogue
from vlmnb.files import plain_yaml
from vlmnb.quality import captions
from vlmnb.records import record_file
from vlmnb.records.export_columns import MEANINGS
from vlmnb.records.record import Record

OF_BATCHES = ("latency_s", "ttft_s", "tpot_s", "samples_per_s", "output_tokens_per_s")
"""Columns whose interval is over batches, few of which cover less than 95 %."""

UNITS = {
    "bytes": "bytes", "tokens": "tokens", "flops": "FLOPs", "hz": "Hz", "w": "W", "j": "J", "s": "s",
    "c": "°C", "wer": "fraction", "accuracy": "fraction", "share": "fraction", "load": "fraction",
}  # fmt: skip
"""Units by a word of a column's name; of several the first of these counts. Of a rate it is per second."""


class ColumnMeaning(NamedTuple):
    """One column of an export; ``unit``: empty for words, counts and ratios."""

    name: str
    unit: str
    meaning: str


def dictionary() -> list[ColumnMeaning]:
    """Return all columns of an export with unit and meaning."""
    return [ColumnMeaning(name, _unit(name), _meaning(name)) for name in MEANINGS]


def croissant(table: Path) -> str:
    """Return the description of an exported CSV file as JSON-LD."""
    content = table.read_bytes()
    types = _types(table)
    fields = [
        {
            "@type": "cr:Field", "@id": f"records/{column.name}", "name": column.name,
            "description": f"{column.meaning}{f', in {column.unit}' if column.unit else ''}",
            "dataType": types.get(column.name, "sc:Text"),
            "source": {"fileObject": {"@id": table.name}, "extract": {"column": column.name}},
        }
        for column in dictionary()
    ]  # fmt: skip
    described = {
        **plain_yaml.load(Path(__file__).with_suffix(".yaml")),
        "url": table.name,
        "datePublished": _newest(table),
        "distribution": [{
            "@type": "cr:FileObject", "@id": table.name, "name": table.name, "contentUrl": table.name,
            "encodingFormat": "text/csv", "sha256": hashlib.sha256(content).hexdigest(),
        }],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}],
    }  # fmt: skip
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def write_model_index(results: Path, output: Path) -> tuple[int, list[str]]:
    """Write the metadata of a Hub card for each model with quality; returns what `export_records` does."""
    import yaml
    from huggingface_hub.repocard_data import eval_results_to_model_index

    records, damaged = record_file.read_all(results)
    by_model: dict[str, list[Any]] = {}
    for record in records:
        for result in _results(record):
            by_model.setdefault(record.cell.model, []).append(result)
    documents = [eval_results_to_model_index(name, found) for name, found in by_model.items()]
    text = yaml.safe_dump_all([{"model-index": each} for each in documents], sort_keys=False)
    output.write_text(text, encoding="utf-8")
    return sum(map(len, by_model.values())), [*map(str, damaged)]


def _results(record: Record) -> Iterator[Any]:
    """Yield the metrics of a record whose answers mean something."""
    from huggingface_hub.repocard_data import EvalResult

    cell = record.cell
    if record.source != "measured" or cell.repeat or record.provenance.geometry or not record.has_quality:
        return
    dataset = catalogue.CATALOGUE.get(cell.dataset)
    asked = {name: getattr(cell, name) for name in ("optimization", "batch_size", "image_size", "seq_len")}
    task = "image-to-text" if captions.is_captioning(cell.dataset) else "visual-question-answering"
    for metric, value in (("wer", record.wer), ("accuracy", record.accuracy)):
        if value is not None:
            yield EvalResult(
                task_type=task, dataset_type=cell.dataset,
                dataset_name=dataset.title if dataset else cell.dataset, dataset_args=asked,
                dataset_config=record.key, metric_type=metric, metric_value=round(value, 6),
            )  # fmt: skip


def _unit(name: str) -> str:
    rate = re.search("_per_s(_|$)", name)
    words = (name[: rate.start()] if rate else name).split("_")
    unit = next((unit for word, unit in UNITS.items() if word in words), "")
    return f"{unit or 1}/s" if rate else unit


def _meaning(name: str) -> str:
    own = MEANINGS[name]
    if own:
        return own
    side = "lower" if "_low" in name else "upper"
    of = re.sub("_(low|high)", "", name)
    covers = "interval (covers latency_confidence)" if of in OF_BATCHES else "95 % interval"
    return f"{side} end of the {covers} of {of}"


def _types(table: Path) -> dict[str, str]:
    """Return the type of each column that has values and does not hold text."""
    from pyarrow import csv as read
    from pyarrow import types

    kinds = {types.is_integer: "sc:Integer", types.is_floating: "sc:Float", types.is_boolean: "sc:Boolean"}
    fields = read.read_csv(table).schema
    return {field.name: kind for field in fields for fits, kind in kinds.items() if fits(field.type)}


def _newest(table: Path) -> str:
    """Return the day of the newest record, or nothing for a table without measurements."""
    with table.open(encoding="utf-8", newline="") as file:
        return max((row["started_at"][:10] for row in csv.DictReader(file)), default="")
