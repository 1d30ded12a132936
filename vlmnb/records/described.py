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
from vlmnb.quality import captions
from vlmnb.records import record_file
from vlmnb.records.export_columns import MEANINGS
from vlmnb.records.record import Record

UNITS = {
    "bytes": "bytes", "tokens": "tokens", "flops": "FLOPs", "hz": "Hz", "w": "W", "j": "J", "s": "s",
    "c": "°C", "wer": "fraction", "accuracy": "fraction", "share": "fraction", "load": "fraction",
}  # fmt: skip
"""Units by a word of a column's name; of several the first of these counts."""

CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    "citeAs": "cr:citeAs", "column": "cr:column", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "extract": "cr:extract", "field": "cr:field",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath",
    "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "equivalentProperty": "cr:equivalentProperty", "samplingRate": "cr:samplingRate",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex",
    "repeated": "cr:repeated", "replace": "cr:replace",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip
"""The JSON-LD context that Croissant 1.0 prescribes."""


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
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "vlmnb-records",
        "description": "What vision-language models cost to run: one row per measured cell.",
        "license": "https://spdx.org/licenses/Apache-2.0.html", "version": "0.1.0", "url": table.name,
        "citeAs": "the vlmnb project: What vision-language models cost to run",
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
    words = name.split("_")
    return next((unit for word, unit in UNITS.items() if word in words), "")


def _meaning(name: str) -> str:
    own = MEANINGS[name]
    if own:
        return own
    side = "lower" if "_low" in name else "upper"
    return f"{side} end of the 95 % interval of {re.sub('_(low|high)', '', name)}"


def _types(table: Path) -> dict[str, str]:
    """Return the type of each column that has values and does not hold text."""
    found: dict[str, set[str]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value:
                    found.setdefault(name, set()).add(_type(value))
    named = {frozenset({"sc:Integer"}): "sc:Integer", frozenset({"sc:Boolean"}): "sc:Boolean"}
    numbers = {"sc:Integer", "sc:Float"}
    return {
        name: named.get(frozenset(types), "sc:Float" if types <= numbers else "sc:Text")
        for name, types in found.items()
    }


def _type(value: str) -> str:
    if value in ("True", "False"):
        return "sc:Boolean"
    if re.fullmatch(r"-?\d+", value):
        return "sc:Integer"
    return "sc:Float" if re.fullmatch(r"-?\d+\.?\d*(e[-+]?\d+)?", value) else "sc:Text"


def _newest(table: Path) -> str:
    """Return the day of the newest record, or nothing for a table without measurements."""
    with table.open(encoding="utf-8", newline="") as file:
        return max((row["started_at"][:10] for row in csv.DictReader(file)), default="")
