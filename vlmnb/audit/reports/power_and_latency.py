"""Check latency and energy that reports print: mean power, growth with size, rows out of line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import exp, log
from statistics import median

from vlmnb.audit import expected_flops
from vlmnb.audit.measured.across_records import constant_power
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import NOISE, CellFigure, Row
from vlmnb.audit.reports.wer import SHIFT
from vlmnb.audit.rule import Draft, found, grouped, rule
from vlmnb.fit import gpus
from vlmnb.records.record import Record
from vlmnb.records.reported import Quantity
from vlmnb.spec.cell import DEVICES
from vlmnb.spec.optimizations import DTYPES

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
        yield found("", about, figures, power=power, name=DEVICES[rows[0].cell.device], models=models)


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


@rule("reports")
def batch_row_in_line(records: Sequence[Record]) -> Iterator[Draft]:
    """A larger batch takes less than in proportion longer, and longer than a smaller one."""
    for three in _threes(records, "batch_size", "latency_s", "energy_j_per_sample"):
        sizes = [row.cell.batch_size for row in three]
        latencies = [row.number("latency_s") for row in three]
        joules = [row.number("energy_j_per_sample") for row in three]
        due_s, due_j = (_between(sizes, values) for values in (latencies, joules))
        sublinear = latencies[1] / sizes[1] < latencies[0] / sizes[0]
        if sublinear or latencies[2] > latencies[1] or latencies[1] <= due_s * (1 + NOISE):
            continue
        figures = {
            f"Batch {row.cell.batch_size}": f"{row.shown('latency_s')}, {row.shown('energy_j_per_sample')}, "
            f"{printed.watts(row):.0f} W"
            for row in three
        } | {f"Batch {sizes[1]} by the rows around it": f"{due_s:.3f} s, {due_j:.2f} J"}
        case = "latency and energy" if joules[1] > due_j * (1 + NOISE) else "latency"
        about = [three[1].where("latency_s", "energy_j_per_sample")]
        seconds, times = [latencies[1], due_s], [latencies[1] / due_s, joules[1] / due_j]
        yield found(case, about, figures, cell=three[1].cell, sizes=sizes, seconds=seconds, times=times)


@rule("reports")
def image_tokens_cost_alike(records: Sequence[Record]) -> Iterator[Draft]:
    """Latency grows evenly with the image tokens: equally many more tokens take about equally more time."""
    known = [three for three in _threes(records, "image_size", "latency_s") if _tokens(three)]
    for three in known:
        tokens, latencies = _tokens(three), [row.number("latency_s") for row in three]
        share = (tokens[1] - tokens[0]) / (tokens[2] - tokens[0])
        due = latencies[0] + share * (latencies[2] - latencies[0])
        if abs(latencies[1] - due) <= 2 * NOISE * due:
            continue  # noise of the row itself, and of the line between two others
        cell = three[1].cell
        alike = [other for other in known if _comparable(three, other)]
        steps = [b - a for a, b in pairwise(latencies)]
        rows = [pair for series in [three, *alike] for pair in zip(series, tokens, strict=True)]
        figures = {
            f"{row.cell.dataset}, {row.cell.image_size} px": f"{row.shown('latency_s')}, {count} image tokens"
            for row, count in rows
        } | {f"In line at {cell.image_size} px": f"{due:.3f} s"}
        about, added = [row.where("latency_s") for row in three], [b - a for a, b in pairwise(tokens)]
        shares, off = [b / a - 1 for a, b in pairwise(latencies)], latencies[1] / due - 1
        other = " ".join(_steps_elsewhere(other, sum(steps)) for other in alike)
        yield found(
            "", about, figures, cell=cell, added=added, steps=steps, shares=shares, off=off, other=other
        )


def _threes(records: Sequence[Record], field: str, *quantities: Quantity) -> list[tuple[Row, Row, Row]]:
    """Return three rows in a row that print some quantities and differ in one field alone."""
    series = printed.families(printed.distinct(printed.rows(records), *quantities), field)
    return [three for group in series for three in zip(group, group[1:], group[2:], strict=False)]


def _between(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the middle value if both ends are right and it changes by one power of the size."""
    share = log(sizes[1] / sizes[0]) / log(sizes[2] / sizes[0])
    return exp((1 - share) * log(values[0]) + share * log(values[2]))


def _tokens(rows: Sequence[Row]) -> list[int]:
    """Return the image tokens of rows; empty if the geometry is unknown or the tokens do not grow."""
    cells = [row.cell for row in rows]
    known = expected_flops.geometry(cells[0].model)
    tokens = [known.image_tokens(cell.image_size) for cell in cells] if known else []
    return tokens if tokens == sorted(set(tokens)) else []


def _comparable(rows: Sequence[Row], others: Sequence[Row]) -> bool:
    """Return whether rows have the same model and image sizes, on another data set."""
    work, other = ([(row.cell.model, row.cell.image_size) for row in series] for series in (rows, others))
    return work == other and rows[0].cell.dataset != others[0].cell.dataset


def _steps_elsewhere(rows: Sequence[Row], whole: float) -> str:
    a, b, c = (row.number("latency_s") for row in rows)
    return (
        f"On {rows[0].cell.dataset} the same two steps add {b - a:+.3f} and {c - b:+.3f} s, together "
        f"{c - a:.3f} s compared with {whole:.3f} s."
    )
