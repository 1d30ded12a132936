"""The inputs of a model card; a sweep compares them to see that a card is outdated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from vlmnb import models, paths
from vlmnb.files import hashing
from vlmnb.fit import gpus, quantize
from vlmnb.models import geometry
from vlmnb.records.indexed_record import IndexedRecord

FILES = ("data/gpus.csv", "data/gpu-sources.csv", "data/cards.yaml")


def of(model: str, parameters: Mapping[str, Any], entries: Iterable[IndexedRecord]) -> tuple[str, ...]:
    """Return a line for each input of a model's card: parameters, records, catalogue, geometry, scores.

    Its records are those that predictions are fitted on (any model, under the card's quantization) and those
    of its own model, for their peaks.
    """
    wanted = quantize.get(str(parameters["quantization"])).name
    newest: dict[tuple[str, str], IndexedRecord] = {}
    for entry in sorted(entries, key=lambda entry: entry.started_at):
        if entry.gpu and gpus.reported(entry.gpu):
            newest[entry.path.split("/")[0], entry.cell] = entry
    used = [e for e in newest.values() if e.quantization == wanted or e.path.split("/")[1] == model]
    asked = {name: value for name, value in parameters.items() if name != "results"}
    return (
        f"parameters {json.dumps(asked, sort_keys=True)}",
        f"geometry {hashing.digest(geometry.document(models.get(model)))}",
        *(f"{name} {_digest(name)}" for name in (*FILES, f"models/{model}/scores.json")),
        f"records to fit on: {'some' if newest else 'none'}",
        *sorted(f"record {entry.path} {entry.digest}" for entry in used),
    )


def _digest(name: str) -> str:
    path = paths.root() / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else "absent"
