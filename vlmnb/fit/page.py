"""A model's card as a page of the book; the notebook ``card`` displays it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlmnb import paths
from vlmnb.files import templates
from vlmnb.fit import answer, gpus, quantize, shape
from vlmnb.fit import answer_text as words
from vlmnb.fit.answer import Fit
from vlmnb.fit.choice import GpuFit
from vlmnb.fit.quantize import Quantization
from vlmnb.fit.shape import Shape
from vlmnb.records import record_file
from vlmnb.stats import formatting
from vlmnb.views import table
from vlmnb.views.table import Field, Table
from vlmnb.views.templates import fence, plain

IMAGE = "picture.png"
LACKS = "this GPU does not run it"


def begin(parameters: Mapping[str, Any]) -> Fit:
    """Return the answer for the parameters of the notebook."""
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
    rows: dict[str, str | Field] = {
        "Parameters": f"{_count(card.parameters_total)} ({parts})",
        "Family": f"{card.family}, {card.architecture}",
        "Decoder layers": str(card.layers),
        "Heads": f"{card.heads}, of key and value {card.kv_heads}",
        "Head size": str(card.head_size),
        "Width": str(card.width),
        "Vocabulary": _count(card.vocabulary),
        "Context": f"{card.context} tokens",
        "Tokens per image": ", ".join(f"{tokens} at {side} px" for side, tokens in card.image_tokens.items()),
        "KV cache per token": formatting.format_si(card.kv_bytes_per_token, "B", 3),
        "Published in": card.released_dtype,
    }
    if published := card.published:
        rows["Developer"] = published.developer
        rows["Released"] = _sourced(published.released, published.released_source)
        rows["Licence"] = _sourced(published.licence, published.licence_source)
        rows["GGUF"] = published.gguf
        for one in published.benchmarks:
            rows[f"{one.name} (published)"] = _sourced(f"{one.score:g}", one.source)
    for name, value in card.scores.items():
        rows[f"{name.replace('_', ' ')} (ours, held out)"] = f"{100 * value:.1f} %"
    rows["Geometry"] = card.geometry_source
    if card.weights_note:
        rows["Weights"] = card.weights_note
    return table.render(table.facts(rows))


def unrun(fit: Fit) -> str:
    """Name the quantizations that nothing runs, as Markdown; empty without any."""
    return f"**{plain(text)}**" if (text := words.unrun(fit)) else ""


def memory_table(fit: Fit) -> str:
    """Return the memory by quantization."""
    caption = f"GB (10^9 bytes) at {words.asked(fit)}. {words.assumptions(fit)}"
    return _table(words.MEMORY, words.memory_cells(fit), caption)


def weights_table(fit: Fit) -> str:
    """Return the bits per weight of each storage type, by quantization."""
    model = shape.of(fit.card.name)
    rows: list[list[str | Field]] = []
    for kind in _kinds(fit):
        found = quantize.bits_by_type(quantize.stored(model, kind))
        types = ", ".join(
            f"{name} {one.bits:.5g} bits x {_count(one.weights)}" for name, one in found.items()
        )
        rows.append([kind.name, *(Field(text, words=True) for text in (kind.tool, types, kind.summary))])
    return _table(("Quantization", "Tool", "Stored as", "What it does"), rows)


def layers_table(fit: Fit) -> str:
    """Return the bits per weight of each type of layer under the GGUF kinds; empty if there are none."""
    model = shape.of(fit.card.name)
    kinds = [kind for kind in _kinds(fit) if kind.gguf]
    if not kinds:
        return ""
    found = [quantize.bits_by_layer(quantize.stored(model, kind)) for kind in kinds]
    rows = []
    for layer, first in found[0].items():
        cells = [f"{one[layer].bits:.5g} ({', '.join(one[layer].types)})" for one in found]
        rows.append([layer, _count(first.weights), *cells])
    caption = "Bits per weight by type of layer under the GGUF kinds, and the tensor types they are stored as"
    return _table(("Layers", "Weights", *(kind.name for kind in kinds)), rows, caption)


def _kinds(fit: Fit) -> list[Quantization]:
    return [quantize.get(one.quantization) for one in fit.shown]


def claims_table(fit: Fit) -> str:
    """Compare the memory figures of a published card with ours; empty for a model that it does not list."""
    if not fit.claims:
        return ""
    header = (
        "Quantization", "Its bits", "Its GB", "7.1e9 x bits / 8 + 0.5 GB", "Weights", "Total", "Its error",
    )  # fmt: skip
    rows = [
        (
            one.quantization, f"{one.bits_per_weight:g}", f"{one.claimed_bytes / 1e9:.1f}",
            f"{one.rule_bytes / 1e9:.2f}", formatting.gigabytes(one.weights_bytes),
            formatting.gigabytes(one.total_bytes), f"{100 * one.error:+.0f} %",
        )
        for one in fit.claims
    ]  # fmt: skip
    return _table(header, rows)


def claims_text(fit: Fit) -> str:
    """Describe the comparison, as Markdown; empty for a model that the published card does not list."""
    if not fit.claims:
        return ""
    return _render(
        "claims.md.j2", fit=fit, claims={one.quantization: one for one in fit.claims},
        address=gpus.sources()["page"].address,
        bits={name: 8 * size / weights for name, (weights, size) in quantize.BLOCKS.items()},
    )  # fmt: skip


def peaks_table(fit: Fit) -> str:
    """Compare measured peaks of a GPU's allocator with our estimates, or say that there is none."""
    if not fit.peaks:
        return "<p>No peak of this model was measured on a GPU yet, so the estimates are unchecked here.</p>"
    rows = [
        (
            str(one.batch_size), str(one.image_size), formatting.gigabytes(one.measured_bytes),
            formatting.gigabytes(one.estimated_bytes),
            f"{100 * (one.estimated_bytes / one.measured_bytes - 1):+.0f} %",
        )
        for one in fit.peaks
    ]  # fmt: skip
    return _table(("Batch", "Image, px", "Measured, GB", "Estimated, GB", "Error"), rows)


def gpu_table(fit: Fit) -> str:
    """Return all GPUs as a sortable table with a row of filters above."""
    predicted = any(row.prediction for row in fit.gpus)
    header = ["GPU", "Runs it", "Batch up to", "At least"]
    header += ["Predicted latency", "Throughput", "Energy per sample"] if predicted else []
    header += ["GiB", "GB/s", "fp16 TFLOP/s", "int8 TOP/s", "W", "USD", "Kind", "Year", "Compared"]
    rows = [
        _gpu_row(row, predicted, "no" if fit.obstacle else words.verdict(row), fit.load.batch_size)
        for row in fit.gpus
    ]
    caption = (
        f"Under {fit.quantization.name} at {words.asked(fit)}. Rates are dense, with 32-bit accumulation. "
        f"{words.gpu_notes()} Compared: the figures of the row that agreed with a document; the others were "
        "typed from knowledge. Point at a cell to see the kind of document."
    )
    return _table(header, rows, caption, "vlmnb-filter vlmnb-sticky")


def best(fit: Fit) -> str:
    """Name the best GPU in each respect, as Markdown."""
    return unrun(fit) if fit.obstacle else _render("best.md.j2", found=fit.best, refusals=words.refusals(fit))


def errors(fit: Fit) -> str:
    """Say how large errors of predictions are, as Markdown; empty without predictions."""
    return "\n".join(f"- {plain(line)}" for line in words.checks(fit))


def usage(fit: Fit) -> str:
    """Return how to use the model, with code, as Markdown."""
    model = shape.of(fit.card.name)
    return _render(
        "usage.md.j2", image=IMAGE, code=codes(model, model.entry.source or f"models/{fit.card.name}"),
        published=fit.card.published, processor_note=model.family.processor_note,
    )  # fmt: skip


def codes(model: Shape, source: str, image: str = IMAGE) -> dict[str, str]:
    """Return the Python code of each way to use a model: ``templates/<key>.py.j2``, filled in.

    The code names the model by its source, a folder or a Hub repository, and opens the image.
    """
    module, processor = model.family.processor_class
    data = {
        "model": source, "image": image, "question": "What is in the picture?", "module": module,
        "model_class": model.family.class_name, "processor": processor, "own": module != "transformers",
    }  # fmt: skip
    keys = ("picture", "plain", "pipeline", "4-bit", "flash")
    return {key: templates.render("vlmnb.fit", f"{key}.py.j2", **data) for key in keys}


def sources(fit: Fit) -> str:
    """List the sources of the GPUs' figures and the documents they were compared with, as Markdown."""
    used, compared = defaultdict(list), defaultdict(list)
    for row in fit.gpus:
        for key in row.gpu.sources:
            used[key].append(row.gpu.name)
        for check in row.gpu.checked:
            compared[check.source].append(row.gpu.name)
    left = [row.gpu.uncompared for row in fit.gpus if row.gpu.uncompared]
    return _render(
        "sources.md.j2", used=used, compared=compared, sources=gpus.sources(), left=left,
        figures=sum(len(row.gpu.given) for row in fit.gpus),
    )  # fmt: skip


def _table(
    header: Sequence[str], rows: Iterable[Sequence[str | Field]], caption: str = "", classes: str = ""
) -> str:
    fields = [tuple(one if isinstance(one, Field) else Field(one) for one in row) for row in rows]
    return table.render(Table(caption, tuple(header), tuple(fields), classes))


def _gpu_row(row: GpuFit, with_prediction: bool, verdict: str, batch_size: int) -> list[Field]:
    gpu, found = row.gpu, row.prediction
    sorts = (found.latency_s, found.samples_per_s, found.energy_j_per_sample) if found else (None, None, None)
    none = "nothing is predicted of it" if row.runs else LACKS
    predicted = [
        table.without(none) if text == table.MISSING else Field(text, sort=value)
        for text, value in zip(words.predicted(row), sorts, strict=True)
    ]
    rates = (gpu.memory_gib, gpu.bandwidth_gb_s, gpu.fp16_tflops, gpu.int8_tops, gpu.power_w, gpu.price_usd)
    return [
        Field(gpu.title, title="; ".join(gpus.sources()[key].title for key in gpu.sources)),
        Field(verdict, words=True),
        _number(row.largest_batch if row.runs else None, LACKS),
        _least(row, batch_size) if row.runs else table.without(LACKS),
        *(predicted if with_prediction else ()),
        *map(_number, rates),
        Field(gpu.segment, words=True),
        _number(gpu.year),
        Field(
            words.compared(gpu), title=words.documents(gpu), words=True,
            sort=1 - len(gpu.uncompared) / len(gpu.given),
        ),
    ]  # fmt: skip


def _least(row: GpuFit, batch_size: int) -> Field:
    """Show the lower bound of a batch; readers can switch to that of an image, and to their own price."""
    image_s, star = row.bound.total_s / batch_size, "" if row.bound.compute_known else "*"
    units = tuple((f"{formatting.digits(each)}{star}", "") for each in (1000 * image_s, 1 / image_s))
    return Field(words.least(row), sort=row.bound.total_s, units=units, amount=f"hire {image_s / 3.6:.6g}")


def _number(value: float | None, why: str = "not known") -> Field:
    return table.without(why) if value is None else Field(f"{value:g}")


def _sourced(text: str, key: str) -> Field:
    return Field(text, words=True, span=f"({'a model card page' if key == 'page' else key})")


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _render(name: str, **data: object) -> str:
    """Return the Markdown that a template makes of data."""
    helpers = {"plain": plain, "fence": fence, "gb": formatting.gigabytes}
    return templates.render("vlmnb.fit", name, **helpers, **data).strip()
