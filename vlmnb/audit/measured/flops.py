"""Rules over one record's FLOPs, layers and answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from vlmnb.analysis.rates import rates as rates_of
from vlmnb.audit import expected_flops
from vlmnb.audit.rule import Finding, Level, finding, rules
from vlmnb.records.layer_profile import LayerProfile
from vlmnb.records.record import Record

COUNTERS = 0.02
"""Relative difference of counters: convolutions' biases and the like, which one counts and another does
not."""

CLOSED = 0.001
"""Share by which FLOPs of the parts may exceed those of the pass: counts are whole numbers of products."""

OUTSIDE = 0.05
"""Share of the FLOPs of a pass that may lie outside its parts: patch embeddings, 2.8 % in a bundled model."""

OVERLAP = 0.02
"""Share by which parts may exceed the pass that holds them: stamps of hooks nest within each other."""

UNEXPLAINED = 0.05
"""Share of a pass that parts may leave, as the pages by layers say."""

CEILING = 0.1
"""Share by which a rate may exceed a measured ceiling: the best of many rounds, on a machine that varies. On
a CPU neighbours may slow the rounds and spare the parts: there a larger excess is a warning, no error."""


def flops_three_ways(records: Sequence[Record]) -> Iterator[Finding]:
    """Torch's count, fvcore's and the formula agree for the prompt that was counted."""
    for record in records:
        counts, cell = record.flops, record.cell
        if counts is None or counts.torch is None:
            continue
        named = not record.provenance.geometry  # the formula here is of the model of that name
        idle = (
            named
            and expected_flops.prefill(cell.model, cell.image_size, 1)
            and expected_flops.unused(cell.model, cell.image_size, cell.batch_size)
        )
        ways = {"torch": float(counts.torch)}
        if counts.fvcore is not None and (named or not counts.unused):
            # fvcore traces the output, and so leaves out layers that nothing reads.
            ways["fvcore, and layers it leaves out"] = float(counts.fvcore + (idle or 0))
        first = record.answers[: cell.batch_size]
        longest = max(first, key=lambda answer: answer.text_tokens, default=None)
        if named and longest is not None and longest.image_tokens:
            tokens = longest.text_tokens + longest.image_tokens
            parts = expected_flops.prefill(cell.model, cell.image_size, tokens, len(first))
            if parts is not None and not cell.interpolate:
                ways[f"formula, {tokens} tokens"] = float(parts.total)
        spread = max(ways.values()) / min(ways.values()) - 1
        if spread > COUNTERS:
            yield finding(
                "error",
                [record],
                {name: expected_flops.shown(value) for name, value in ways.items()}
                | {"Apart": f"{100 * spread:.1f} %"},
                f"FLOPs counted in {len(ways)} ways are {100 * spread:.1f} % apart: one of the counts is not "
                "of this pass.",
                "Which one cannot be told from the record; rates made of them are in doubt.",
            )


def flops_of_phases_add_up(records: Sequence[Record]) -> Iterator[Finding]:
    """FLOPs by phase add up to their total, and those of a decoding step are the formula's."""
    for record in records:
        counts, cell = record.flops, record.cell
        if counts is None:
            continue
        totals = [
            (f"{name}, by phase", name, parts.total, whole)
            for name, parts, whole in (
                ("torch", counts.prefill_torch, counts.torch),
                ("fvcore", counts.prefill_fvcore, counts.fvcore),
                ("formula", counts.prefill_formula, counts.formula),
            )
            if parts is not None and whole is not None
        ]
        again = _by_formula(record)
        if again is not None:
            step, unused = again
            steps = [("torch's step", counts.decode_torch), ("formula's step", counts.decode_formula)]
            totals += [
                (name, f"one step of {cell.model} by formula", parts.total, step)
                for name, parts in steps
                if parts is not None
            ]
            if counts.unused is not None and not cell.interpolate:
                totals.append(("unused", "unused by formula", counts.unused, unused))
        wrong = [each for each in totals if abs(each[2] - each[3]) > COUNTERS * max(each[2], each[3])]
        if wrong:
            name, other, one, whole = wrong[0]
            yield finding(
                "error",
                [record],
                {
                    name.capitalize(): expected_flops.shown(one),
                    other.capitalize(): expected_flops.shown(whole),
                },
                f"FLOPs of {name} are not those of {other}: a phase or its total is of another pass.",
                "Which of the two is right cannot be told; FLOPs by phase and per token are in doubt.",
            )


def layers_add_up(records: Sequence[Record]) -> Iterator[Finding]:
    """Parts add up to the pass: in time with hooks, in time without, and in FLOPs."""
    for record in records:
        if record.layers is None:
            continue
        profile = record.layers
        summed = [sum(times) for times in zip(*(part.in_pass_s for part in profile.parts), strict=True)]
        hooked, whole = median(profile.hooked_s), median(profile.forward_s)
        over = median(summed) / hooked - 1
        if over > OVERLAP:
            yield finding(
                "error",
                [record],
                {"Parts": f"{median(summed):.4g} s", "Pass with hooks": f"{hooked:.4g} s"},
                f"The parts of a pass take {100 * over:.1f} % more than the pass that holds them: some are "
                "counted twice.",
                "Which ones cannot be told; shares of this profile are in doubt.",
            )
        elif abs(1 - median(summed) / whole) > UNEXPLAINED:
            yield finding(
                "warning",
                [record],
                {
                    "Parts": f"{median(summed):.4g} s",
                    "Pass without hooks": f"{whole:.4g} s",
                    "Pass with hooks": f"{hooked:.4g} s",
                },
                f"Parts and pass differ by {100 * (1 - median(summed) / whole):+.1f} %: shares by layer are "
                "off by so much.",
                "Whether hooks, work outside every part or neighbours did it cannot be told.",
            )
        yield from _flops_of_parts(record, profile)


def rates_below_the_ceiling(records: Sequence[Record]) -> Iterator[Finding]:
    """Nothing computes or moves more per second than the device was seen to (MFU and MBU at most 1)."""
    for record in records:
        if record.layers is None:
            yield from _shares_of_a_cell(record)
            continue
        ceilings = record.layers.ceilings
        rates = [
            ("computes", part.name, part.flops / part.replay_s / ceilings.flops_per_s)
            for part in record.layers.parts
            if part.flops and part.replay_s
        ]
        whole = median(record.layers.forward_s)
        if record.flops and record.flops.torch:
            rates.append(("computes", "whole pass", record.flops.torch / whole / ceilings.flops_per_s))
        moved = [
            (
                "moves",
                part.name,
                (part.weight_bytes + part.activation_bytes) / part.replay_s / ceilings.bytes_per_s,
            )
            for part in record.layers.parts
            if part.replay_s
        ]
        measured: Level = "error" if record.cell.device.startswith("cuda") else "warning"
        judged: list[tuple[Level, list[tuple[str, str, float]]]] = [(measured, rates), ("note", moved)]
        for level, found in judged:
            beyond = [rate for rate in found if rate[2] > 1 + CEILING]
            if not beyond:
                continue
            verb, name, share = max(beyond, key=lambda rate: rate[2])
            yield finding(
                level,
                [record],
                {"Parts": f"{len(beyond)} of {len(found)}", "Most": f"{name}: {share:.2f} of the ceiling"},
                f"{len(beyond)} parts come to more than the measured ceiling; {name} {verb} {share:.2f} "
                "times as much "
                "per second." + (" What fits a cache is not read from memory." if verb == "moves" else ""),
                "Ceiling, time or count is wrong; which one cannot be told. Shares of the ceiling in this "
                "record mean nothing."
                if verb == "computes"
                else "How much of the bandwidth of the memory itself these parts use cannot be concluded.",
            )


def _shares_of_a_cell(record: Record) -> Iterator[Finding]:
    """MFU of the prompt's pass and MBU of decoding, for a cell with ceilings beside it."""
    own = rates_of(record)
    on_gpu = record.cell.device.startswith("cuda")
    judged: list[tuple[Level, str, float | None]] = [
        ("error" if on_gpu else "warning", "MFU", own.mfu.value if own.mfu else None),
        ("note", "MBU", own.mbu.value if own.mbu else None),
    ]
    for level, name, share in judged:
        if share is not None and share > 1 + CEILING:
            yield finding(
                level,
                [record],
                {name: f"{share:.3f}"},
                f"The {'prompt' if name == 'MFU' else 'decoding'} reaches {share:.2f} times the ceiling that "
                "was measured beside it."
                + (" What fits a cache is not read from memory." if name == "MBU" else ""),
                "Ceiling, time or count is wrong; which one cannot be told."
                if name == "MFU"
                else "How much of the bandwidth of the memory itself decoding uses cannot be concluded.",
            )


def word_errors_are_of_the_answers(records: Sequence[Record]) -> Iterator[Finding]:
    """Stored word errors are those of the stored answers, and scores lie between 0 and 1."""
    from vlmnb.quality import metrics

    for record in records:
        scored = [a for a in record.answers if a.word_errors is not None and a.references]
        if scored:
            again = metrics.wer([a.references[0] for a in scored], [a.answer for a in scored])
            told = [(a.word_errors, a.reference_words) for a in scored]
            wrong = [
                i
                for i, pair in enumerate(zip(again.errors, again.reference_words, strict=True))
                if pair != told[i]
            ]
            if wrong:
                first = scored[wrong[0]]
                yield finding(
                    "error",
                    [record],
                    {
                        "Answers": f"{len(wrong)} of {len(scored)}",
                        "Sample": first.sample_id,
                        "Stored": f"{first.word_errors} errors of {first.reference_words} words",
                        "Recomputed": f"{again.errors[wrong[0]]} of {again.reference_words[wrong[0]]}",
                    },
                    "Stored word errors are not those of the stored answers: the WER is of something else.",
                    "Whether answers or errors were changed afterwards cannot be told.",
                )
        outside = [a for a in record.answers if a.score is not None and not 0 <= a.score <= 1]
        if outside:
            yield finding(
                "error",
                [record],
                {"Answers": str(len(outside)), "Score": f"{outside[0].score:g}"},
                "A score lies outside 0 to 1: the mean is no accuracy.",
                "What the score measures cannot be told.",
            )


def tokens_within_limits(records: Sequence[Record]) -> Iterator[Finding]:
    """Prompts keep to the prompt budget and answers to the longest answer."""
    for record in records:
        cell = record.cell
        long = [
            a for a in record.answers if a.text_tokens > cell.seq_len or a.output_tokens > cell.max_new_tokens
        ]
        if long:
            worst = max(long, key=lambda answer: answer.text_tokens)
            yield finding(
                "error",
                [record],
                {
                    "Answers": f"{len(long)} of {len(record.answers)}",
                    "Prompt": f"{worst.text_tokens} tokens",
                    "Prompt budget": str(cell.seq_len),
                    "Answer": f"{worst.output_tokens} tokens",
                    "Longest answer": str(cell.max_new_tokens),
                },
                "Prompts or answers are longer than the cell says: it is another cell than its name.",
                "What the cell costs within its limits cannot be concluded.",
            )


def _by_formula(record: Record) -> tuple[int, int] | None:
    """FLOPs of a decoding step after the counted prompt, and of unused vision layers; None if not known."""
    cell = record.cell
    first = record.answers[: cell.batch_size]
    tokens = max((a.text_tokens + a.image_tokens for a in first if a.image_tokens), default=0)
    named = tokens and not record.provenance.geometry
    step = expected_flops.step(cell.model, tokens, len(first)) if named else None
    return None if step is None else (step, expected_flops.unused(cell.model, cell.image_size, len(first)))


def _flops_of_parts(record: Record, profile: LayerProfile) -> Iterator[Finding]:
    counted = [part.flops for part in profile.parts if part.replay_s]
    if not record.flops or not record.flops.torch or None in counted:
        return
    summed = sum(flops or 0 for flops in counted)
    excess = summed / record.flops.torch - 1
    if excess > CLOSED or excess < -OUTSIDE:
        yield finding(
            "error" if excess > 0 else "warning",
            [record],
            {"Parts": expected_flops.shown(summed), "Pass": expected_flops.shown(record.flops.torch)},
            "FLOPs of the parts are not those of the pass: "
            + ("a part is counted twice." if excess > 0 else f"{-100 * excess:.1f} % of them have no part."),
            "Which products these are cannot be told.",
        )


RULES = rules(
    "measured",
    (
        flops_three_ways, flops_of_phases_add_up, layers_add_up, rates_below_the_ceiling,
        word_errors_are_of_the_answers, tokens_within_limits,
    ),
)  # fmt: skip
