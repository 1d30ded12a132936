"""Check a record's key, machine and checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from vlmnb.audit.rule import Finding, contradiction, error, record_rule, warning
from vlmnb.device import machine
from vlmnb.records import content_key
from vlmnb.records.record import Record


@record_rule
def key_is_of_the_record(record: Record) -> Iterator[Finding]:
    """The key follows from the recorded cell, weights, data, code, packages, machine and threads."""
    own = content_key.of_record(record)
    if own not in (None, record.key):
        yield error(
            {"Key": record.key, "Key by the record's content": str(own)},
            "The key does not fit cell and conditions of the record: one of them was changed after "
            "measuring.",
            "A hash does not show what was changed. Delete the record and measure the cell again.",
        )


@record_rule
def machine_is_the_one_it_describes(record: Record) -> Iterator[Finding]:
    """Name and fingerprint of the machine are those of the hardware that the record describes."""
    described = record.provenance.machine
    try:
        gpus = tuple(gpu["name"] for gpu in described["gpus"])
        own = machine.fingerprint_of(
            described["cpu_model"], described["logical_cores"], described["memory_bytes"], gpus
        )
    except (KeyError, TypeError):  # the record describes no machine
        return
    wrong = {}
    if described.get("fingerprint") != own:
        wrong["Fingerprint"] = f"{described.get('fingerprint')}, of the description {own}"
    if described.get("slug") != record.hardware:
        wrong["Name"] = f"{record.hardware}, in the description {described.get('slug')}"
    if wrong:
        yield contradiction(
            wrong, "The record describes another machine: one table may show figures of two machines."
        )


@record_rule
def geometry_is_of_the_named_model(record: Record) -> Iterator[Finding]:
    """A checkpoint has the layers, sizes and heads of the model that it is named after."""
    was = record.provenance
    if was.geometry:
        yield warning(
            {"Named": record.cell.model, "Differs in": was.geometry, "Weights": was.weights},
            "The checkpoint has another geometry than the model it is named after.",
            "The record shows nothing about the model of that name.",
        )
