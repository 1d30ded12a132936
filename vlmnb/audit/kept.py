"""Findings about single records, kept so that they are made once for each record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vlmnb import models
from vlmnb.audit.rule import Finding, Rule
from vlmnb.files import hashing
from vlmnb.records.record import Record


class Kept:
    """Findings that rules made of records, by a digest of both.

    Attributes:
        found: Those that were asked for; they hold for the present code, models and packages.
    """

    def __init__(self, known: Mapping[str, Sequence[Finding]] | None = None) -> None:
        """Take what is known from before."""
        self._known = known or {}
        self.found: dict[str, Sequence[Finding]] = {}

    def about(self, record: Record, rules: Sequence[Rule]) -> Sequence[Finding]:
        """Return what rules that check each record by itself find in one, by the order of the rules."""
        key = hashing.digest_of(f"{[rule.name for rule in rules]} {record.model_dump_json()}", 32)
        found = self._known.get(key)
        if found is None:
            found = [one for rule in rules for one in rule([record])]
        if record.cell.model in models.registry():  # the files of any other may change unseen
            self.found[key] = found
        return found
