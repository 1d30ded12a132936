"""The rules on reused pictures find what is planted."""

from __future__ import annotations

from typing import Any

import pytest
from factory import but, changed
from reusing import reused

from vlmnb.analysis import picture_reuse
from vlmnb.audit import registry
from vlmnb.records.record import Record


def found(record: Record) -> list[str]:
    """The names of the rules that find an error."""
    return [one.rule for one in registry.run([record], "measured") if one.level == "error"]


def kept(record: Record, **changes: Any) -> Record:
    """The record with another run after something was kept."""
    assert record.reused
    return changed(record, "reused", kept=but(record.reused.kept, **changes))


def test_an_answer_with_another_token_is_found() -> None:
    record = reused()
    assert found(record) == []
    assert record.reused
    tokens = record.reused.plain.tokens
    wrong = kept(record, tokens=(*tokens[:-1], (7, 999, 2)))
    (one,) = registry.run([wrong], "measured")
    assert one.rule == "reused-answers-are-the-plain-ones"
    assert one.figures == {"Sample": "7", "Token": "2", "Answers that differ": "1 of 8"}


@pytest.mark.parametrize(
    "changes", [{"question_s": (1.0,) * 7}, {"keep_s": ()}, {"tokens": ((1,),) * 7}, {"question_s": ()}]
)
def test_a_missing_time_is_found(changes: dict[str, Any]) -> None:
    assert "every-reused-question-is-timed" in found(kept(reused(), **changes))


def test_a_prompt_that_is_all_prefix_is_found() -> None:
    assert found(changed(reused(), "reused", prefix_tokens=(90,) * 4)) == ["every-reused-question-is-timed"]


def test_a_wrong_break_even_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = picture_reuse.break_even
    monkeypatch.setattr(picture_reuse, "break_even", lambda one: but(real(one), questions=2))
    assert found(reused()) == ["break-even-is-of-the-seconds"]
