"""Scores of answers, and texts that no scorer can use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from factory import answers, cell

from vlmnb.data.catalogue import Sample
from vlmnb.measure.batches import Batch
from vlmnb.measure.encoding import Prompt
from vlmnb.measure.generation import Generator
from vlmnb.measure.scoring import remarks, score
from vlmnb.quality import metrics
from vlmnb.records.parts import Answer


def scored(dataset: str, text: str, *references: Any, choices: Any = None) -> tuple[Answer, ...]:
    """Score one text as the answer to several questions, one for each list of references."""
    samples = [Sample(f"row-{i}", (), "?", several, choices) for i, several in enumerate(references)]
    inputs = {name: torch.ones(len(samples), 3, dtype=int) for name in ("input_ids", "attention_mask")}
    batch = Batch(samples, [Prompt("?", "?", 1)] * len(samples), inputs, 0.0)
    tokenizer = SimpleNamespace(decode=lambda ids, **how: text)
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=2))
    loaded: Any = SimpleNamespace(processor=SimpleNamespace(tokenizer=tokenizer), stepping=model)
    outputs = [torch.full((len(samples), 5), 2)]
    return score(cell(dataset=dataset), Generator(loaded, {}, {}, None), [batch], outputs)


@pytest.mark.parametrize(
    ("dataset", "references", "has"),
    [
        ("textvqa-mini", ("", *["13"] * 9), {"score"}),
        ("textvqa-mini", (None, *["13"] * 9), {"score"}),
        ("textvqa-mini", (" \n",) * 10, {"score"}),
        ("textvqa-mini", ("13",), {"word_errors"}),
        ("textvqa-mini", (), set()),
        ("coco-mini", (" ", "a white sign"), set()),
        ("coco-mini", (), set()),
        ("scienceqa-mini", (), set()),
        ("easy-vqa", (None,), {"score"}),
    ],
)
def test_a_row_that_cannot_be_scored_says_why(dataset: str, references: Any, has: set[str]) -> None:
    whole = ("13",) * 10
    good, bad, last = scored(dataset, "13", whole, references, whole)
    assert (good.note, last.note) == ("", "")
    assert good.word_errors == last.word_errors == 0
    assert bad.note
    assert (bad.answer, bad.output_tokens) == (good.answer, good.output_tokens)
    assert (bad.word_errors is not None) == ("word_errors" in has)
    assert (bad.score is not None) == ("score" in has)


@pytest.mark.parametrize(
    ("changes", "references", "noted"),
    [({"dataset": "coco-mini"}, [("a dog",), ("a cat", "a pet"), ("a hen",)], "2 of 3"),
     ({"dataset": "coco-mini"}, [("a dog", "a pet")] * 3, ""),
     ({"dataset": "coco-mini", "length": "fixed"}, [("a dog",)] * 3, ""),
     ({"dataset": "scienceqa-mini"}, [("A",)] * 3, "")],
)  # fmt: skip
def test_captions_with_one_reference_alone_are_noted_once(
    changes: dict[str, str], references: list[tuple[str, ...]], noted: str
) -> None:
    found = remarks(cell(**changes), scored(changes["dataset"], "a dog", *references))
    assert [one[: len(noted)] for one in found] == [noted] * bool(noted)


@pytest.mark.parametrize(("context", "noted"), [(87, []), (0, []), (86, ["4 of 4"])])
def test_a_prompt_longer_than_the_context_is_noted_where_answers_are_scored(
    context: int, noted: list[str]
) -> None:
    found = remarks(cell(), answers(4, 1), context)
    assert [one[:6] for one in found] == noted
    assert not remarks(cell(length="fixed"), answers(4, 1), context)


def test_numbers_as_references_are_read_as_text() -> None:
    (found,) = scored("textvqa-mini", "13", (13,) * 10)
    assert (found.references, found.score, found.note) == (("13",) * 10, 1.0, "")


def test_whatever_a_scorer_raises_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> Any:
        raise RuntimeError("no such rule")

    for name in ("accuracy", "word_errors"):
        monkeypatch.setattr(metrics, name, broken)
    (found,) = scored("textvqa-mini", "13", ("13",) * 10)
    assert (found.word_errors, found.reference_words, found.score) == (None, None, None)
    assert found.note.count("no such rule") == 2


def test_an_answer_normalized_to_nothing_is_noted_where_it_counts() -> None:
    match, miss = scored("textvqa-mini", "", ("a",) * 10, ("b",) * 10)
    assert (match.score, miss.score) == (1, 0)
    assert match.note
    assert not miss.note
