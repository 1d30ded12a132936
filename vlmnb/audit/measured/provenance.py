"""Check a record's key, machine and checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.device import machine
from vlmnb.records import content_key, record_file
from vlmnb.records.record import Record


@record_rule
def key_is_of_the_record(record: Record) -> Iterator[Draft]:
    """The key follows from the recorded cell, weights, data, code, packages, machine and threads."""
    own = content_key.of_record(record)
    if own not in (None, record.key):
        yield found(own=own)


@record_rule
def machine_is_the_one_it_describes(record: Record) -> Iterator[Draft]:
    """Name and fingerprint of the machine are those of the hardware that the record describes."""
    described = record.provenance.machine
    try:
        gpus = tuple(gpu["name"] for gpu in described["gpus"])
        own = machine.fingerprint_of(
            described["cpu_model"], described["logical_cores"], described["memory_bytes"], gpus
        )
    except (KeyError, TypeError):  # the record describes no machine
        return
    fingerprint, slug = described.get("fingerprint"), described.get("slug")
    wrong = {}
    if fingerprint != own:
        wrong["Fingerprint"] = f"{fingerprint}, of the description {own}"
    if slug != record.hardware:
        wrong["Name"] = f"{record.hardware}, in the description {slug}"
    if wrong:
        yield found(figures=wrong)


@record_rule
def numbers_are_finite(record: Record) -> Iterator[Draft]:
    """Every number is finite, and none had to be left out because it was not."""
    left_out = [note for note in record.notes if note.startswith(record_file.NOT_FINITE)]
    if (finite := record_file.finite(record)) is not record:
        yield found("in the record", note=finite.notes[-1])
    elif left_out:
        yield found("left out", note=left_out[-1])


@record_rule
def geometry_is_of_the_named_model(record: Record) -> Iterator[Draft]:
    """A checkpoint has the layers, sizes and heads of the model that it is named after."""
    if record.provenance.geometry:
        yield found()
