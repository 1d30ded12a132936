"""A model's card as a page of the book; the notebook ``card`` displays it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vlmnb import paths
from vlmnb.fit import answer, gpus, memory, quantize, shape, snippets, tensors
from vlmnb.fit import answer_text as words
from vlmnb.fit.answer import Fit
from vlmnb.fit.choice import GpuFit
from vlmnb.records import record_file
from vlmnb.stats import formatting
from vlmnb.views import markup


def begin(parameters: Mapping[str, Any]) -> Fit:
    """Return the answer for the parameters of the notebook.

    Raises:
        UserError: A name is unknown, or a number makes no sense.
    """
    load = answer.load_of(
        parameters["model"], batch_size=parameters["batch_size"], image_size=parameters["image_size"],
        text_tokens=parameters["seq_len"], new_tokens=parameters["max_new_tokens"],
    )  # fmt: skip
    found, _ = record_file.read_all(paths.resolve(str(parameters["results"])))
    return answer.of(parameters["model"], parameters["quantization"], load, found)


def show(*parts: str) -> None:
    """Display HTML and Markdown in a notebook; empty parts are left out."""
    from IPython.display import HTML, Markdown, display

    for part in parts:
        if part:
            display(HTML(part) if part.startswith("<") else Markdown(part))


def facts(fit: Fit) -> str:
    """Return the computed facts of the architecture, and the published ones with sources."""
    card = fit.card
    parts = ", ".join(f"{name.lower()} {_count(number)}" for name, number in card.parameters.items())
    rows = {
        "Parameters": f"{_count(card.parameters_total)} ({parts})",
        "Family": f"{markup.escape(card.family)}, {card.architecture}",
        "Decoder layers": str(card.layers),
        "Heads": f"{card.heads}, of key and value {card.kv_heads}",
        "Head size": str(card.head_size),
        "Width": str(card.width),
        "Vocabulary": _count(card.vocabulary),
        "Context": f"{card.context} tokens",
        "Tokens per image": ", ".join(f"{tokens} at {side} px" for side, tokens in card.image_tokens.items()),
        "KV cache per token": formatting.format_si(card.kv_bytes_per_token, "B", 3),
        "Published in": markup.escape(card.released_dtype),
    }
    published = card.published
    if published:
        rows |= {
            "Developer": markup.escape(published.developer),
            "Released": _sourced(published.released, published.released_source),
            "Licence": _sourced(published.licence, published.licence_source),
            "GGUF": markup.escape(published.gguf),
        }
        rows |= {
            f"{one.name} (published)": _sourced(f"{one.score:g}", one.source) for one in published.benchmarks
        }
    rows |= {
        f"{name.replace('_', ' ')} (ours, held out)": f"{100 * value:.1f} %"
        for name, value in card.scores.items()
    }
    rows["Geometry"] = markup.escape(card.geometry_source)
    return markup.facts(rows)


def unrun(fit: Fit) -> str:
    """Name the quantizations that nothing runs, as Markdown; empty without any."""
    return f"**{markup.plain(told)}**" if (told := words.unrun(fit)) else ""


def memory_table(fit: Fit) -> str:
    """Return the memory by quantization."""
    header = [*words.MEMORY]
    caption = f"GB (10^9 bytes) at {words.asked(fit)}"
    return markup.table(header, words.memory_cells(fit), caption=markup.escape(caption))


def weights_table(fit: Fit) -> str:
    """Return the bits per weight of each storage type, by quantization."""
    model = shape.of(fit.card.name)
    rows = []
    for kind in quantize.QUANTIZATIONS.values():
        found = quantize.bits_by_type(quantize.stored(model, kind), tuple(tensors.TITLES))
        types = ", ".join(
            f"{name} {bits:.5g} bits x {_count(count)}" for name, (count, bits) in found.items()
        )
        rows.append([kind.name, kind.tool, types, markup.escape(kind.summary)])
    return markup.table(["Quantization", "Tool", "Stored as", "What it does"], rows, text=(1, 2, 3))


def layers_table(fit: Fit) -> str:
    """Return the bits per weight of each type of layer under the GGUF kinds."""
    model = shape.of(fit.card.name)
    kinds = [kind for kind in quantize.QUANTIZATIONS.values() if kind.gguf]
    told = {kind.name: quantize.bits_by_layer(quantize.stored(model, kind)) for kind in kinds}
    rows = []
    for layer in next(iter(told.values())):
        cells = [told[kind.name][layer] for kind in kinds]
        shown = [f"{one.bits:.5g} ({', '.join(one.types)})" for one in cells]
        rows.append([markup.escape(layer), _count(cells[0].count), *shown])
    caption = "Bits per weight by type of layer under the GGUF kinds, and the tensor types they are stored as"
    header = ["Layers", "Weights", *(kind.name for kind in kinds)]
    return markup.table(header, rows, caption=caption)


def claims_table(fit: Fit) -> str:
    """Compare the memory figures of a published card with ours; empty for a model that it does not list."""
    if not fit.claims:
        return ""
    rows = [
        [
            one.quantization,
            f"{one.bits_per_weight:g}",
            f"{one.claimed_bytes / 1e9:.1f}",
            f"{one.rule_bytes / 1e9:.2f}",
            formatting.gigabytes(one.weights_bytes),
            formatting.gigabytes(one.total_bytes),
            f"{100 * one.error:+.0f} %",
        ]
        for one in fit.claims
    ]
    header = [
        "Quantization",
        "Its bits",
        "Its GB",
        "7.1e9 x bits / 8 + 0.5 GB",
        "Weights",
        "Total",
        "Its error",
    ]
    return markup.table(header, rows)


def claims_text(fit: Fit) -> str:
    """Describe the comparison, as Markdown; empty for a model that the published card does not list."""
    if not fit.claims:
        return ""
    parameters = fit.card.parameters_total
    by_name = {one.quantization: one for one in fit.claims}
    q8, q4 = by_name["Q8_0"], by_name["Q4_K_M"]
    below = q4.claimed_bytes < q4.weights_bytes
    lines = [
        f"A [model card page]({gpus.sources()['page'].address}) gives figures for the same model. One rule "
        f"makes all four: {memory.CLAIMED_PARAMETERS / 1e9:g} billion parameters (exactly: "
        f"{parameters / 1e9:.3f}) times bits / 8, and 0.5 GB. Compared with ours:",
        f"- its bits per weight leave out the scales: Q8_0 stores {quantize.bits('Q8_0'):g} bits, Q6_K "
        f"{quantize.bits('Q6_K'):g}, Q4_K_M {quantize.bits('Q4_K'):g} and {quantize.bits('Q6_K'):g};",
        "- under GGUF the vision tower stays in 16 bits;",
        f"- it has no KV cache: {formatting.gigabytes(fit.memory.cache_bytes)} GB here, "
        f"{formatting.gigabytes(_whole_cache(fit))} GB for the whole context of {fit.card.context} tokens;",
        f"- so its Q8_0 is {_percent(q8.error)} and its Q4_K_M {_percent(q4.error)} compared with our total"
        + ("; its figure for Q4_K_M is less than the files of the weights alone." if below else "."),
    ]
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def peaks_table(fit: Fit) -> str:
    """Compare measured peaks of a GPU's allocator with our estimates, or say that there is none."""
    if not fit.peaks:
        return "<p>No peak of this model was measured on a GPU yet, so the estimates are unchecked here.</p>"
    rows = [
        [
            str(one.batch_size),
            str(one.image_size),
            formatting.gigabytes(one.measured_bytes),
            formatting.gigabytes(one.estimated_bytes),
            f"{100 * (one.estimated_bytes / one.measured_bytes - 1):+.0f} %",
        ]
        for one in fit.peaks
    ]
    return markup.table(["Batch", "Image, px", "Measured, GB", "Estimated, GB", "Error"], rows)


def gpu_table(fit: Fit) -> str:
    """Return all GPUs as a sortable table with a row of filters above."""
    told = any(row.prediction for row in fit.gpus)
    header = ["GPU", "Runs it", "Batch up to", "At least"]
    header += ["Predicted latency", "Throughput", "Energy per sample"] if told else []
    header += ["GiB", "GB/s", "fp16 TFLOP/s", "int8 TOP/s", "W", "USD", "Kind", "Year", "Compared"]
    rows = [_gpu_row(row, told, "no" if fit.obstacle else words.verdict(row)) for row in fit.gpus]
    caption = (
        f"Under {fit.quantization.name} at {words.asked(fit)}. Rates are dense, with 32-bit accumulation. "
        f"At least: the lower bound of a batch. *: {words.BANDWIDTH_ALONE}. {words.COUNTED} "
        f"USD: {words.prices()}. Compared: the figures of the row that agreed with a document; "
        "the others were typed from knowledge. Point at a cell to see the kind of document."
    )
    worded = (1, len(header) - 3, len(header) - 1)
    table = markup.table(header, rows, text=worded, caption=markup.escape(caption))
    return table.replace('class="vlmnb-table"', 'class="vlmnb-table vlmnb-filter vlmnb-sticky"', 1)


def best(fit: Fit) -> str:
    """Name the best GPU in each respect, as Markdown."""
    if fit.obstacle:
        return f"**{markup.plain(words.unrun(fit))}**"
    lines = [
        f"- **{one.what.capitalize()}**: {markup.plain(one.gpu or '-')} ({markup.plain(one.why)})"
        for one in fit.best
    ]
    lines += [f"- {markup.plain(line)}" for line in words.refusals(fit)]
    return "\n".join(lines)


def errors(fit: Fit) -> str:
    """Say how large errors of predictions are, as Markdown; empty without predictions."""
    return "\n".join(f"- {markup.plain(line)}" for line in words.checks(fit))


def usage(fit: Fit) -> str:
    """Return the snippets, as Markdown."""
    model = shape.of(fit.card.name)
    where = f"models/{fit.card.name}" if model.entry.bundled else model.entry.source
    parts = []
    for one in snippets.of(model, where):
        needs = f"Needs {one.needs}." if one.needs else ""
        text = " ".join(filter(None, [needs, one.note]))
        parts += [f"### {one.title}", text, markup.fence(one.code, one.language)]
    if fit.card.published and not fit.card.published.ollama:
        parts += ["### Ollama", "Ollama's library has no tag of this model."]
    return "\n\n".join(part for part in parts if part)


def sources(fit: Fit) -> str:
    """List the sources of the GPUs' figures and the documents they were compared with, as Markdown."""
    used: dict[str, list[str]] = {}
    compared: dict[str, list[str]] = {}
    for row in fit.gpus:
        for key in row.gpu.sources:
            used.setdefault(key, []).append(row.gpu.name)
        for check in row.gpu.checked:
            compared.setdefault(check.source, []).append(row.gpu.name)
    left = [row.gpu.uncompared for row in fit.gpus if row.gpu.uncompared]
    figures, missing = sum(len(row.gpu.given) for row in fit.gpus), sum(map(len, left))
    told = (
        f"{figures - missing} of {figures} figures agreed with one of the documents below; the other "
        f"{missing}, of {len(left)} GPUs, were compared with none:"
    )
    return "\n".join([*_documents(used), "", told, "", *_documents(compared)])


def _documents(used: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a line for each document, with the GPUs that it is used for."""
    for key, names in used.items():
        source = gpus.sources()[key]
        title = markup.plain(source.title)
        linked = f"[{title}]({source.address})" if source.address else title
        yield f"- {linked} ({source.kind}): {markup.plain(', '.join(names))}"


def _gpu_row(row: GpuFit, told: bool, verdict: str) -> list[str]:
    gpu = row.gpu
    cells = [
        f'<span title="{markup.escape(_source_titles(row))}">{markup.escape(gpu.title)}</span>',
        markup.escape(verdict), _number(row.largest_batch if row.runs else None), _bound(row),
        *(_predictions(row) if told else ()), _number(gpu.memory_gib), _number(gpu.bandwidth_gb_s),
        _number(gpu.fp16_tflops), _number(gpu.int8_tops), _number(gpu.power_w), _number(gpu.price_usd),
        gpu.segment, _number(gpu.year),
    ]  # fmt: skip
    share = (len(gpu.given) - len(gpu.uncompared)) / len(gpu.given)
    compared = (
        f'<span title="{markup.escape(words.documents(gpu))}">{_sorted(share, words.compared(gpu))}</span>'
    )
    return [*cells, compared]


def _predictions(row: GpuFit) -> Iterable[str]:
    found = row.prediction
    sorts = (found.latency_s, found.samples_per_s, found.energy_j_per_sample) if found else (None, None, None)
    for text, value in zip(words.predicted(row), sorts, strict=True):
        yield _sorted(value, text) if value is not None and text != "-" else markup.MISSING


def _bound(row: GpuFit) -> str:
    return _sorted(row.bound.total_s, words.least(row)) if row.runs else markup.MISSING


def _sorted(value: float, text: str) -> str:
    return f'<span data-sort="{value:.6g}">{markup.escape(text)}</span>'


def _number(value: float | None) -> str:
    return markup.MISSING if value is None else f"{value:g}"


def _source_titles(row: GpuFit) -> str:
    return "; ".join(gpus.sources()[key].title for key in row.gpu.sources)


def _sourced(text: str, key: str) -> str:
    return f'{markup.escape(text)} <span class="interval">({markup.escape(_short(key))})</span>'


def _short(key: str) -> str:
    return "a model card page" if key == "page" else key


def _whole_cache(fit: Fit) -> int:
    return fit.card.kv_bytes_per_token * fit.card.context


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _percent(error: float) -> str:
    return f"{abs(100 * error):.0f} % too {'low' if error < 0 else 'high'}"
