"""Records of reused pictures made by hand."""

from __future__ import annotations

from factory import ABSENT, cell, record

from vlmnb.records.parts import Asked, Reused
from vlmnb.records.record import Record


def reused(keep_s: float = 3.0, plain_s: float = 2.0, kept_s: float = 1.0, pictures: int = 4) -> Record:
    """A record of some pictures with two questions each, without energy."""
    n = 2 * pictures
    tokens = tuple((7, i, 2) for i in range(n))
    return record(
        cell(measure="reuse", samples=n, batch_size=1, questions=2, reuse="encoder"),
        reused=Reused(
            sample_ids=tuple(map(str, range(n))), prompt_tokens=(90,) * n, prefix_tokens=(70,) * pictures,
            kept_bytes=(1000,) * pictures, plain=Asked(question_s=(plain_s,) * n, tokens=tokens),
            kept=Asked(question_s=(kept_s,) * n, keep_s=(keep_s,) * pictures, tokens=tokens),
        ),
        **ABSENT,
    )  # fmt: skip
