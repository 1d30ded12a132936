"""Check latency and energy that reports print: mean power, growth with size, optimizations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median

from vlmnb.audit.constant_power import constant_power
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import CellFigure, Row
from vlmnb.audit.reports.wer import SHIFT
from vlmnb.audit.rule import Finding, error, finding, grouped, note, rule, warning
from vlmnb.fit import gpus
from vlmnb.records.record import Record
from vlmnb.spec.optimizations import DTYPES

NOISE = 0.05
"""Relative difference of latencies that repeats of one cell may show. The reports state no repeats; it is
the noise floor that this project assumes on a busy machine."""

INFERRED = "The reports print no unit: seconds per batch and joules per sample are inferred."

SIZES = {"batch_size": "batch", "image_size": "image", "seq_len": "prompt limit"}


@rule("reports")
def power_follows_the_work(records: Sequence[Record]) -> Iterator[Finding]:
    """Mean power, joules over seconds, differs between workloads; a constant one is an estimate."""
    for rows in grouped(_with_energy(records), lambda row: row.cell.device):
        models = len({row.cell.model for row in rows})
        power = constant_power([printed.watts(row) for row in rows], models)
        if power is None:
            continue
        spread = f"{100 * power.spread:.2f} %"
        yield warning(
            {
                f"{row.cell.model}: {printed.shown(row.figures['energy_j_per_sample'])} / "
                f"{printed.shown(row.figures['latency_s'])}": f"{printed.watts(row):.2f} W"
                for row in rows
            }
            | {"Spread": spread},
            f"Energy over latency is {power.watts:.1f} W on the {rows[0].cell.device} for all of {models} "
            f"models, within {spread}: the energies are an assumed power times the latency, not readings.",
            "The real power is unknown. A processor at its power limit would come close, though hardly this "
            f"close. {INFERRED} In other units the watts would be as constant.",
            about=[row.where("latency_s", "energy_j_per_sample") for row in rows],
        )


@rule("reports")
def power_within_a_gpus_limit(records: Sequence[Record]) -> Iterator[Finding]:
    """Mean power of the GPU rows is below the power limit of a GPU."""
    rows = _with_energy(records)
    on_gpu = [row for row in rows if row.cell.device == "cuda"]
    if not on_gpu:
        return
    top, low = max(on_gpu, key=printed.watts), min(on_gpu, key=printed.watts)
    least, most = printed.watt_ends(top)
    known = [gpu for gpu in gpus.catalogue() if gpu.power_w]
    allow = [gpu.name for gpu in known if (gpu.power_w or 0) >= least]
    figures = {
        "Highest": f"{printed.watts(top):.0f} W ({least:.0f} to {most:.0f})",
        "Lowest": f"{printed.watts(low):.0f} W",
        "GPUs of the catalogue with such a limit": f"{len(allow)} of {len(known)}",
    }
    about = [row.where("latency_s", "energy_j_per_sample") for row in (top, low)]
    if not allow:
        yield error(
            figures,
            f"{top.cell.model} at batch {top.cell.batch_size} draws {least:.0f} W or more: no known GPU may.",
            f"Whether several devices were added up or a figure is wrong is not stated. {INFERRED}",
            about=about,
        )
        return
    cpu = [printed.watts(row) for row in rows if row.cell.device == "cpu"]
    left = (
        f": less the {median(cpu):.0f} W of the CPU rows, {least - median(cpu):.0f} W remain" if cpu else ""
    )
    named = ", ".join(allow[:6]) + (" and others" if len(allow) > 6 else "")
    yield note(
        figures,
        f"If the GPU rows count the GPU alone, its power limit is at least {least:.0f} W, reached on average "
        f"over whole batches by {top.cell.model}; of the catalogue that leaves {named}.",
        f"If processor and memory are included, which is not stated, it may be a smaller GPU{left}. "
        f"{INFERRED} The watts depend on it.",
        about=about,
    )


@rule("reports")
def latency_grows_with_size(records: Sequence[Record]) -> Iterator[Finding]:
    """Latency does not fall as batch, image or prompt limit grow."""
    latencies = [one for one in printed.finest(records, "latency_s") if one.number]
    pairs = [
        (field, small, large)
        for field in SIZES
        for group in printed.families(latencies, field)
        for small, large in pairwise(group)
    ]
    for field, small, large in pairs:
        fall = 1 - large.number / small.number
        beyond = fall > NOISE
        # A limit that cuts nothing changes nothing, and repeats differ a little.
        expected = not beyond and field == "seq_len"
        if expected or printed.ends(large.figure)[1] > printed.ends(small.figure)[0]:
            continue
        name, cell = SIZES[field], small.cell
        yield finding(
            "warning" if beyond else "note",
            {f"{name} {getattr(one.cell, field)}": printed.shown(one.figure) for one in (small, large)},
            f"{cell.model} on {cell.dataset} takes {100 * fall:.1f} % less time as the {name} grows from "
            f"{getattr(cell, field)} to {getattr(large.cell, field)}, though there is more to do.",
            "Answers may have grown shorter, a value may be wrong, or the machine may differ."
            if beyond
            else "Without repeats it may be noise.",
            about=[small.where, large.where],
        )


@rule("reports")
def optimization_is_faster(records: Sequence[Record]) -> Iterator[Finding]:
    """An optimization is not slower than the original."""
    wers = {one.record.key: one for one in printed.finest(records, "wer")}
    joules = {one.record.key: one for one in printed.finest(records, "energy_j_per_sample")}
    for group in printed.families(printed.finest(records, "latency_s"), "optimization"):
        base = next((one for one in group if one.cell.optimization in DTYPES), None)
        for slow in group:
            if base is None or slow is base or slow.number <= base.number * (1 + NOISE):
                continue
            pair, ratio = (slow, base), slow.number / base.number
            compared = [wers[one.record.key] for one in pair if one.record.key in wers]
            energy = [
                printed.shown(joules[one.record.key].figure) for one in pair if one.record.key in joules
            ]
            lengths, unknown = _longer_answers(compared, ratio)
            yield warning(
                {"Latency": _compared(printed.shown(one.figure) for one in pair), "Ratio": f"{ratio:.3f}"}
                | ({"Energy": _compared(energy)} if len(energy) == 2 else {})
                | lengths,
                f"A batch takes {100 * (ratio - 1):.0f} % longer with {slow.cell.optimization} than with "
                f"{base.cell.optimization} for {slow.cell.model} on {slow.cell.dataset}.",
                unknown,
                about=[one.where for one in (*pair, *(compared if lengths else ()))],
            )


def _longer_answers(wers: Sequence[CellFigure], ratio: float) -> tuple[dict[str, str], str]:
    """Compare the WERs of a slower row and of its original, which hint at the length of their answers.

    Returns:
        Figures to show, and what the latency does not show.
    """
    unknown = (
        "The reports do not state the number of generated tokens: a token may take longer, or there are more"
    )
    if len(wers) < 2:
        return {}, f"{unknown}; the WER, which would hint at it, is not printed for both rows."
    slow, base = (one.number for one in wers)
    figures = {"WER": _compared(f"{one.number:.4g}" for one in wers), "Ratio of WER": f"{slow / base:.3f}"}
    if slow / base <= 1 + SHIFT or base <= 1:
        return figures, f"{unknown}."
    return figures, (
        f"Its WER is {slow / base:.2f} times the original's as well (answers-do-not-depend-on-setting), and "
        "a WER far above 1 grows with the length of the scored texts: longer answers may be the only cause"
        + (", and a token may even take less time." if slow / base > ratio else ".")
    )


def _with_energy(records: Sequence[Record]) -> list[Row]:
    """Return rows with latency and energy, one a cell."""
    return printed.distinct(printed.rows(records), "latency_s", "energy_j_per_sample")


def _compared(texts: Iterable[str]) -> str:
    return " compared with ".join(texts)
