"""Check cells that reuse pictures: identical answers, complete times, and when keeping pays."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from statistics import median

from vlmnb.analysis import picture_reuse
from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.records.record import Record

MOST_QUESTIONS = 10_000
"""Number of questions a picture up to which the break-even is looked for."""


@record_rule
def reused_answers_are_the_plain_ones(record: Record) -> Iterator[Draft]:
    """Every answer after reuse has the tokens of the plain run."""
    reused = record.reused
    if reused is None or record.status != "ok":
        return
    pairs = list(zip(reused.sample_ids, reused.plain.tokens, reused.kept.tokens, strict=False))
    wrong = [(own, plain, kept) for own, plain, kept in pairs if plain != kept]
    if wrong:
        own, plain, kept = wrong[0]
        same = (i for i, (a, b) in enumerate(zip(plain, kept, strict=False), 1) if a != b)
        at = next(same, min(len(plain), len(kept)) + 1)
        yield found(sample=own, at=at, wrong=len(wrong), answers=len(pairs))


@record_rule
def every_reused_question_is_timed(record: Record) -> Iterator[Draft]:
    """Every pass has every question once, every picture has what is kept, and no prompt is all prefix."""
    reused, size = record.reused, record.cell.questions
    if reused is None:
        return
    asked = len(reused.sample_ids)
    pictures = len(reused.kept_bytes)
    times = (len(reused.plain.question_s), len(reused.kept.question_s), len(reused.kept.keep_s))
    whole = asked == pictures * size == len(reused.plain.tokens) == len(reused.kept.tokens)
    whole = whole and len(reused.prefix_tokens) == pictures and len(reused.prompt_tokens) == asked
    whole = whole and 0 not in times and not times[0] % asked and times[1] == times[2] * size
    whole = whole and not times[1] % asked and min(reused.kept_bytes) > 0
    starts = [length for length in reused.prefix_tokens for _ in range(size)]
    if not whole or any(a >= b for a, b in zip(starts, reused.prompt_tokens, strict=True)):
        yield found(questions=asked, pictures=pictures, times=", ".join(map(str, times)))


@record_rule
def break_even_is_of_the_seconds(record: Record) -> Iterator[Draft]:
    """Keeping pays from the first number of questions with which it takes no longer than the plain run."""
    reused, pays = record.reused, picture_reuse.break_even(record)
    if reused is None or pays is None:
        return
    once, each = median(reused.kept.keep_s), median(reused.kept.question_s)
    plain, shown = median(reused.plain.question_s), pays.questions
    numbers = count(1) if each < plain else range(1, MOST_QUESTIONS)
    own = next((n for n in numbers if once + n * each <= n * plain * (1 + 1e-12)), None)
    if shown != own:
        yield found(shown=shown or "never", own=own or "never")
