"""Turn generated tokens into answers, and score them against the references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlmnb.errors import one_line
from vlmnb.measure import encoding
from vlmnb.measure.batches import Batch
from vlmnb.measure.generation import Generator
from vlmnb.quality import captions, metrics
from vlmnb.records.parts import Answer
from vlmnb.spec.cell import Cell


def score(
    cell: Cell, generate: Generator, batches: Sequence[Batch], outputs: Sequence[Any]
) -> tuple[Answer, ...]:
    """Decode the outputs (prompts and new tokens of each batch) and compare each with its references.

    Random weights and answers of fixed length get no scores.
    """
    answers = [
        answer
        for batch, output in zip(batches, outputs, strict=True)
        for answer in _decoded(generate, batch, output)
    ]
    if not _compared(cell):
        return tuple(answers)
    return tuple(_scored(cell.dataset, answer) for answer in answers)


def _compared(cell: Cell) -> bool:
    return cell.weights != "random" and cell.length != "fixed"


def remarks(cell: Cell, answers: Sequence[Answer], context: int = 0) -> list[str]:
    """Return what a reader should know of the scores as a whole.

    That is captions with a reference alone, and prompts that, with their answers, take more tokens than the
    model was trained for (``context``; 0 if that is not known).
    """
    if not _compared(cell):
        return []
    found, count = [], len(answers)
    alone = sum(len(answer.references) == 1 for answer in answers)
    if captions.is_captioning(cell.dataset) and alone:
        found.append(
            f"{alone} of {count} pictures have one reference alone, where COCO has five: CIDEr and BLEU "
            "do not compare with published ones"
        )
    lengths = [answer.text_tokens + answer.image_tokens + answer.output_tokens for answer in answers]
    if longer := [length for length in lengths if 0 < context < length]:
        found.append(
            f"{len(longer)} of {count} prompts with their answers are longer than the model's context "
            f"of {context} tokens, up to {max(longer)}; it was not trained for these"
        )
    return found


def _scored(dataset: str, answer: Answer) -> Answer:
    """Score one answer. Whatever a text makes the scorers raise becomes a note: times and energy stay."""
    given, text = answer.references, answer.answer
    found: dict[str, float | None] = {}
    notes = []
    try:
        errors, words = metrics.word_errors(given[0] if given else "", text)
        if words:
            found |= {"word_errors": errors, "reference_words": words}
        else:
            notes.append("no word errors: the first reference has no words")
    except Exception as error:
        notes.append(f"no word errors: {one_line(error)}")
    try:
        found["score"] = metrics.accuracy(dataset, given, text, answer.choices)
        if dataset.startswith("textvqa") and found["score"] and not metrics.normalize_answer(text):
            notes.append("the rule normalizes the answer to nothing, and references too: a match")
    except Exception as error:
        notes.append(f"no score: {one_line(error)}")
    return answer.model_copy(update={**found, "note": "; ".join(notes)})


def _decoded(generate: Generator, batch: Batch, output: Any) -> list[Answer]:
    """Return the answers of one batch without scores."""
    loaded, text = generate.loaded, generate.text(batch.inputs)
    generated = output[:, text["input_ids"].shape[1] :].tolist()
    image_tokens = encoding.image_tokens(text, batch.prompts)
    return [
        Answer(
            sample_id=sample.sample_id,
            prompt=prompt.text,
            answer=loaded.processor.tokenizer.decode(generated[i], skip_special_tokens=True).strip(),
            references=tuple("" if text is None else str(text) for text in sample.references),
            choices=sample.choices,
            text_tokens=prompt.text_tokens,
            image_tokens=image_tokens[i],
            images=prompt.images,
            output_tokens=_length(generated[i], loaded.stepping.generation_config.eos_token_id),
        )
        for i, (sample, prompt) in enumerate(zip(batch.samples, batch.prompts, strict=True))
    ]


def _length(ids: Sequence[int], end: int | list[int] | None) -> int:
    """Count generated tokens up to and including an end token; padding follows it."""
    ends = end if isinstance(end, list) else [end]
    return next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
