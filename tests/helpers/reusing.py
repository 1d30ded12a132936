"""Records of reused pictures made by hand."""

from __future__ import annotations

from factory import ABSENT, cell, record

from vlmnb.records.record import Record
from vlmnb.records.reused import Asked, Reused


def reused(keep_s: float = 3.0, plain_s: float = 2.0, kept_s: float = 1.0) -> Record:
    """A record of four pictures with two questions each, without energy."""
    tokens = tuple((7, i, 2) for i in range(8))
    return record(
        cell(measure="reuse", samples=8, batch_size=1, questions=2, reuse="encoder"),
        reused=Reused(
            sample_ids=tuple(map(str, range(8))), prompt_tokens=(90,) * 8, prefix_tokens=(70,) * 4,
            kept_bytes=(1000,) * 4, plain=Asked(question_s=(plain_s,) * 8, tokens=tokens),
            kept=Asked(question_s=(kept_s,) * 8, keep_s=(keep_s,) * 4, tokens=tokens),
        ),
        **ABSENT,
    )  # fmt: skip
