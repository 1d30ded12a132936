"""Turn generated tokens into answers, and score them against the references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlmnb.measure import encoding
from vlmnb.measure.batches import Batch
from vlmnb.measure.loading import Loaded
from vlmnb.quality import metrics
from vlmnb.records.answer import Answer
from vlmnb.spec.cell import Cell


def score(cell: Cell, loaded: Loaded, batches: Sequence[Batch], outputs: Sequence[Any]) -> tuple[Answer, ...]:
    """Decode the outputs and compare each with its references.

    Random weights and answers of fixed length get no scores.

    Args:
        cell: The cell that was measured.
        loaded: The model and its tokenizer.
        batches: What was asked.
        outputs: Prompts and new tokens of each batch.
    """
    answers = [
        answer
        for batch, output in zip(batches, outputs, strict=True)
        for answer in _decoded(loaded, batch, output)
    ]
    if cell.weights == "random" or cell.length == "fixed":
        return tuple(answers)
    texts = [answer.answer for answer in answers]
    errors = metrics.wer([answer.references[0] for answer in answers], texts)
    scores = metrics.accuracy(
        cell.dataset, [a.references for a in answers], texts, [a.choices for a in answers]
    )
    return tuple(
        answer.model_copy(
            update={
                "word_errors": errors.errors[i],
                "reference_words": errors.reference_words[i],
                "score": scores[i] if scores is not None else None,
            }
        )
        for i, answer in enumerate(answers)
    )


def _decoded(loaded: Loaded, batch: Batch, output: Any) -> list[Answer]:
    """Return the answers of one batch without scores."""
    generated = output[:, batch.inputs["input_ids"].shape[1] :].tolist()
    image_tokens = encoding.image_tokens(batch.inputs, batch.prompts)
    return [
        Answer(
            sample_id=sample.sample_id,
            prompt=prompt.text,
            answer=loaded.processor.tokenizer.decode(generated[i], skip_special_tokens=True).strip(),
            references=sample.references,
            choices=sample.choices,
            text_tokens=prompt.text_tokens,
            image_tokens=image_tokens[i],
            output_tokens=_length(generated[i], loaded.model.generation_config.eos_token_id),
        )
        for i, (sample, prompt) in enumerate(zip(batch.samples, batch.prompts, strict=True))
    ]


def _length(ids: Sequence[int], end: int | list[int] | None) -> int:
    """Count generated tokens up to and including an end token; padding follows it."""
    ends = end if isinstance(end, list) else [end]
    return next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
