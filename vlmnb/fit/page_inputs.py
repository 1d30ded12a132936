"""The inputs of a model card, apart from the card: a sweep reads them without loading what draws it."""

from __future__ import annotations

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
    """Return a line for each input of a model's card, by which a sweep sees that the card is outdated.

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
    files = (paths.root() / name for name in (*FILES, f"models/{model}/scores.json"))
    return (
        f"parameters {json.dumps(asked, sort_keys=True)}",
        f"geometry {hashing.digest(geometry.document(models.get(model)))}",
        *(
            f"{path.name} {hashing.digest_of(path.read_text()) if path.exists() else 'absent'}"
            for path in files
        ),
        f"records to fit on: {'some' if newest else 'none'}",
        *sorted(f"record {entry.path} {entry.digest}" for entry in used),
    )
