"""Rules over the word error rates that reports print: their granularity, their size, what moves them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from vlmnb.audit.reports import printed
from vlmnb.audit.rule import Finding, finding, rules, where
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, digits

SINGLE_DIGITS = 9
"""Digits from which a figure tells a 32-bit float: nine identify every one of them."""

MOST_WORDS = 20_000
"""Numbers of reference words that are tried: far more than 300 short answers or captions have."""

CHANCE = 1e-3
"""A granularity is believed where so many figures would fit it by chance less often than this."""

SHIFT = 0.2
"""Relative change of a WER by batch size or kernel that no rounding explains. Rounding alone flips some
answers: for LLaVA-1.5 7B a change of 16 % by batch size has been told of (lmms-eval, issue 236)."""

UNCUT = 0.01
"""Relative change of a WER below which a shorter prompt limit is taken to have cut next to nothing."""

SAME_LATENCY = 0.05
"""Relative difference of latencies that repeats of one cell may show; the reports tell nothing of theirs."""

SETTINGS = {"batch_size": "batch size", "optimization": "optimization", "device": "device"}
"""What must not move the answers of greedy decoding, beyond rounding."""


def wer_is_a_fraction_of_words(records: Sequence[Record]) -> Iterator[Finding]:
    """A word error rate is a whole number of errors over the number of reference words."""
    for dataset, words in reference_words(records).items():
        figures = [(r, f) for r in records if r.cell.dataset == dataset for f in _wers(r)]
        exact = [f for _, f in figures if digits(f.printed) >= SINGLE_DIGITS]
        wrong = [(r, f) for r, f in figures if not _on_grid(f, words)]
        for record, figure in wrong:
            yield finding(
                "error",
                [where(record, [figure])],
                {"Printed": figure.printed, "Reference words": str(words)},
                f"The WER is no whole number of errors over the {words} reference words that the log's "
                f"figures of {dataset} share.",
                "Other samples, another text to compare with, or a slip of the pen: the figure does not say.",
            )
        coarse = 10 ** -max(len(f.printed.partition(".")[2]) for _, f in figures if f not in exact)
        able = coarse * words < 1
        yield finding(
            "note",
            {r.key: r for r, _ in figures}.values(),
            {
                "Reference words": str(words),
                "Figures in full": f"{len({f.printed for f in exact})} different",
                "All figures": str(len(figures)),
                "On the grid": str(len(figures) - len(wrong)),
            },
            f"Every full figure of {dataset} is, as a 32-bit float, a whole number of errors over {words}, "
            "the least number for which that holds: the WER is of the corpus, over that many reference "
            "words.",
            "A multiple of that number would fit as well."
            + (
                ""
                if able
                else f" Figures cut to steps of {coarse:g} are coarser than 1/{words} and test nothing."
            ),
        )


def wer_of_short_answers(records: Sequence[Record]) -> Iterator[Finding]:
    """Answers have about as many words as their references: a WER is below 1."""
    grids = reference_words(records)
    groups: dict[tuple[str, str], list[tuple[Record, Figure]]] = {}
    for record in records:
        figure = printed.finest(record, "wer")
        if figure and figure.value and figure.value > 1 and record.cell.dataset in grids:
            groups.setdefault((record.cell.model, record.cell.dataset), []).append((record, figure))
    for (model, dataset), own in groups.items():
        words = grids[dataset]
        values = sorted(f.value or 0.0 for _, f in own)
        samples = own[0][0].cell.samples
        least, most = ((value - 1) * words / samples for value in (values[0], values[-1]))
        span = f"{least:.1f}" if f"{least:.1f}" == f"{most:.1f}" else f"{least:.1f} to {most:.1f}"
        yield finding(
            "warning",
            [where(r, [f]) for r, f in own],
            {
                "WER": f"{values[0]:.4g} to {values[-1]:.4g}",
                "Reference words a sample": f"{words / samples:.2f}",
                "Words of a scored text, at least": span,
            },
            "More errors than reference words can only be words too many: the texts scored as answers of "
            f"{model} on {dataset} have on average at least {span} words where the reference has "
            f"{words / samples:.2f}. Such a WER measures length.",
            "How many answers are right cannot be concluded: a correct word within a sentence counts as "
            "badly as a wrong sentence. Nor is it known whether the words are the model's or the prompt's, "
            f"left in the decoded text. That there are {samples} samples is inferred, not stated.",
        )


def answers_do_not_depend_on_setting(records: Sequence[Record]) -> Iterator[Finding]:
    """Greedy answers, and so their WER, do not depend on batch size, device or kernel beyond rounding."""
    for field, name in SETTINGS.items():
        for group in _families(records, field):
            pairs = [(r, f) for r in group if (f := printed.finest(r, "wer"))]
            values = [f.value or 0.0 for _, f in pairs]
            if len(pairs) < 2 or max(values) <= min(values) * (1 + SHIFT):
                continue
            shown = {f"{name} {getattr(r.cell, field)}": f"{f.value:.4g}" for r, f in pairs}
            cell = pairs[0][0].cell
            yield finding(
                "error",
                [where(r, [f]) for r, f in pairs],
                {**shown, "Largest over least": f"{max(values) / min(values):.3g}"},
                f"The WER of {cell.model} on {cell.dataset} changes {max(values) / min(values):.2f}-fold "
                f"with the {name}, which must not touch the answers: the scored texts differ in length, so "
                "latency and energy of these rows are not known to be of the same work.",
                "Padding, positions or the end of generation may be at fault; how much of a difference in "
                "latency or energy is the setting's own cannot be separated.",
            )


def wer_does_not_profit_from_less(records: Sequence[Record]) -> Iterator[Finding]:
    """Cutting the question does not make answers better."""
    for group in _families(records, "seq_len"):
        pairs = [(r, f) for r in group if (f := printed.finest(r, "wer")) and f.value]
        for (less, short), (more, full) in pairwise(pairs):
            assert short.value is not None
            assert full.value is not None
            if short.value < full.value * (1 - UNCUT):
                yield finding(
                    "note",
                    [where(less, [short]), where(more, [full])],
                    {f"WER at {r.cell.seq_len} tokens": f.printed for r, f in ((less, short), (more, full))},
                    f"{less.cell.model} has a lower WER on {less.cell.dataset} with the question cut to "
                    f"{less.cell.seq_len} tokens than with {more.cell.seq_len}: what falls is the length of "
                    "the scored texts.",
                    "That the model answers better without the end of the question does not follow. It is "
                    "what would happen if the prompt were scored with the answer; that is not proven.",
                )


def limit_that_cuts_nothing_costs_nothing(records: Sequence[Record]) -> Iterator[Finding]:
    """Where a prompt limit does not touch the answers it does not touch the latency."""
    for group in _families(records, "seq_len"):
        found = [
            (r, w, s)
            for r in group
            if (w := printed.finest(r, "wer")) and (s := printed.finest(r, "latency_s"))
            if w.value and s.value
        ]
        steps = [(a, b) for a, b in pairwise(found) if abs((a[1].value or 0) / (b[1].value or 1) - 1) < UNCUT]
        for (low, wer, short), (high, other, long) in steps:
            assert short.value is not None
            assert long.value is not None
            if abs(long.value / short.value - 1) <= SAME_LATENCY:
                continue
            rest = [step for step in steps if step[0][0] is not low]
            shown = {r.key: (r, w, s) for step in [*rest, ((low, wer, short), (high, other, long))]
                     for r, w, s in step}  # fmt: skip
            each = (long.value - short.value) / (high.cell.seq_len - low.cell.seq_len)
            against = [_other_step(each, a, b) for a, b in rest]
            yield finding(
                "note",
                [where(r, [w, s]) for r, w, s in shown.values()],
                {
                    f"At {r.cell.seq_len} tokens": f"WER {w.printed}, {s.printed} s"
                    for r, w, s in sorted(shown.values(), key=lambda told: told[0].cell.seq_len)
                },
                f"On {low.cell.dataset} {low.cell.model} gives the same WER within {100 * UNCUT:.0f} % "
                f"with limits of {low.cell.seq_len} and {high.cell.seq_len} tokens, so next to nothing "
                f"is cut, and yet a batch takes {long.value - short.value:.3f} s "
                f"({100 * (long.value / short.value - 1):.0f} %) longer with the larger limit.",
                " ".join(
                    ["Why is not stated, nor are repeats.", *against]
                    if against
                    else [
                        "Why is not stated, nor are repeats. Prompts padded up to the limit would cost time, "
                        "and so would longer answers; no third limit tells."
                    ]
                ),
            )


def answers_do_not_change_with_an_unused_limit(records: Sequence[Record]) -> Iterator[Finding]:
    """A prompt limit above one that cuts nothing does not change the answers."""
    words = reference_words(records)
    for group in _families(records, "seq_len"):
        pairs = [(r, f) for r in group if (f := printed.finest(r, "wer")) and f.value]
        for (one, least), (two, same), (three, other) in zip(pairs, pairs[1:], pairs[2:], strict=False):
            apart = _apart(same, other)
            if least.value != same.value or digits(least.printed) != digits(same.printed) or not apart:
                continue
            cell = one.cell
            yield finding(
                "note",
                [where(r, [f]) for r, f in ((one, least), (two, same), (three, other))],
                {
                    f"WER at {r.cell.seq_len} tokens": f.printed + _errors(f, words.get(cell.dataset))
                    for r, f in ((one, least), (two, same), (three, other))
                },
                f"The WER of {cell.model} on {cell.dataset} is the same to every digit with limits of "
                f"{one.cell.seq_len} and {two.cell.seq_len} tokens ({same.printed}), so probably nothing is "
                f"cut there, and with {three.cell.seq_len}, which cuts no more, it is {other.printed}: "
                "answers seem to change with the limit alone.",
                "Other answers can share a WER, so that nothing is cut is likely and not proven. Whether "
                "prompts were padded up to the limit, or one of the runs was not as the others, is not "
                "stated. Whether the same step costs time, says limit-that-cuts-nothing-costs-nothing.",
            )


def reference_words(records: Sequence[Record]) -> dict[str, int]:
    """The least number of reference words that explains every full figure of a data set.

    A figure in full is a 32-bit float; it is explained by ``n`` words if it is the float of some whole
    number over ``n``. Data sets whose figures do not tell are left out.
    """
    by_dataset: dict[str, set[float]] = {}
    for record in records:
        for figure in _wers(record):
            if digits(figure.printed) >= SINGLE_DIGITS and figure.value is not None:
                by_dataset.setdefault(record.cell.dataset, set()).add(figure.value)
    found: dict[str, int] = {}
    for dataset, values in by_dataset.items():
        least = next((n for n in range(1, MOST_WORDS) if all(_is_multiple(v, n) for v in values)), None)
        if least is not None and _chance(sorted(values), least) < CHANCE:
            found[dataset] = least
    return found


def _other_step(each: float, low: tuple[Record, Figure, Figure], high: tuple[Record, Figure, Figure]) -> str:
    """What another step of the limit costs, beside what it would cost at a price a token."""
    few, many = low[0].cell.seq_len, high[0].cell.seq_len
    seen = (high[2].value or 0.0) - (low[2].value or 0.0)
    due, noise = each * (many - few), SAME_LATENCY * (low[2].value or 0.0)
    if abs(seen - due) <= noise / 2:
        return f"From {few} to {many} tokens it is {seen:+.3f} s, about as much a token."
    told = (
        f"If time grew with the limit, as with prompts padded up to it, the step from {few} to {many} tokens"
    )
    return f"{told} would cost {due:.3f} s; it costs {seen:+.3f} s, which speaks against that cause."


def _apart(one: Figure, other: Figure) -> bool:
    """Whether no number prints as both figures do."""
    (a, b), (c, d) = printed.ends(one), printed.ends(other)
    return b < c or d < a


def _errors(figure: Figure, words: int | None) -> str:
    """The number of errors that a figure stands for, where its digits tell one; empty where they do not."""
    if words is None:
        return ""
    low, high = printed.ends(figure)
    fits = [n for n in range(int(low * words), int(high * words) + 2) if printed.prints(figure, n / words)]
    return f" ({fits[0]}/{words})" if len(fits) == 1 else ""


def _chance(values: Sequence[float], words: int) -> float:
    """Bound on the probability that figures fit one of the numbers up to ``words`` by chance."""
    # A float of 24 bits around v lies within half a step of n * v with about n * v * 2**-24 * 2.
    odds = 1.0
    for value in values:
        odds *= min(1.0, words * value * 2.0**-23)
    return odds * words


def _wers(record: Record) -> list[Figure]:
    figures = record.reported.figures if record.reported else ()
    return [f for f in figures if f.quantity == "wer" and f.value is not None]


def _is_multiple(value: float, words: int) -> bool:
    return printed.single(round(value * words) / words) == printed.single(value)


def _on_grid(figure: Figure, words: int) -> bool:
    """Whether some number of errors over the words prints as the figure, from 32 bits, cut or rounded."""
    assert figure.value is not None
    if digits(figure.printed) >= SINGLE_DIGITS:
        return _is_multiple(figure.value, words)
    low, high = printed.ends(figure)
    errors = range(int(low * words), int(high * words) + 2)
    return any(printed.prints(figure, printed.single(count / words)) for count in errors)


def _families(records: Sequence[Record], field: str) -> list[list[Record]]:
    """Records that agree in everything but one field of the cell, in the order of its values."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.reported and record.status == "ok":
            groups.setdefault(record.cell.model_copy(update={field: None}).model_dump_json(), []).append(
                record
            )
    return [
        sorted(group, key=lambda r: getattr(r.cell, field)) if field != "optimization" else group
        for group in groups.values()
    ]


RULES = rules(
    "reports",
    (
        answers_do_not_depend_on_setting, wer_is_a_fraction_of_words, wer_of_short_answers,
        wer_does_not_profit_from_less, limit_that_cuts_nothing_costs_nothing,
        answers_do_not_change_with_an_unused_limit,
    ),
)  # fmt: skip
