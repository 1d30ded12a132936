"""One question of a record: what was asked, what came, and what counts."""

from __future__ import annotations

from vlmnb.types import Frozen


class Answer(Frozen):
    """One sample: what was asked, what came, and what counts.

    Attributes:
        prompt: The text as it stood after truncation to the prompt budget.
        text_tokens: Tokens of the text prompt with its template, without image tokens.
        image_tokens: Tokens that stand for the image.
        output_tokens: Generated tokens, the end mark included.
        word_errors: Substitutions, deletions and insertions against the first reference.
        reference_words: Words of the first reference.
        score: Accuracy of the sample in [0, 1] by its data set's rule, or None where it has none.
    """

    sample_id: str
    prompt: str
    answer: str
    references: tuple[str, ...]
    choices: tuple[str, ...] | None = None
    text_tokens: int
    image_tokens: int
    output_tokens: int
    word_errors: int | None = None
    reference_words: int | None = None
    score: float | None = None
