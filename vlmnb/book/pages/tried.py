"""The page of the families that were built small and measured by their folder: what came out of it."""

from __future__ import annotations

from functools import partial

from vlmnb.book.rendering import code, render
from vlmnb.fit import tried
from vlmnb.fit.tried import Tried
from vlmnb.views.table import Field, Row, Table, without


def page() -> str:
    """Return the page."""
    known = dict(sorted(tried.families().items()))
    marks, reasons = tried.numbered(known)
    sizes = list(dict.fromkeys(size for one in known.values() for size in one.image_tokens))
    heads = ("Family", "Batch of four", "FLOPs", "Does not run", *sizes, "As predicted", "Processor")
    rows = tuple(_row(name, one, sizes, marks[name]) for name, one in known.items())
    return render(
        "tried.md", table=Table("", heads, rows, "vlmnb-sticky"), reasons=reasons,
        settings=tried.settings(known)[0],
        transformers=sorted({one.transformers for one in known.values() if one.transformers}),
        crossing=[name for name, one in known.items() if one.crossing],
        traced=[name for name, one in known.items() if "compile (traced only)" in one.settings],
        dates=sorted({one.date for one in known.values() if one.date}),
        torch=sorted({one.torch for one in known.values() if one.torch}),
        works=sum(one.works for one in known.values()), families=len(known),
    )  # fmt: skip


def _row(name: str, one: Tried, sizes: list[str], marks: dict[str, int]) -> Row:
    """Make a family's row; one field names what does not run, with the number of the reason."""
    numbered = [f"{what} ({number})" for what, number in marks.items()]
    none = partial(without, one.reason or "not tried")
    tokens = [str(one.image_tokens[size]) if size in one.image_tokens else "" for size in sizes]
    flops = "" if one.flops is None else f"{one.flops:+.1f} %"
    return (
        Field(code(name), words=True),
        Field(one.batch, words=True) if one.batch else none(),
        Field(flops, one.flops_note) if flops else without(one.flops_note or one.reason or "not counted"),
        Field(", ".join(numbered) or "all run", "; ".join(one.lacking.values()), words=True),
        *(Field(count, "counted") if count else none() for count in tokens),
        Field(one.image_tokens_predicted, words=True) if one.image_tokens_predicted else none(),
        Field(one.processor, words=True) if one.processor else none(),
    )
