"""Check latency and energy that reports print: mean power, growth with size, optimizations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median

from vlmnb.audit.measured.across_records import constant_power
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import CellFigure, Row
from vlmnb.audit.reports.wer import SHIFT
from vlmnb.audit.rule import Draft, found, grouped, rule
from vlmnb.fit import gpus
from vlmnb.records.record import Record
from vlmnb.records.reported import Quantity
from vlmnb.spec.optimizations import DTYPES

NOISE = 0.05
"""Relative difference of latencies that repeats of one cell may show. The reports state no repeats; it is
the noise floor that this project assumes on a busy machine."""

POWER: tuple[Quantity, ...] = ("latency_s", "energy_j_per_sample")
"""The figures that give the mean power of a row."""

SIZES = {"batch_size": "batch", "image_size": "image", "seq_len": "prompt limit"}


@rule("reports")
def power_follows_the_work(records: Sequence[Record]) -> Iterator[Draft]:
    """Mean power, joules over seconds, differs between workloads; a constant one is an estimate."""
    for rows in grouped(_with_energy(records), lambda row: row.cell.device):
        models = len({row.cell.model for row in rows})
        power = constant_power([printed.watts(row) for row in rows], models)
        if power is None:
            continue
        figures = {
            f"{row.cell.model}: {row.shown('energy_j_per_sample')} / {row.shown('latency_s')}":
                f"{printed.watts(row):.2f} W"
            for row in rows
        }  # fmt: skip
        about = [row.where(*POWER) for row in rows]
        yield found("", about, figures, power=power, device=rows[0].cell.device, models=models)


@rule("reports")
def power_within_a_gpus_limit(records: Sequence[Record]) -> Iterator[Draft]:
    """Mean power of the GPU rows is below the power limit of a GPU."""
    rows = _with_energy(records)
    on_gpu = [row for row in rows if row.cell.device == "cuda"]
    if not on_gpu:
        return
    top, low = max(on_gpu, key=printed.watts), min(on_gpu, key=printed.watts)
    least, most = printed.watt_ends(top)
    known = [gpu for gpu in gpus.catalogue() if gpu.power_w]
    allow = [gpu.name for gpu in known if (gpu.power_w or 0) >= least]
    cpu_w = median([printed.watts(row) for row in rows if row.cell.device == "cpu"] or [0])
    left = f": less the {cpu_w:.0f} W of the CPU rows, {least - cpu_w:.0f} W remain" if cpu_w else ""
    names = ", ".join(allow[:6]) + (" and others" if len(allow) > 6 else "")
    figures = {
        "Highest": f"{printed.watts(top):.0f} W ({least:.0f} to {most:.0f})",
        "Lowest": f"{printed.watts(low):.0f} W",
        "GPUs of the catalogue with such a limit": f"{len(allow)} of {len(known)}",
    }
    case, about = "some GPUs" if allow else "no GPU", [row.where(*POWER) for row in (top, low)]
    yield found(case, about, figures, cell=top.cell, least=least, left=left, names=names)


@rule("reports")
def latency_grows_with_size(records: Sequence[Record]) -> Iterator[Draft]:
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
        name, case = SIZES[field], "beyond noise" if beyond else "within noise"
        sizes = [getattr(one.cell, field) for one in (small, large)]
        figures = {f"{name} {getattr(one.cell, field)}": one.shown for one in (small, large)}
        about = [small.where, large.where]
        yield found(case, about, figures, cell=small.cell, fall=fall, name=name, sizes=sizes)


@rule("reports")
def optimization_is_faster(records: Sequence[Record]) -> Iterator[Draft]:
    """An optimization is not slower than the original."""
    wers = {one.record.key: one for one in printed.finest(records, "wer")}
    joules = {one.record.key: one for one in printed.finest(records, "energy_j_per_sample")}
    for group in printed.families(printed.finest(records, "latency_s"), "optimization"):
        base = next((one for one in group if one.cell.optimization in DTYPES), None)
        for slow in group:
            if base is None or slow is base or slow.number <= base.number * (1 + NOISE):
                continue
            pair, ratio = [slow, base], slow.number / base.number
            wer, energy = ([of[r.record.key] for r in pair if r.record.key in of] for of in (wers, joules))
            figures = {"Latency": _compared(one.shown for one in pair), "Ratio": f"{ratio:.3f}"}
            if len(energy) == 2:
                figures["Energy"] = _compared(one.shown for one in energy)
            wer_ratio = None
            if len(wer) == 2:
                pair, wer_ratio = [*pair, *wer], wer[0].number / wer[1].number
                figures["WER"] = _compared(f"{one.number:.4g}" for one in wer)
            values = {"slow": slow.cell, "base": base.cell, "longer": ratio - 1, "wer_ratio": wer_ratio}
            yield found(_lengths(wer, ratio), [one.where for one in pair], figures, **values)


def _lengths(wers: Sequence[CellFigure], ratio: float) -> str:
    """Return the case of what the WERs of a slower row and its original hint about lengths of answers."""
    if len(wers) < 2:
        return "no WER"
    slow, base = (one.number for one in wers)
    if slow / base <= 1 + SHIFT or base <= 1:
        return "like WER"
    return "longer answers, faster tokens" if slow / base > ratio else "longer answers"


def _with_energy(records: Sequence[Record]) -> list[Row]:
    """Return rows with latency and energy, one a cell."""
    return printed.distinct(printed.rows(records), *POWER)


def _compared(texts: Iterable[str]) -> str:
    return " compared with ".join(texts)
