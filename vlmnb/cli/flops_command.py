"""The output of ``vlmnb flops``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from vlmnb.flops.estimate import CONVENTION, LABELS, Estimate, Pass
from vlmnb.stats.formatting import format_si


def show(found: Estimate) -> None:
    """Print the estimate as a table, with the convention beneath it."""
    table = Table(box=None, pad_edge=False, header_style="", show_footer=True)
    passes = (("prefill", found.prefill), ("decoded token", found.decode))
    table.add_column("FLOPs", footer="total", no_wrap=True)
    for name, both in passes:
        for way, parts in (("formula", both.formula), ("counted", both.counted)):
            table.add_column(
                f"{name}\n{way}",
                justify="right",
                footer=format_si(parts.total) if parts else "-",
                no_wrap=True,
            )
    columns = [
        parts.model_dump() if parts else {} for _, both in passes for parts in (both.formula, both.counted)
    ]
    for part, label in LABELS.items():
        if any(column.get(part) for column in columns):
            table.add_row(
                label, *(format_si(column[part]) if column.get(part) else "–" for column in columns)
            )
    console = Console(soft_wrap=True, highlight=False)
    images = f"{found.batch_size} x ({found.image_tokens} image + {found.text_tokens} text tokens)"
    seen = "" if found.seen_image_size == found.image_size else f" (the model sees {found.seen_image_size})"
    console.print(f"{found.model}, {found.image_size} pixels{seen}, {images}", markup=False)
    console.print(table)
    for name, both in passes:
        if both.counted is None:
            console.print(f"Not counted, {name}: {both.note}", markup=False)
    worst, where = _farthest(passes)
    if worst > 0:
        console.print(f"Formula and counting differ by up to {worst:.2%}: {where}.")
    if found.unused:
        console.print(
            f"Of the prefill, {format_si(found.unused)} are never used: vision layers after the one taken."
        )
    console.print(
        f"With logits for the last position alone, as in generation: {format_si(found.last_position)}."
    )
    console.print(CONVENTION, markup=False)


def _farthest(passes: Sequence[tuple[str, Pass]]) -> tuple[float, str]:
    """Return the largest difference of formula and count, as `Pass.largest_difference`, and its part."""
    found = [(0.0, "")]
    for name, both in passes:
        if both.counted is None:
            continue
        for part, label in {**LABELS, "total": "total"}.items():
            one, other = getattr(both.formula, part), getattr(both.counted, part)
            owner = "vision tower, " if part == "vision_scores" else "language model, " * (part == "scores")
            label = f"{owner}{label.strip()}"
            found.append((abs(one - other) / max(one, other, 1), f"{label} ({name})"))
    return max(found)
