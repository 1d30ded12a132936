"""Rules over what a record says it is of: its key, and the machine it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.device import machine
from vlmnb.records import content_key
from vlmnb.records.record import Record


def key_is_of_the_record(records: Sequence[Record]) -> Iterator[Finding]:
    """The key is that of cell, weights, data, code, packages, machine and threads that the record tells."""
    for record in records:
        own = content_key.told_key(record)
        if own in (None, record.key):
            continue
        yield finding(
            "error",
            [record],
            {"Key": record.key, "Of what the record tells": str(own)},
            "The key is not that of the cell and the conditions in the record: one of them was changed after "
            "measuring, and its numbers are of another cell, model, machine or code.",
            "Which of them was changed a hash cannot tell.",
        )


def machine_is_the_one_it_describes(records: Sequence[Record]) -> Iterator[Finding]:
    """Name and fingerprint of the machine are those of the hardware that the record describes."""
    for record in records:
        told = record.provenance.machine
        try:
            gpus = tuple(gpu["name"] for gpu in told["gpus"])
            own = machine.fingerprint_of(told["cpu_model"], told["logical_cores"], told["memory_bytes"], gpus)
        except (KeyError, TypeError):  # nobody described it
            continue
        wrong = {}
        if told.get("fingerprint") != own:
            wrong["Fingerprint"] = f"{told.get('fingerprint')}, of the description {own}"
        if told.get("slug") != record.hardware:
            wrong["Name"] = f"{record.hardware}, in the description {told.get('slug')}"
        if wrong:
            yield finding(
                "error",
                [record],
                wrong,
                "The machine is not the one that the record describes: figures of two machines may stand in "
                "one table.",
                "Where it was measured cannot be told.",
            )


def geometry_is_of_the_named_model(records: Sequence[Record]) -> Iterator[Finding]:
    """A checkpoint has the layers, sizes and heads of the model that it is named after."""
    for record in records:
        differs = record.provenance.geometry
        if not differs:
            continue
        yield finding(
            "warning",
            [record],
            {"Named": record.cell.model, "Differs in": differs, "Weights": record.provenance.weights},
            "The checkpoint is not of the geometry of the model it is named after: its figures are of "
            "another model.",
            "Nothing about the model of that name can be concluded from this record.",
        )


RULES = rules("measured", (key_is_of_the_record, machine_is_the_one_it_describes,
                          geometry_is_of_the_named_model))  # fmt: skip
