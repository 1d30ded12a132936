"""The answer of ``vlmnb fit`` as JSON, and the texts that the terminal and pages share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from vlmnb.fit import gpus
from vlmnb.fit.answer import Fit
from vlmnb.fit.choice import GpuFit
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.memory import CLAIMED_PARAMETERS
from vlmnb.stats.formatting import enumerated, format_si, gigabytes

MEMORY = (
    "Quantization", "Bits per weight", "Weights", "Vision", "KV cache", "Activations", "Overhead", "Total",
)  # fmt: skip


def as_json(fit: Fit) -> str:
    """Return everything, for a program."""
    content = fit.model_dump(mode="json")
    content["memory"]["total_bytes"] = fit.memory.total_bytes
    content["card"]["parameters_total"] = fit.card.parameters_total
    for one, made in zip(fit.by_quantization, content["by_quantization"], strict=True):
        made["total_bytes"] = one.total_bytes
        made["obstacle"] = fit.obstacles.get(one.quantization, "")
    for row, made in zip(fit.gpus, content["gpus"], strict=True):
        made["runs"] = row.runs
    return json.dumps(content, indent=1)


def listed(fit: Fit) -> bool:
    """Return whether a table lists the GPUs: not if the reader named a memory, or if no GPU runs it."""
    return len(fit.gpus) == 1 or (any(row.runs for row in fit.gpus) and not fit.own)


def asked(fit: Fit) -> str:
    """Return the load as text."""
    load = fit.load
    seen = "" if fit.seen_px == load.image_size else f" (the model sees {fit.seen_px})"
    return (
        f"batch {load.batch_size}, image {load.image_size} px{seen}, {load.text_tokens} text tokens, "
        f"{load.new_tokens} new tokens"
    )


def lines(fit: Fit) -> list[str]:
    """Return the lines beneath the tables: GPUs that do not run it, the best, why there is no prediction."""
    found = [unrun(fit), claims(fit)]
    if fit.obstacle:
        return [line for line in found if line]
    if not fit.own:
        found += [f"Not on {', '.join(names)}: {reason}." for reason, names in others(fit)]
    elif running := sum(row.runs for row in fit.gpus):
        found.append(f"GPUs of up to {fit.own.vram_gib:g} GiB that run it: {running}; --json lists them.")
    found += left_out(fit)
    found += [f"{best.what.capitalize()}: {best.gpu or '-'} ({best.why})." for best in fit.best]
    found += [*refusals(fit), *checks(fit)]
    if len(fit.gpus) == 1:
        found.append(f"Its figures, compared with documents: {documents(fit.gpus[0].gpu)}.")
    if listed(fit):
        found += [
            "At least: lower bound of a batch from peak rate and peak bandwidth; a real run takes longer. "
            f"*: {BANDWIDTH_ALONE}.",
            f"{COUNTED} USD: {prices()}.",
        ]
    return [line for line in found if line]


COUNTED = (
    "GiB: as on the label. Three quarters of unified memory are counted, and 15 of 16 parts on NVIDIA's "
    "data-centre cards with GDDR memory, because ECC takes the rest unless it is switched off."
)
BANDWIDTH_ALONE = (
    "the catalogue has no matrix rate for the number format that the tool multiplies in, so the bound comes "
    "from the bandwidth alone"
)


def unrun(fit: Fit) -> str:
    """Name the quantizations that nothing runs, and say why; empty without any."""
    reasons: dict[str, list[str]] = {}
    for name, reason in fit.obstacles.items():
        reasons.setdefault(reason, []).append(name)
    return " ".join(f"{', '.join(names)}: {reason}." for reason, names in reasons.items())


def own_memory(fit: Fit) -> str:
    """Say whether it runs in the memory that the reader named; empty if none was named."""
    own = fit.own
    if own is None:
        return ""
    name = fit.quantization.name
    hint = (
        f"{', '.join(own.others)} would fit" if own.others else "no other quantization here would fit and run"
    )
    if fit.obstacle:
        return f"Nothing runs {name}, whatever the memory: {fit.obstacle}. In {own.vram_gib:g} GiB {hint}."
    if own.runs:
        return f"It fits {own.vram_gib:g} GiB under {name} with {gigabytes(own.free_bytes)} GB to spare."
    missing = gigabytes(-own.free_bytes)
    return f"It does not fit {own.vram_gib:g} GiB under {name}: {missing} GB are missing; {hint}."


def claims(fit: Fit) -> str:
    """Compare with the figures of a published card, in one line; empty if it has none for the model."""
    if not fit.claims:
        return ""
    figures = ", ".join(
        f"{one.quantization} {one.claimed_bytes / 1e9:.1f} GB "
        f"({100 * one.error:+.0f} % compared with our total)"
        for one in fit.claims
    )
    return (
        f"A model card page ({gpus.sources()['page'].address}) gives {figures}: "
        f"{CLAIMED_PARAMETERS / 1e9:g} billion parameters x bits / 8 + 0.5 GB, without scales, without a "
        "cache, and with the vision side in the same bits."
    )


def left_out(fit: Fit) -> list[str]:
    """Count the GPUs that may be within the limits, but have no known figure."""
    return [
        f"Left out: {one.gpus} GPUs of {enumerated(one.vendors)} whose {one.unknown} is not known; "
        f"{one.running} of them run it."
        for one in fit.left_out
    ]


def prices() -> str:
    """Say how many GPUs have a price, and where it comes from."""
    found = gpus.catalogue()
    priced = sum(gpu.price_usd is not None for gpu in found)
    return (
        f"{priced} of {len(found)} GPUs have a price, from a model card page without a date "
        f"({gpus.sources()['page'].address}), not from a shop"
    )


def refusals(fit: Fit) -> list[str]:
    """Say why there is no prediction, with the number of GPUs that run it and have none."""
    counts = Counter(row.refusal for row in fit.gpus if row.refusal and (row.runs or len(fit.gpus) == 1))
    running = sum(row.runs for row in fit.gpus)
    return [
        f"No prediction{f' for {count} of {running} GPUs' if count < running else ''}: {reason}."
        for reason, count in counts.most_common()
    ]


def checks(fit: Fit) -> list[str]:
    """Say what predictions were fitted on, and how large their errors on held-out records were."""
    found = {
        (p.held_out, p.records, p.latency_error, p.worst_error, p.energy_error)
        for row in fit.gpus
        if row.runs and (p := row.prediction)
    }
    return [
        f"Predictions fitted on {records} records. ±: the median error on records held out of the fit "
        f"({what}), latency {100 * middle:.0f} %, at worst {100 * worst:.0f} %"
        + (f"; energy {100 * energy:.0f} %." if energy is not None else ".")
        for what, records, middle, worst, energy in sorted(found, key=str)
    ]


def others(fit: Fit) -> Iterator[tuple[str, list[str]]]:
    """Yield the GPUs that do not run it, by reason."""
    groups: dict[str, list[str]] = {}
    for row in fit.gpus:
        if not row.runs:
            groups.setdefault(row.obstacle or "too little memory", []).append(row.gpu.name)
    yield from groups.items()


def compared(gpu: Gpu) -> str:
    """Say briefly which figures of a GPU agreed with a document."""
    missing, count = gpu.uncompared, len(gpu.given)
    if not missing:
        return "all"
    return f"not {', '.join(missing)}" if len(missing) < 3 else f"{count - len(missing)} of {count}"


def documents(gpu: Gpu) -> str:
    """List the figures that agreed, by kind of document, and those that were not compared."""
    kinds: dict[str, list[str]] = {}
    for check in gpu.checked:
        kinds.setdefault(gpus.sources()[check.source].kind, []).extend(check.figures)
    agreed = [f"{', '.join(figures)} ({kind})" for kind, figures in kinds.items()]
    missing = f"not compared: {', '.join(gpu.uncompared)}" if gpu.uncompared else ""
    return "; ".join(filter(None, [", ".join(agreed), missing]))


def memory_cells(fit: Fit) -> list[list[str]]:
    """Return the rows of the memory table: quantization, bits per weight and the parts in GB."""
    rows = []
    for one in fit.by_quantization:
        parts = (
            one.weights_bytes, one.vision_bytes, one.cache_bytes, one.activations_bytes, one.overhead_bytes,
            one.total_bytes,
        )  # fmt: skip
        rows.append([one.quantization, f"{one.bits_per_weight:.2f}", *map(gigabytes, parts)])
    return rows


def verdict(row: GpuFit) -> str:
    """Say briefly whether a GPU runs it."""
    if row.obstacle:
        return f"no: {row.obstacle.partition(':')[0]}"
    return "yes" if row.fits else f"lacks {gigabytes(-row.free_bytes)} GB"


def least(row: GpuFit) -> str:
    """Return the lower bound of a batch, with * if from the bandwidth alone; ``-`` if it does not run."""
    if not row.runs:
        return "-"
    return format_si(row.bound.total_s, "s", 3) + ("" if row.bound.compute_known else "*")


def predicted(row: GpuFit) -> tuple[str, str, str]:
    """Return latency, throughput and energy, each with the error of predictions; ``-`` without one."""
    found = row.prediction
    if found is None or not row.runs:
        return "-", "-", "-"
    error = f" ±{100 * found.latency_error:.0f} %"
    energy = "-"
    if found.energy_j_per_sample is not None and found.energy_error is not None:
        energy = f"{found.energy_j_per_sample:.3g} J ±{100 * found.energy_error:.0f} %"
    return format_si(found.latency_s, "s", 3) + error, f"{found.samples_per_s:.3g} /s{error}", energy


def batch(row: GpuFit) -> str:
    """Return the largest batch that fits; ``-`` if it does not run."""
    return str(row.largest_batch) if row.runs else "-"
