"""Rules over FLOPs that reports print: device, optimization, batch, and the geometry of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.rule import Finding, finding, rules, where
from vlmnb.fit import shape
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure

MARGIN = 0.05
"""Relative slack beside the formula: norms, softmax and rotary angles, which it leaves out, and some twenty
tokens of a template beside a limit of 200."""

FREE = {"device": "device", "optimization": "optimization"}
"""What a count of FLOPs does not depend on. The reports' optimizations change kernels and not the
products."""

CONVENTIONS = {1: "2 FLOPs a multiply-add", 2: "1 FLOP a multiply-add"}
"""The two conventions, by the factor that brings a count to the first."""


@dataclass(frozen=True)
class Count:
    """A printed count of one cell."""

    record: Record
    figure: Figure

    @property
    def batches(self) -> tuple[int, ...]:
        """Samples it may be of: those of a batch, or of the last one where the samples leave a rest."""
        cell = self.record.cell
        return (cell.batch_size, rest) if (rest := cell.samples % cell.batch_size) else (cell.batch_size,)

    @property
    def per_sample(self) -> float:
        """FLOPs of one sample of a full batch, as printed."""
        return (self.figure.value or 0.0) / self.record.cell.batch_size

    def readings(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Ways to read it as one pass over prompts within the limit.

        Returns:
            Fewest and most text tokens a sample, by convention and by samples of the batch.
        """
        cell, found = self.record.cell, {}
        low = expected_flops.least(cell.model, cell.image_size, 0) * (1 - MARGIN)
        high = expected_flops.most(cell.model, cell.image_size, cell.seq_len) * (1 + MARGIN)
        for factor in CONVENTIONS:
            for samples in self.batches:
                flops = (self.figure.value or 0.0) * factor / samples
                if low <= flops <= high:
                    tokens = expected_flops.text_tokens(cell.model, cell.image_size, flops)
                    found[factor, samples] = tokens or (0, 0)
        return found


def flops_do_not_depend_on_setting(records: Sequence[Record]) -> Iterator[Finding]:
    """The same question takes the same FLOPs on every device and with every kernel."""
    for field, name in FREE.items():
        for group in _families(records, field):
            values = [printed.ends(count.figure) for count in group]
            if len(group) < 2 or max(low for low, _ in values) <= min(high for _, high in values):
                continue
            cell, base = group[0].record.cell, group[0].figure.value or 1.0
            shown = {f"{name} {getattr(c.record.cell, field)}": c.figure.printed for c in group}
            parts = [f"{100 * ((c.figure.value or 0) / base - 1):+.1f} %" for c in group[1:]]
            yield finding(
                "error",
                [where(c.record, [c.figure]) for c in group],
                {**shown, "Against the first": ", ".join(parts)},
                f"The count of {cell.model} on {cell.dataset} at batch {cell.batch_size} changes with the "
                f"{name} ({', '.join(parts)}), which changes how products are computed and not which.",
                "Whether prompts differed in length or a counter missed operations inside compiled or fused "
                "kernels is not stated; that fewer operations were executed does not follow.",
            )


def flops_of_the_geometry(records: Sequence[Record]) -> Iterator[Finding]:
    """A count lies between the image alone and the image with a full prompt, by the model's geometry."""
    groups: dict[tuple[str, str, int], list[Count]] = {}
    for count in counts_of(records):
        cell = count.record.cell
        groups.setdefault((cell.model, count.figure.printed, cell.batch_size), []).append(count)
    for (model, text, size), group in groups.items():
        first = group[0]
        cell = first.record.cell
        readings = first.readings()
        if (1, cell.batch_size) in readings:
            continue
        low = expected_flops.least(model, cell.image_size, 0)
        high = expected_flops.most(model, cell.image_size, cell.seq_len)
        picture = shape.of(model).image_tokens(cell.image_size)
        figures = {
            "Printed": f"{text}, batch {size}",
            "A sample": expected_flops.shown(first.per_sample),
            f"Image alone ({picture} tokens), at least": expected_flops.shown(low),
            f"Image and {cell.seq_len} text tokens": expected_flops.shown(high),
            "Slack beside both": f"{100 * MARGIN:.0f} %",
        }
        for (factor, samples), tokens in readings.items():
            figures[f"As {CONVENTIONS[factor]} over {samples}"] = f"{span(tokens)} text tokens a sample"
        too = "less than its image alone takes" if first.per_sample < low else "more than a full prompt takes"
        meaning = f"{text} of {model} at batch {size} is, at 2 FLOPs a multiply-add, {too}"
        if readings:
            ways = [
                ("counted as multiply-adds" if factor == 2 else "")
                + (" and " if factor == 2 and samples != size else "")
                + (f"of the last batch of {samples}" if samples != size else "")
                for factor, samples in readings
            ]
            yield finding(
                "warning",
                [where(c.record, [c.figure]) for c in group],
                figures,
                f"{meaning}. It can be a whole forward pass only if it is {', or '.join(ways)}.",
                "A counter that misses operations would give as small a number. Neither unit nor batch is "
                "stated" + ("." if size == 1 else f"; that there are {cell.samples} samples is inferred."),
            )
            continue
        figures["Against that bound"] = f"{first.per_sample / (low if first.per_sample < low else high):.2f}"
        yield finding(
            "error",
            [where(c.record, [c.figure]) for c in group],
            figures,
            f"{meaning}, and so it is as multiply-adds and for a last, smaller batch: it is no forward pass "
            "over the prompts that the header describes.",
            "Several passes added up, other prompts, or a slip of the pen: the figure does not say. Whether "
            "a log has it is held under figures-stand-in-their-log.",
        )


def flops_of_the_batch_named(records: Sequence[Record]) -> Iterator[Finding]:
    """A count is of the batch that the header names."""
    counts = counts_of(records)
    for one in counts:
        for other in counts:
            a, b = one.record.cell, other.record.cell
            rest = b.samples % b.batch_size
            if a.model != b.model or a.batch_size != 1 or rest < 2 or a.optimization != b.optimization:
                continue
            single, batch = printed.ends(one.figure), printed.ends(other.figure)
            if batch[0] > single[1] * rest or batch[1] < single[0] * rest:
                continue
            yield finding(
                "warning",
                [where(one.record, [one.figure]), where(other.record, [other.figure])],
                {
                    f"Batch 1, {a.dataset}": one.figure.printed,
                    f"Batch {b.batch_size}, {b.dataset}": other.figure.printed,
                    "Ratio": f"{(other.figure.value or 0) / (one.figure.value or 1):.3f}",
                    "Samples": f"{b.samples} = {b.samples // b.batch_size} x {b.batch_size} + {rest}",
                },
                f"{other.figure.printed} is {rest} times {one.figure.printed}, to the printed digits, and "
                f"{rest} is what {b.samples} samples leave for the last batch of {b.batch_size}: the count "
                "seems to be of that last, smaller batch, with prompts padded to one length.",
                f"It may be chance; that there are {b.samples} samples is inferred. If it holds, the batch's "
                f"own count is {b.batch_size}/{rest} of what is printed. Whether another report's counts "
                "bear it out is held under batches-are-counted-alike.",
            )


def flops_in_one_unit(records: Sequence[Record]) -> Iterator[Finding]:
    """All counts are in one unit."""
    known: dict[int, list[Count]] = {1: [], 2: []}
    for count in counts_of(records):
        fitting = {factor for factor, _ in count.readings()}
        if len(fitting) == 1:
            known[fitting.pop()].append(count)
    if known[1] and known[2]:
        names = {factor: sorted({c.record.cell.model for c in counts}) for factor, counts in known.items()}
        yield finding(
            "warning",
            [where(c.record, [c.figure]) for counts in known.values() for c in counts],
            {
                CONVENTIONS[factor]: "; ".join(
                    sorted({f"{c.record.cell.model} {c.figure.printed}" for c in counts})
                )
                for factor, counts in known.items()
            },
            f"As passes over one prompt, counts of {', '.join(names[1])} fit only {CONVENTIONS[1]} and "
            f"counts of {', '.join(names[2])} only {CONVENTIONS[2]}: FLOPs of different reports must not be "
            "compared.",
            "No unit is stated. It may be one unit and operations that the counter missed.",
        )


def flops_of_a_batch(records: Sequence[Record]) -> Iterator[Finding]:
    """FLOPs of a sample at batch 16 and at batch 1 differ by no more than prompts can."""
    by_model: dict[str, list[Count]] = {}
    for count in counts_of(records):
        by_model.setdefault(count.record.cell.model, []).append(count)
    for model, counts in by_model.items():
        low = min(counts, key=lambda c: (c.figure.value or 0.0) / min(c.batches))
        high = max(counts, key=lambda c: c.per_sample)
        cell = high.record.cell
        possible = expected_flops.most(model, cell.image_size, cell.seq_len) / expected_flops.least(
            model, cell.image_size, 0
        )
        few = (low.figure.value or 0.0) / min(low.batches)
        ratio = high.per_sample / few
        if ratio > possible * (1 + MARGIN):
            yield finding(
                "error",
                [where(c.record, [c.figure]) for c in (low, high)],
                {
                    "Least a sample": f"{expected_flops.shown(few)} ({low.figure.printed}, batch "
                    f"{low.record.cell.batch_size})",
                    "Most a sample": f"{expected_flops.shown(high.per_sample)} ({high.figure.printed}, batch "
                    f"{cell.batch_size})",
                    "Ratio": f"{ratio:.2f}",
                    "Largest that prompts allow": f"{possible:.2f}",
                },
                f"Counts of {model} come to between {expected_flops.shown(few)} and "
                f"{expected_flops.shown(high.per_sample)} a sample, a ratio of {ratio:.1f}; prompts "
                f"of no text and of {cell.seq_len} tokens differ by {possible:.1f} at most, in any unit.",
                "At least one of them is not of one forward pass; which one cannot be told from the two "
                "alone.",
            )


def flops_follow_the_prompt(records: Sequence[Record]) -> Iterator[Finding]:
    """Prompts of different data sets take different FLOPs."""
    seen: set[tuple[str, str]] = set()
    counts = counts_of(records)
    for one in counts:
        for other in counts:
            a, b = one.record.cell, other.record.cell
            same_question = a.dataset == b.dataset or a.model != b.model or a.batch_size >= b.batch_size
            if same_question or a.optimization != b.optimization or (a.model, b.dataset) in seen:
                continue
            low, high = printed.ends(other.figure)
            times = b.batch_size / a.batch_size
            least, most = (end * times for end in printed.ends(one.figure))
            if most >= low and least <= high and high / low < 1 + MARGIN:
                seen.add((a.model, b.dataset))
                yield finding(
                    "note",
                    [where(one.record, [one.figure]), where(other.record, [other.figure])],
                    {
                        f"{a.dataset}, batch {a.batch_size}": one.figure.printed,
                        f"{b.dataset}, batch {b.batch_size}": other.figure.printed,
                        f"{times:g} times the first": expected_flops.shown((one.figure.value or 0) * times),
                    },
                    f"{a.model} has the same FLOPs a sample on {a.dataset} and on {b.dataset}, to the "
                    "printed digits: the count does not follow the questions.",
                    "One counted input for all, or padding to one length; the report does not say which. "
                    "Whether another report's counts bear it out is held under batches-are-counted-alike.",
                )


def counts_of(records: Sequence[Record]) -> list[Count]:
    """Every different count of every cell whose geometry is known."""
    found: dict[tuple[str, str], Count] = {}
    for record in records:
        for figure in record.reported.figures if record.reported else ():
            if figure.quantity == "flops" and figure.value:
                number = f"{figure.value:.6g}"
                found.setdefault((record.key, number), Count(record, figure))
    return [
        count for count in found.values() if expected_flops.prefill(count.record.cell.model, 1, 1) is not None
    ]


def _families(records: Sequence[Record], field: str) -> list[list[Count]]:
    """Counts of the reports' tables that agree in everything but one field of the cell."""
    groups: dict[str, list[Count]] = {}
    for record in records:
        figure = record.reported.figure("flops") if record.reported else None
        if figure and figure.value:
            key = record.cell.model_copy(update={field: None}).model_dump_json()
            groups.setdefault(key, []).append(Count(record, figure))
    order = ("cuda", "fp16")  # the original first
    return [
        sorted(group, key=lambda count: getattr(count.record.cell, field) not in order)
        for group in groups.values()
    ]


def span(tokens: tuple[int, int]) -> str:
    """A range of text tokens in words."""
    return f"{tokens[0]}" if tokens[0] == tokens[1] else f"{tokens[0]} to {tokens[1]}"


RULES = rules(
    "reports",
    (
        flops_do_not_depend_on_setting, flops_of_the_geometry, flops_of_a_batch, flops_in_one_unit,
        flops_of_the_batch_named, flops_follow_the_prompt,
    ),
)  # fmt: skip
