"""Check the word error rates that reports print: their granularity, their size, and what changes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import CellFigure, OfCell
from vlmnb.audit.rule import Finding, error, grouped, note, rule, warning, where
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

SAME_LATENCY = 0.05
"""Relative difference of latencies that repeats of one cell may show; the reports give no repeats."""

SETTINGS = {"batch_size": "batch size", "optimization": "optimization", "device": "device"}
"""What must not change the answers of greedy decoding, beyond rounding."""


@dataclass(frozen=True)
class Limit(OfCell):
    """WER and latency of a cell, in a series of prompt limits."""

    wer: Figure
    latency: Figure


@rule("reports")
def wer_is_a_fraction_of_words(records: Sequence[Record]) -> Iterator[Finding]:
    """A word error rate is a whole number of errors over the number of reference words."""
    for dataset, words in reference_words(records).items():
        found = [one for one in _wers(records) if one.cell.dataset == dataset]
        exact = {one.figure.printed for one in found if _in_full(one.figure)}
        wrong = [one for one in found if not _on_grid(one.figure, words)]
        for one in wrong:
            yield error(
                {"Printed": one.figure.printed, "Reference words": str(words)},
                f"The WER is no whole number of errors over the {words} reference words of {dataset}.",
                "It may be of other samples, compared with another text, or a typing error.",
                about=[one.where],
            )
        short = [one.figure.printed for one in found if one.figure.printed not in exact]
        coarse = 10 ** -max(len(text.partition(".")[2]) for text in short) if short else 0
        yield note(
            {
                "Reference words": str(words),
                "Figures in full": f"{len(exact)} different",
                "All figures": str(len(found)),
                "On the grid": str(len(found) - len(wrong)),
            },
            f"Every full figure of {dataset} is, as a 32-bit float, a whole number of errors over {words}, "
            "the least such number: the WER is that of the corpus, over so many reference words.",
            "A multiple of that number would fit as well."
            + (
                f" Figures cut to steps of {coarse:g} are coarser than 1/{words} and test nothing."
                if coarse * words >= 1
                else ""
            ),
            about=[one.record for one in found],
        )


@rule("reports")
def wer_of_short_answers(records: Sequence[Record]) -> Iterator[Finding]:
    """Answers have about as many words as their references: a WER is below 1."""
    grids = reference_words(records)
    above = [one for one in printed.finest(records, "wer") if one.number > 1 and one.cell.dataset in grids]
    for own in grouped(above, lambda one: (one.cell.model, one.cell.dataset)):
        cell, values = own[0].cell, sorted(one.number for one in own)
        words = grids[cell.dataset] / cell.samples
        lengths = dict.fromkeys(f"{(value - 1) * words:.1f}" for value in (values[0], values[-1]))
        span = " to ".join(lengths)
        yield warning(
            {
                "WER": f"{values[0]:.4g} to {values[-1]:.4g}",
                "Reference words a sample": f"{words:.2f}",
                "Words of a scored text, at least": span,
            },
            "More errors than reference words means too many words: the texts scored as answers of "
            f"{cell.model} on {cell.dataset} have on average at least {span} words where the reference has "
            f"{words:.2f}. Such a WER measures length.",
            "How many answers are right is unknown: a correct word within a sentence counts as an error. The "
            f"prompt may have been left in the texts. That there are {cell.samples} samples is inferred.",
            about=[one.where for one in own],
        )


@rule("reports")
def answers_do_not_depend_on_setting(records: Sequence[Record]) -> Iterator[Finding]:
    """Greedy answers, and so their WER, do not depend on batch size, device or kernel beyond rounding."""
    for field, name in SETTINGS.items():
        for group in printed.families(printed.finest(records, "wer"), field):
            values, cell = [one.number for one in group], group[0].cell
            if max(values) <= min(values) * (1 + SHIFT):
                continue
            yield error(
                {f"{name} {getattr(one.cell, field)}": f"{one.number:.4g}" for one in group}
                | {"Largest over least": f"{max(values) / min(values):.3g}"},
                f"The WER of {cell.model} on {cell.dataset} changes {max(values) / min(values):.2f}-fold "
                f"with the {name}: latency and energy of these rows may belong to texts of other lengths.",
                "Padding, positions or the end of generation may be the cause; how much of a difference in "
                f"latency or energy comes from the {name} itself is unknown.",
                about=[one.where for one in group],
            )


@rule("reports")
def wer_does_not_profit_from_less(records: Sequence[Record]) -> Iterator[Finding]:
    """Cutting the question does not make answers better."""
    for group in _by_limit(records):
        for less, more in pairwise(group):
            if less.number < more.number * (1 - UNCUT):
                yield note(
                    {f"WER at {one.cell.seq_len} tokens": one.figure.printed for one in (less, more)},
                    f"{less.cell.model} has a lower WER on {less.cell.dataset} with the question cut to "
                    f"{less.cell.seq_len} tokens than with {more.cell.seq_len}: the texts are shorter.",
                    "Better answers do not follow: the prompt may have been scored with the answer.",
                    about=[less.where, more.where],
                )


@rule("reports")
def limit_that_cuts_nothing_costs_nothing(records: Sequence[Record]) -> Iterator[Finding]:
    """A prompt limit that does not change the answers does not change the latency."""
    latencies = {one.record.key: one.figure for one in printed.finest(records, "latency_s")}
    for group in _by_limit([r for r in records if r.key in latencies]):
        limits = [Limit(wer.record, wer.figure, latencies[wer.record.key]) for wer in group]
        steps = [(a, b) for a, b in pairwise(limits) if abs(a.wer.number / b.wer.number - 1) < UNCUT]
        for low, high in steps:
            added_s = high.latency.number - low.latency.number
            if abs(added_s) <= SAME_LATENCY * low.latency.number:
                continue
            rest = [step for step in steps if step[0] is not low]
            shown = [one for one in limits if any(one in step for step in [*rest, (low, high)])]
            each_s = added_s / (high.cell.seq_len - low.cell.seq_len)
            yield note(
                {
                    f"At {one.cell.seq_len} tokens": f"WER {one.wer.printed}, {one.latency.printed} s"
                    for one in shown
                },
                f"On {low.cell.dataset} {low.cell.model} has the same WER within {100 * UNCUT:.0f} % with "
                f"limits of {low.cell.seq_len} and {high.cell.seq_len} tokens, so almost nothing is cut, "
                f"yet a batch takes {added_s:.3f} s ({100 * added_s / low.latency.number:.0f} %) longer.",
                "The reports give neither a reason nor repeats. "
                + (
                    " ".join(_other_step(each_s, *step) for step in rest)
                    or "Padded prompts or longer answers would cost time; no third limit shows which."
                ),
                about=[where(one.record, [one.wer, one.latency]) for one in shown],
            )


@rule("reports")
def answers_do_not_change_with_an_unused_limit(records: Sequence[Record]) -> Iterator[Finding]:
    """A prompt limit above one that cuts nothing does not change the answers."""
    words = reference_words(records)
    for group in _by_limit(records):
        for one, two, three in zip(group, group[1:], group[2:], strict=False):
            same = one.number == two.number and digits(one.figure.printed) == digits(two.figure.printed)
            if not same or printed.overlap(printed.ends(two.figure), printed.ends(three.figure)):
                continue
            cell = one.cell
            yield note(
                {
                    f"WER at {limit.cell.seq_len} tokens": (
                        limit.figure.printed + _errors(limit.figure, words.get(cell.dataset))
                    )
                    for limit in (one, two, three)
                },
                f"The WER of {cell.model} on {cell.dataset} is the same to every digit with limits of "
                f"{cell.seq_len} and {two.cell.seq_len} tokens ({two.figure.printed}), where probably "
                f"nothing is cut; with {three.cell.seq_len} it is {three.figure.printed}.",
                "Other answers can have the same WER, so this is likely and not proven. Prompts may be "
                "padded to the limit, or a run differed. See limit-that-cuts-nothing-costs-nothing for the "
                "time.",
                about=[limit.where for limit in (one, two, three)],
            )


def reference_words(records: Sequence[Record]) -> dict[str, int]:
    """Return the least number of reference words that explains every full figure of a data set.

    A figure in full is a 32-bit float; ``n`` words explain it if it is the float of some whole number over
    ``n``. Data sets whose figures do not determine it are left out.
    """
    found: dict[str, int] = {}
    exact = [one for one in _wers(records) if _in_full(one.figure)]
    for group in grouped(exact, lambda one: one.cell.dataset):
        values = sorted({one.number for one in group})
        least = next((n for n in range(1, MOST_WORDS) if all(_is_multiple(v, n) for v in values)), None)
        if least is not None and _chance(values, least) < CHANCE:
            found[group[0].cell.dataset] = least
    return found


def _by_limit(records: Sequence[Record]) -> list[list[CellFigure]]:
    """Return the WERs above 0 of cells that differ in the prompt limit alone, by growing limit."""
    return printed.families([one for one in printed.finest(records, "wer") if one.number], "seq_len")


def _other_step(each_s: float, low: Limit, high: Limit) -> str:
    """Compare what another step of the limit costs with what it would cost at a price per token."""
    few, many = low.cell.seq_len, high.cell.seq_len
    seen_s, due_s = high.latency.number - low.latency.number, each_s * (many - few)
    if abs(seen_s - due_s) <= SAME_LATENCY * low.latency.number / 2:
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
    odds = 1.0
    for value in values:
        odds *= min(1.0, words * value * 2.0**-23)
    return odds * words


def _wers(records: Sequence[Record]) -> list[CellFigure]:
    return [
        CellFigure(record, figure)
        for record in records
        for figure in printed.figures(record)
        if figure.quantity == "wer" and figure.value is not None
    ]


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
