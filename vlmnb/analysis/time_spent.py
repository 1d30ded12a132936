"""Where the time of cells went: sums over records of the stages that each notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vlmnb.records.record import Record

STAGES = {
    "samples": "samples chosen and encoded",
    "load": "model loaded",
    "meters": "meters opened and closed",
    "warm-up": "warm-up, compilation included",
    "window": "timed windows",
    "memory": "memory computed",
    "answers": "answers scored",
    "probe": "logits probed",
    "ceilings": "peak rates measured",
    "flops": "FLOPs counted",
    "": "other work on the cells",
}
"""Stages of a cell in their order, in words; ``""`` is what belongs to none."""

WINDOW = STAGES["window"]


def of_cells(records: Iterable[Record]) -> dict[str, float]:
    """Return the seconds of each stage, in words, of all records that note them; empty if none does."""
    spent: Counter[str] = Counter()
    for record in records:
        stages, seconds = record.provenance.stages, record.provenance.seconds
        if stages and seconds is not None:
            spent.update({**stages, "": max(0.0, seconds - sum(stages.values()))})
    return {said: spent[name] for name, said in STAGES.items() if spent[name] > 0}
