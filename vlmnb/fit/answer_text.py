"""The answer of ``vlmnb fit`` as JSON, and the texts that the terminal and pages share."""

from __future__ import annotations

import json
from collections import Counter

from vlmnb.files import templates
from vlmnb.fit import gpus
from vlmnb.fit.answer import Fit
from vlmnb.fit.choice import GpuFit
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.memory import OVERHEAD_BYTES
from vlmnb.stats.formatting import enumerated, format_si, gigabytes, short

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
    unsuited: dict[str, list[str]] = {}
    for row in fit.gpus:
        if not row.runs:
            lacks = f"too little memory{f', if {MARGIN} of overhead are right' * row.uncertain}"
            unsuited.setdefault(row.obstacle or lacks, []).append(row.gpu.name)
    text = templates.render(
        "vlmnb.fit", "lines.txt.j2", enumerated=enumerated, fit=fit, unrun=unrun(fit), unsuited=unsuited,
        running=sum(row.runs for row in fit.gpus), assumptions=assumptions(fit), notes=gpu_notes(),
        other=next(iter(fit.own.sure or fit.own.others), "") if fit.own else "",
        refusals="\n".join(refusals(fit)), checks="\n".join(checks(fit)), alone=len(fit.gpus) == 1,
        documents=documents(fit.gpus[0].gpu) if fit.gpus else "", listed=listed(fit),
        page_address=gpus.sources()["page"].address,
    )  # fmt: skip
    return [line for line in text.splitlines() if line]


MARGIN = f"{gigabytes(OVERHEAD_BYTES)} GB"
"""What memory is assumed to take beside what is computed; an answer closer than that is uncertain."""


def assumptions(fit: Fit) -> str:
    """Name what the memory table assumes."""
    return templates.render(
        "vlmnb.fit", "assumptions.txt.j2", fit=fit, gb=gigabytes, margin=MARGIN,
        whole=fit.card.kv_bytes_whole * fit.load.batch_size,
    ).strip()  # fmt: skip


def unrun(fit: Fit) -> str:
    """Name the quantizations that nothing runs, and say why; empty without any."""
    reasons: dict[str, list[str]] = {}
    for name, reason in fit.obstacles.items():
        reasons.setdefault(reason, []).append(name)
    return " ".join(f"{', '.join(names)}: {reason}." for reason, names in reasons.items())


def own_memory(fit: Fit) -> str:
    """Say whether it runs in the memory that the reader named; empty if none was named."""
    if fit.own is None:
        return ""
    others = [f"{name}{' (just about)' * (name not in fit.own.sure)}" for name in fit.own.others]
    data = {"fit": fit, "own": fit.own, "others": others, "gb": gigabytes, "margin": MARGIN}
    return templates.render("vlmnb.fit", "own_memory.txt.j2", **data).strip()


def gpu_notes() -> str:
    """Explain the columns of a table of GPUs, that of lower bounds included."""
    of = {"catalogue": gpus.catalogue(), "address": gpus.sources()["page"].address, "bounds": True}
    return templates.render("vlmnb.fit", "gpu_notes.txt.j2", **of).strip()


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
    return [
        [one.quantization, f"{one.bits_per_weight:.2f}", *map(gigabytes, (*one.parts, one.total_bytes))]
        for one in fit.shown
    ]


def verdict(row: GpuFit) -> str:
    """Say briefly whether a GPU runs it."""
    if row.obstacle:
        return f"no: {row.obstacle.partition(':')[0]}"
    if row.fits:
        return "just about" if row.uncertain else "yes"
    return f"{'perhaps, ' * row.uncertain}lacks {gigabytes(-row.free_bytes)} GB"


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
        energy = f"{format_si(found.energy_j_per_sample, 'J', 3)} ±{100 * found.energy_error:.0f} %"
    return format_si(found.latency_s, "s", 3) + error, f"{short(found.samples_per_s)} /s{error}", energy
