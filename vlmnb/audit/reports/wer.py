"""Check the word error rates that reports print: their granularity, their size, and what changes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod

from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import NOISE, CellFigure
from vlmnb.audit.rule import Draft, found, grouped, rule, where
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, digits

SINGLE_DIGITS = 9
"""Digits from which a figure is a 32-bit float in full: nine identify every one of them."""

MOST_WORDS = 20_000
"""Numbers of reference words that are tried: far more than 300 short answers or captions have."""

CHANCE = 1e-3
"""A granularity is believed where so many figures would fit it by chance less often than this."""

SHIFT = 0.2
"""Relative change of a WER by batch size or kernel that no rounding explains. Rounding alone changes some
answers: for LLaVA-1.5 7B a change of 16 % by batch size was reported (lmms-eval, issue 236)."""

UNCUT = 0.01
"""Relative change of a WER below which a shorter prompt limit is taken to have cut next to nothing."""

SETTINGS = {"batch_size": "batch size", "optimization": "optimization", "device": "device"}
"""What must not change the answers of greedy decoding, beyond rounding."""


@rule("reports")
def wer_is_a_fraction_of_words(records: Sequence[Record]) -> Iterator[Draft]:
    """A word error rate is a whole number of errors over the number of reference words."""
    for dataset, words in reference_words(records).items():
        own = [one for one in printed.numbers(records, "wer") if one.cell.dataset == dataset]
        exact = {one.figure.printed for one in own if _in_full(one.figure)}
        wrong = [one for one in own if not _on_grid(one.figure, words)]
        for one in wrong:
            yield found("off the grid", [one.where], printed=one.figure.printed, words=words, dataset=dataset)
        short = [one.figure.printed for one in own if one.figure.printed not in exact]
        coarse = 10 ** -max(len(text.partition(".")[2]) for text in short) if short else 0
        about, counts = [one.record for one in own], [len(exact), len(own), len(own) - len(wrong)]
        step = coarse if coarse * words >= 1 else None
        yield found("grid", about, words=words, dataset=dataset, counts=counts, coarse=step)


@rule("reports")
def wer_of_short_answers(records: Sequence[Record]) -> Iterator[Draft]:
    """Answers have about as many words as their references: a WER is below 1."""
    grids = reference_words(records)
    above = [one for one in printed.finest(records, "wer") if one.number > 1 and one.cell.dataset in grids]
    for own in grouped(above, lambda one: (one.cell.model, one.cell.dataset)):
        cell, values = own[0].cell, sorted(one.number for one in own)
        words = grids[cell.dataset] / cell.samples
        ends = values[0], values[-1]
        span = " to ".join(dict.fromkeys(f"{(value - 1) * words:.1f}" for value in ends))
        yield found(about=[one.where for one in own], cell=cell, wers=ends, words=words, span=span)


@rule("reports")
def answers_do_not_depend_on_setting(records: Sequence[Record]) -> Iterator[Draft]:
    """Greedy answers, and their WER, depend on batch size, device and attention kernel by rounding alone."""
    for field, name in SETTINGS.items():
        for group in printed.families(printed.finest(records, "wer"), field):
            values = [one.number for one in group]
            if max(values) > min(values) * (1 + SHIFT):
                figures = {f"{name} {getattr(one.cell, field)}": f"{one.number:.4g}" for one in group}
                about, ratio = [one.where for one in group], max(values) / min(values)
                yield found("", about, figures, name=name, ratio=ratio, cell=group[0].cell)


@rule("reports")
def wer_does_not_profit_from_less(records: Sequence[Record]) -> Iterator[Draft]:
    """Cutting the question does not make answers better."""
    for group in _by_limit(records):
        for less, more in pairwise(group):
            if less.number < more.number * (1 - UNCUT):
                figures = {f"WER at {one.cell.seq_len} tokens": one.figure.printed for one in (less, more)}
                yield found("", [less.where, more.where], figures, less=less.cell, more=more.cell)


@rule("reports")
def limit_that_cuts_nothing_costs_nothing(records: Sequence[Record]) -> Iterator[Draft]:
    """A prompt limit that does not change the answers does not change the latency."""
    latencies = {one.record.key: one for one in printed.finest(records, "latency_s")}
    for group in _by_limit([r for r in records if r.key in latencies]):
        uncut = [(a, b) for a, b in pairwise(group) if abs(a.number / b.number - 1) < UNCUT]
        steps = [(latencies[a.record.key], latencies[b.record.key]) for a, b in uncut]
        for low, high in steps:
            added_s, share = high.number - low.number, high.number / low.number - 1
            if abs(share) <= NOISE:
                continue
            rest = [step for step in steps if step[0] is not low]
            named = {one.record.key for step in [*rest, (low, high)] for one in step}
            shown = [(wer, latencies[wer.record.key]) for wer in group if wer.record.key in named]
            each_s = added_s / (high.cell.seq_len - low.cell.seq_len)
            figures = {
                f"At {wer.cell.seq_len} tokens": f"WER {wer.figure.printed}, {latency.figure.printed} s"
                for wer, latency in shown
            }
            about = [where(wer.record, [wer.figure, latency.figure]) for wer, latency in shown]
            others = " ".join(_other_step(each_s, *step) for step in rest)
            values = {"low": low.cell, "high": high.cell, "uncut": UNCUT, "others": others}
            case = "third limit" if rest else "two limits"
            yield found(case, about, figures, added_s=added_s, share=share, **values)


@rule("reports")
def answers_do_not_change_with_an_unused_limit(records: Sequence[Record]) -> Iterator[Draft]:
    """A prompt limit above one that cuts nothing does not change the answers."""
    words = reference_words(records)
    for group in _by_limit(records):
        for one, two, three in zip(group, group[1:], group[2:], strict=False):
            same = one.number == two.number and digits(one.figure.printed) == digits(two.figure.printed)
            if not same or printed.overlap(printed.ends(two.figure), printed.ends(three.figure)):
                continue
            limits, known = (one, two, three), words.get(one.cell.dataset)
            figures = {
                f"WER at {limit.cell.seq_len} tokens": limit.figure.printed + _errors(limit.figure, known)
                for limit in limits
            }
            yield found("", [limit.where for limit in limits], figures, one=one, two=two, three=three)


def reference_words(records: Sequence[Record]) -> dict[str, int]:
    """Return the least number of reference words that explains every full figure of a data set.

    A figure in full is a 32-bit float; ``n`` words explain it if it is the float of some whole number over
    ``n``. Data sets whose figures do not determine it are left out.
    """
    words: dict[str, int] = {}
    exact = [one for one in printed.numbers(records, "wer") if _in_full(one.figure)]
    for group in grouped(exact, lambda one: one.cell.dataset):
        values = sorted({one.number for one in group})
        least = next((n for n in range(1, MOST_WORDS) if all(_is_multiple(v, n) for v in values)), None)
        if least is not None and _chance(values, least) < CHANCE:
            words[group[0].cell.dataset] = least
    return words


def _by_limit(records: Sequence[Record]) -> list[list[CellFigure]]:
    """Return the WERs above 0 of cells that differ in the prompt limit alone, by growing limit."""
    return printed.families([one for one in printed.finest(records, "wer") if one.number], "seq_len")


def _other_step(each_s: float, low: CellFigure, high: CellFigure) -> str:
    """Compare what another step of the limit costs with what it would cost at a price per token."""
    few, many = low.cell.seq_len, high.cell.seq_len
    seen_s, due_s = high.number - low.number, each_s * (many - few)
    if abs(seen_s - due_s) <= NOISE * low.number / 2:
        return f"From {few} to {many} tokens it is {seen_s:+.3f} s, about as much a token."
    return (
        f"If time grew with the limit, as with prompts padded up to it, the step from {few} to {many} tokens "
        f"would cost {due_s:.3f} s; it costs {seen_s:+.3f} s, which speaks against that cause."
    )


def _errors(figure: Figure, words: int | None) -> str:
    """Return the number of errors that a figure stands for, if its digits determine it; else empty."""
    if words is None:
        return ""
    fits = [count for count in _near(figure, words) if printed.prints(figure, count / words)]
    return f" ({fits[0]}/{words})" if len(fits) == 1 else ""


def _chance(values: Sequence[float], words: int) -> float:
    """Return a bound on the probability that figures fit one of the numbers up to ``words`` by chance."""
    # A float of 24 bits around v lies within half a step of n * v with about n * v * 2**-24 * 2.
    return words * prod(min(1.0, words * value * 2.0**-23) for value in values)


def _in_full(figure: Figure) -> bool:
    return digits(figure.printed) >= SINGLE_DIGITS


def _is_multiple(value: float, words: int) -> bool:
    return printed.single(round(value * words) / words) == printed.single(value)


def _near(figure: Figure, words: int) -> range:
    """Return the numbers of errors that a figure may stand for."""
    low, high = printed.ends(figure)
    return range(int(low * words), int(high * words) + 2)


def _on_grid(figure: Figure, words: int) -> bool:
    """Return whether some number of errors over the words prints as the figure, from 32 bits."""
    if _in_full(figure):
        return _is_multiple(figure.number, words)
    return any(printed.prints(figure, printed.single(count / words)) for count in _near(figure, words))
