"""Rules over latency and energy that reports print: mean power, growth with size, optimizations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import Row
from vlmnb.audit.reports.wer import SHIFT
from vlmnb.audit.rule import Finding, finding, rules, where
from vlmnb.fit import gpus
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure
from vlmnb.spec.optimizations import DTYPES

SAME_POWER = 0.005
"""Spread of mean power that no counter shows over different work: a processor's power moves by more than
half a percent with temperature alone."""

FEWEST_WORKLOADS = 3
"""Different workloads on a device from which a constant power says something."""

NOISE = 0.05
"""Relative difference of latencies that repeats of one cell may show. The reports state no repeats; it is
what this project allows its own windows on a busy machine."""

INFERRED = (
    "That latencies are seconds per batch and energies joules per sample is inferred: the reports print no "
    "unit."
)

SIZES = {"batch_size": "batch", "image_size": "image", "seq_len": "prompt limit"}


def power_follows_the_work(records: Sequence[Record]) -> Iterator[Finding]:
    """Mean power, joules over seconds, differs between workloads; a constant one is an estimate."""
    for device, found in _by_device(records).items():
        models = {row.record.cell.model for row in found}
        values = [printed.watts(row) or 0.0 for row in found]
        spread = (max(values) - min(values)) / median(values)
        if len(models) < FEWEST_WORKLOADS or spread > SAME_POWER:
            continue
        yield finding(
            "warning",
            [row.where("latency_s", "energy_j_per_sample") for row in found],
            {
                f"{r.record.cell.model}: {printed.shown(r.figures['energy_j_per_sample'])} / "
                f"{printed.shown(r.figures['latency_s'])}": f"{w:.2f} W"
                for r, w in zip(found, values, strict=True)
            }
            | {"Spread": f"{100 * spread:.2f} %"},
            f"Energy over latency is {median(values):.1f} W on the {device} for all of {len(models)} models, "
            f"within {100 * spread:.2f} %: such energies are one assumed power times the latency rather than "
            "readings of a counter, and say nothing that the latencies do not.",
            "What the processor really used cannot be concluded, nor which part of the power stands for "
            "memory. A processor held at its power limit would come close, though hardly this close. "
            f"{INFERRED} In other units the watts would be others and as constant.",
        )


def power_within_a_gpus_limit(records: Sequence[Record]) -> Iterator[Finding]:
    """Mean power of the GPU rows is below the power limit of a GPU."""
    found = _by_device(records).get("cuda", [])
    if not found:
        return
    powers = {row.record.key: printed.watts(row) or 0.0 for row in found}
    top = max(found, key=lambda row: powers[row.record.key])
    low = min(found, key=lambda row: powers[row.record.key])
    least, most = printed.watt_ends(top)
    known = [gpu for gpu in gpus.catalogue() if gpu.power_w]
    allow = [gpu.name for gpu in known if (gpu.power_w or 0) >= least]
    figures = {
        "Highest": f"{powers[top.record.key]:.0f} W ({least:.0f} to {most:.0f})",
        "Lowest": f"{powers[low.record.key]:.0f} W",
        "GPUs of the catalogue with such a limit": f"{len(allow)} of {len(known)}",
    }
    where_top = [top.where("latency_s", "energy_j_per_sample"), low.where("latency_s", "energy_j_per_sample")]
    if not allow:
        yield finding(
            "error",
            where_top,
            figures,
            f"{top.record.cell.model} at batch {top.record.cell.batch_size} comes to {least:.0f} W or more, "
            "above the power limit of every GPU of the catalogue.",
            f"Whether several devices were added up or a figure is wrong is not stated. {INFERRED}",
        )
        return
    cpu = [printed.watts(row) or 0.0 for row in _by_device(records).get("cpu", [])]
    left = (
        f": less the {median(cpu):.0f} W of the CPU rows, {least - median(cpu):.0f} W remain" if cpu else ""
    )
    named = ", ".join(allow[:6]) + (" and others" if len(allow) > 6 else "")
    yield finding(
        "note",
        where_top,
        figures,
        f"If the GPU rows are of the GPU alone, its power limit is at least {least:.0f} W, reached on "
        f"average over whole batches by {top.record.cell.model}; of the catalogue that leaves {named}.",
        f"If processor and memory are included, which is not stated, it may be a smaller GPU{left}. The "
        f"machine is not named. {INFERRED} The watts rest on it.",
    )


def latency_grows_with_size(records: Sequence[Record]) -> Iterator[Finding]:
    """Latency does not fall as batch, image or prompt limit grow."""
    for field, name in SIZES.items():
        for group in _families(records, field):
            for (small, a), (large, b) in pairwise(group):
                if not a.value or not b.value:
                    continue
                sizes = f"{getattr(small.cell, field)} to {getattr(large.cell, field)}"
                if printed.ends(b)[1] > printed.ends(a)[0]:
                    continue
                fall = 1 - b.value / a.value
                beyond = fall > NOISE
                if not beyond and field == "seq_len":
                    continue  # a limit that cuts nothing changes nothing, and repeats differ a little
                yield finding(
                    "warning" if beyond else "note",
                    [where(small, [a]), where(large, [b])],
                    {
                        f"{name} {getattr(r.cell, field)}": printed.shown(f)
                        for r, f in ((small, a), (large, b))
                    },
                    f"{small.cell.model} on {small.cell.dataset} takes {100 * fall:.1f} % less time as the "
                    f"{name} grows from {sizes}, though there is more to do.",
                    "Without repeats it cannot be told from noise."
                    if not beyond
                    else "Whether answers grew shorter, one value is wrong or the machine differed is not "
                    "stated.",
                )


def optimization_is_faster(records: Sequence[Record]) -> Iterator[Finding]:
    """An optimization is not slower than the original."""
    groups: dict[str, list[tuple[Record, Figure]]] = {}
    for record in records:
        figure = printed.finest(record, "latency_s")
        if figure:
            groups.setdefault(_without(record, "optimization"), []).append((record, figure))
    for group in groups.values():
        base = next(((r, f) for r, f in group if r.cell.optimization in DTYPES), None)
        for record, figure in group:
            if base is None or record is base[0] or not figure.value or not base[1].value:
                continue
            ratio = figure.value / base[1].value
            if ratio > 1 + NOISE:
                energy = [printed.finest(r, "energy_j_per_sample") for r in (record, base[0])]
                more = (
                    {"Energy": " against ".join(printed.shown(f) for f in energy if f)} if all(energy) else {}
                )
                wers = [f for r in (record, base[0]) if (f := printed.finest(r, "wer")) and f.value]
                told, doubt = _longer_answers(wers, ratio)
                yield finding(
                    "warning",
                    [where(record, [figure, *wers[:1]]), where(base[0], [base[1], *wers[1:]])]
                    if told
                    else [where(record, [figure]), where(base[0], [base[1]])],
                    {
                        "Latency": f"{printed.shown(figure)} against {printed.shown(base[1])}",
                        "Ratio": f"{ratio:.3f}",
                        **more,
                        **told,
                    },
                    f"A batch takes {100 * (ratio - 1):.0f} % longer with {record.cell.optimization} than "
                    f"with {base[0].cell.optimization} for {record.cell.model} on {record.cell.dataset}.",
                    doubt,
                )


def _longer_answers(wers: Sequence[Figure], ratio: float) -> tuple[dict[str, str], str]:
    """What the WERs of a slower row and of its original say of the length of their answers.

    Returns:
        Figures to show, and what cannot be concluded from the latency.
    """
    unknown = (
        "Without the number of generated tokens it cannot be told whether a token takes longer or there are "
        "more of them"
    )
    if len(wers) < 2:
        return {}, f"{unknown}; the WER, which would hint at it, is not printed for both rows."
    slow, base = (figure.value or 0.0 for figure in wers)
    told = {
        "WER": " against ".join(f"{figure.value:.4g}" for figure in wers),
        "Ratio of WER": f"{slow / base:.3f}",
    }
    if slow / base <= 1 + SHIFT or base <= 1:
        return told, f"{unknown}."
    return told, (
        f"Its WER is {slow / base:.2f} times the original's as well (answers-do-not-depend-on-setting), and "
        "a WER far above 1 grows with the length of the scored texts: longer answers may be the whole of it"
        + (", and a token may even take less time" if slow / base > ratio else "")
        + ". The number of generated tokens is not stated."
    )


def _by_device(records: Sequence[Record]) -> dict[str, list[Row]]:
    """Rows with latency and energy, one a cell, by device."""
    groups: dict[str, list[Row]] = {}
    for row in printed.distinct(printed.rows(records), "latency_s", "energy_j_per_sample"):
        groups.setdefault(row.record.cell.device, []).append(row)
    return groups


def _families(records: Sequence[Record], field: str) -> list[list[tuple[Record, Figure]]]:
    """Cells with a latency that agree in everything but one field, in the order of its values."""
    groups: dict[str, list[tuple[Record, Figure]]] = {}
    for record in records:
        figure = printed.finest(record, "latency_s")
        if figure:
            groups.setdefault(_without(record, field), []).append((record, figure))
    return [sorted(group, key=lambda pair: getattr(pair[0].cell, field)) for group in groups.values()]


def _without(record: Record, field: str) -> str:
    return record.cell.model_copy(update={field: None}).model_dump_json()


RULES = rules(
    "reports",
    (power_follows_the_work, power_within_a_gpus_limit, latency_grows_with_size, optimization_is_faster),
)
