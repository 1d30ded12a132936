"""Rules over the prompts that counts of FLOPs stand for, and over what they say of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.flops import CONVENTIONS, MARGIN, Count, counts_of
from vlmnb.audit.rule import Finding, finding, rules, where
from vlmnb.records.record import Record


@dataclass(frozen=True)
class Fit:
    """A count that is exactly a pass over a whole number of text tokens."""

    count: Count
    samples: int
    tokens: int


def counts_fit_the_prompt_limit(records: Sequence[Record]) -> Iterator[Finding]:
    """A count stands for as many text tokens as the prompt limit lets through, and one question for one."""
    by_model: dict[str, list[Fit]] = {}
    for count in counts_of(records):
        for samples in count.batches:
            if (1, samples) in count.readings() and (tokens := _exact(count, samples)) is not None:
                by_model.setdefault(count.record.cell.model, []).append(Fit(count, samples, tokens))
    for model, fits in by_model.items():
        above = [fit for fit in fits if fit.tokens > fit.count.record.cell.seq_len]
        if not above:
            continue
        cell = above[0].count.record.cell
        bound = expected_flops.most(model, cell.image_size, cell.seq_len)
        alone = [fit for fit in fits if fit not in above and fit.samples == 1]
        yield finding(
            "note",
            [where(fit.count.record, [fit.count.figure]) for fit in fits],
            {f"Image and {cell.seq_len} text tokens": expected_flops.shown(bound)}
            | {_name(fit): _tokens(fit) for fit in fits}
            | {"Slack of flops-of-the-geometry": f"{100 * MARGIN:.0f} %"},
            f"{' and '.join(dict.fromkeys(_name(fit) for fit in above))} of {model} "
            f"{'lies' if len(above) == 1 else 'lie'} above the image and {cell.seq_len} text tokens, within "
            f"the slack: to the printed digits {'it is' if len(above) == 1 else 'they are'} the pass over "
            f"{' and '.join(dict.fromkeys(str(fit.tokens) for fit in above))} text tokens"
            + "".join(f", and {_name(fit)} that over {fit.tokens}" for fit in alone)
            + f" ({CONVENTIONS[1]}, eager attention, logits of every position).",
            "The digits of one prompt's count are about as wide as one token, so some number always fits: "
            "the fit gives a length and no proof. It looks as if a prompt was padded to the limit in one "
            "place and not in another; that it was, and what the tokens beyond the limit are, is not stated.",
        )


def batches_are_counted_alike(records: Sequence[Record]) -> Iterator[Finding]:
    """One way of counting: the larger batch is the same number of samples in every report."""
    rest: list[tuple[Count, Count]] = []
    whole: list[tuple[Count, Count]] = []
    counts = counts_of(records)
    for one in counts:
        for other in counts:
            a, b = one.record.cell, other.record.cell
            left = b.samples % b.batch_size if a.model == b.model and a.batch_size == 1 < b.batch_size else 0
            if left < 2 or (a.device, a.optimization) != (b.device, b.optimization):
                continue
            if _times(one, other, left):
                rest.append((one, other))
            elif _times(one, other, b.batch_size):
                whole.append((one, other))
    if not rest or not whole:
        return
    figures = {
        f"{other.record.cell.model}, batch {other.record.cell.batch_size} over 1": f"{other.figure.printed} "
        f"/ {one.figure.printed} = {(other.figure.value or 0) / (one.figure.value or 1):.3f}"
        for one, other in [*rest, *whole]
    }  # fmt: skip
    (_, last), (_, full) = rest[0], whole[0]
    size = full.record.cell.batch_size
    few = last.record.cell.samples % last.record.cell.batch_size
    yield finding(
        "note",
        [where(c.record, [c.figure]) for pair in [*rest, *whole] for c in pair],
        figures,
        f"At batch {size} a count of {last.record.cell.model} is {few} times that of batch 1, as if of the "
        f"last batch of {few} (flops-of-the-batch-named), and a count of {full.record.cell.model} {size} "
        "times, as if of a full one (flops-follow-the-prompt). If one program counted both, at most one of "
        "the two readings holds and the other ratio is chance.",
        "Whether the reports were made by one program, with one version of it, is not stated.",
    )  # fmt: skip


def _exact(count: Count, samples: int) -> int | None:
    """The one number of text tokens whose pass over so many samples prints as the count; None without one."""
    cell, figure = count.record.cell, count.figure
    near = expected_flops.text_tokens(cell.model, cell.image_size, (figure.value or 0.0) / samples)
    if near is None:
        return None
    fits = [
        tokens
        for tokens in range(max(0, near[0] - 2), near[0] + 3)
        if printed.prints(figure, samples * float(expected_flops.most(cell.model, cell.image_size, tokens)))
    ]
    return fits[0] if len(fits) == 1 else None


def _times(one: Count, other: Count, factor: int) -> bool:
    """Whether a count is so many times another, to the printed digits."""
    (low, high), (least, most) = printed.ends(one.figure), printed.ends(other.figure)
    return low * factor <= most and least <= high * factor


def _tokens(fit: Fit) -> str:
    """Text tokens of a sample as eager attention counts them, and those of every other way of counting."""
    cell, ends = fit.count.record.cell, printed.ends(fit.count.figure)
    few, many = (expected_flops.text_tokens(cell.model, cell.image_size, end / fit.samples) for end in ends)
    told = f" ({few[0]} to {many[1]} by other ways of counting)" if few and many else ""
    return f"{fit.tokens} text tokens a sample{told}"


def _name(fit: Fit) -> str:
    cell = fit.count.record.cell
    of = "" if fit.samples == 1 else f", as of {fit.samples} samples"
    return f"{fit.count.figure.printed} ({cell.device}, {cell.optimization}, batch {cell.batch_size}{of})"


RULES = rules("reports", (counts_fit_the_prompt_limit, batches_are_counted_alike))
