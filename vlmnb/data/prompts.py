"""The question put to a model, per data set, worded as the official evaluations word it.

The wording is that of LLaVA-1.5's evaluation scripts, which lmms-eval repeats
(https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md). It stands before the chat
template of the checkpoint is applied; the image placeholder is not part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

SHORT_ANSWER = "Answer the question using a single word or phrase."
LETTER_ANSWER = "Answer with the option's letter from the given choices directly."
CAPTION = "Provide a one-sentence caption for the provided image."


def short_answer_prompt(question: str) -> str:
    """Return an open question with a short answer (TextVQA without OCR tokens, easy-VQA)."""
    return f"{question}\n{SHORT_ANSWER}"


def multiple_choice_prompt(question: str, choices: Sequence[str], hint: str = "") -> str:
    """Return a multiple-choice question whose answer is the letter of one choice (ScienceQA).

    The first choice becomes ``A``; the hint is ScienceQA's context passage.
    """
    context = f"Context: {hint}\n" if hint else ""
    lettered = "\n".join(f"{letter_of(i)}. {choice}" for i, choice in enumerate(choices))
    return f"{context}{question}\n{lettered}\n{LETTER_ANSWER}"


def letter_of(index: int) -> str:
    """Return the letter of a choice: ``0 -> "A"``, ``1 -> "B"``."""
    return ascii_uppercase[index]
