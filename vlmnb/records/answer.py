"""One sample of a record: the question, the answer and its score; or why it could not be used."""

from __future__ import annotations

import re

from vlmnb.types import Frozen

_REPEATED = re.compile(r"(.{1,40}?)(?:\s*\1){4,}", re.DOTALL)


class Answer(Frozen):
    """One sample: the question, the answer and its score.

    Attributes:
        prompt: The text after truncation to the prompt length.
        text_tokens: Tokens of the text prompt with its template, without image tokens.
        image_tokens: Tokens that stand for the image.
        output_tokens: Generated tokens, the end mark included.
        word_errors: Substitutions, deletions and insertions against the first reference.
        reference_words: Words of the first reference.
        score: Accuracy of the sample in [0, 1] by its data set's rule, or None where it has none.
        note: Why a score is missing, or how to read it; empty for most answers.
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
    note: str = ""

    def says_nothing(self, longest: int) -> bool:
        """Return whether the answer has no text, or repeats one text up to ``longest``, its limit."""
        text = self.answer.strip()
        return not text or (self.output_tokens >= longest and bool(_REPEATED.fullmatch(text)))


class FailedSample(Frozen):
    """A row of the data set that was chosen and could not be used, such as one with a damaged picture.

    Attributes:
        row: Its place in the data set, from 0.
        id: The sample's id.
        reason: What is wrong with it.
    """

    row: int
    id: str
    reason: str
