"""Latency against error: the models of one setting as points, who beats whom, and the figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlmnb.analysis import order, repeatability
from vlmnb.analysis.base_configuration import (
    BASE_BATCH_SIZE,
    Entry,
    Row,
    Setting,
    accuracy,
    chance,
    dataset_names,
    dataset_title,
    interval,
    latency,
    of_reports,
    raw_link,
)
from vlmnb.analysis.repeatability import Allowance
from vlmnb.records import background_load
from vlmnb.records.record import Record
from vlmnb.stats import formatting
from vlmnb.views import axis_points as figurepoints
from vlmnb.views import markup, pareto_figure
from vlmnb.views.axis_table import ENOUGH
from vlmnb.views.findings import ASSUMED_DRIFT
from vlmnb.views.pareto_figure import Point

MARKERS = ("o", "s", "^", "D", "v", "P")
COLORS = ("#2E86C9", "#D55E00", "#009E73", "#C0659A", "#B8860B", "#7A6FD0")
"""Okabe and Ito's palette, told apart by color-blind eyes, in shades for light and dark ground."""


def points_table(entries: Sequence[Entry], folder: str = "") -> str:
    """Every point of the figure with its intervals and its record, as HTML."""
    rows = []
    for name in dataset_names(entries):
        for entry in entries:
            row = entry.rows.get(name, {})
            if row.get("latency_s") is None or row.get("wer") is None:
                continue
            error = "wer" if row["accuracy"] is None else "accuracy"
            rows.append(
                [
                    markup.escape(entry.model.title),
                    markup.escape(dataset_title(name)),
                    raw_link(row, latency(row), folder),
                    raw_link(row, interval(row, error), folder),
                    "WER" if error == "wer" else "accuracy",
                    raw_link(row, markup.escape(row["key"]), folder),
                ]
            )
    header = ["Model", "Data set", "Latency, s per batch", "Quality", "Which", "Record"]
    told = "as the reports print it, without intervals" if of_reports(entries) else "with 95 % intervals"
    disturbed = any(row["latency_disturbed"] for entry in entries for row in entry.rows.values())
    mark = f" After †: {background_load.MEANING}." if disturbed else ""
    caption = f"What the figure shows, {told}. {chance(entries)}".rstrip() + mark
    return markup.table(header, rows, text=(1, 4, 5), caption=caption)


def points(entries: Sequence[Entry], dataset: str) -> list[Point]:
    """The models that have both a latency and an error on a data set; error is 1 - accuracy, else WER."""
    made = []
    for number, entry in enumerate(entries):
        row = entry.rows.get(dataset, {})
        if row.get("latency_s") is None or row.get("wer") is None:
            continue
        x_ends = _ends(row, "latency_s", "latency_low_s", "latency_high_s")
        if row["accuracy"] is None:
            y, y_ends = row["wer"], _ends(row, "wer", "wer_low", "wer_high")
        else:
            y, y_ends = 1 - row["accuracy"], (1 - row["accuracy_high"], 1 - row["accuracy_low"])
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        made.append(Point(entry.model.title, color, marker, row["latency_s"], y, x_ends, y_ends,
                          disturbed=bool(row["latency_disturbed"]),
                          few=(row["latency_confidence"] or 0) < ENOUGH))  # fmt: skip
    return made


def panels(entries: Sequence[Entry]) -> dict[str, list[Point]]:
    """Points of each data set that has any."""
    found = {name: points(entries, name) for name in dataset_names(entries)}
    return {name: listed for name, listed in found.items() if listed}


def findings(entries: Sequence[Entry], drift: float = ASSUMED_DRIFT) -> list[str]:
    """Who is on the Pareto front and who is beaten; one sentence for the data sets that say the same.

    Args:
        entries: The models of one setting.
        drift: Relative difference that two windows of one cell may show there.
    """
    sentences: dict[str, list[str]] = {}
    for name, listed in panels(entries).items():
        told = order.printed(listed) if of_reports(entries) else order.told(listed, drift)
        sentences.setdefault(told, []).append(dataset_title(name))
    return [f"{formatting.enumerated(names)}: {told}." for told, names in sentences.items()]


def figure_caption(setting: Setting, entries: Sequence[Entry], allowed: Allowance) -> str:
    """What the figure shows and says, with units and numbers of samples.

    Args:
        setting: Where the models were measured.
        entries: The models.
        allowed: How far two windows of one cell may differ there.
    """
    rows = [row for entry in entries for row in entry.rows.values() if row["latency_s"] is not None]
    batches = formatting.reach(sorted({row["latency_n"] for row in rows if row["latency_n"]}))
    samples = formatting.reach(sorted({row["samples"] for row in rows}))
    first = (
        f"Seconds per batch of {BASE_BATCH_SIZE} against error, at the base configuration ({setting.title}). "
        f"{' '.join(findings(entries, allowed.drift))}"
    )
    if of_reports(entries):
        return f"{first} Errors over {samples} answers; the reports state no spread."
    return (
        f"{first} Medians of {batches} batches and errors over {samples} answers, with "
        "95 % intervals; the dashed line joins the Pareto front. Two windows of one cell are taken to differ "
        f"by up to {formatting.percent(allowed.drift)} % ({allowed.origin}). {chance(entries)}".rstrip()
    )


def figure(entries: Sequence[Entry]) -> bytes:
    """Latency against error, one panel per data set, as PNG on a transparent ground."""
    found = {}
    for name, listed in panels(entries).items():
        by_accuracy = any(accuracy(entry, name) is not None for entry in entries)
        found[dataset_title(name)] = ("1 - accuracy" if by_accuracy else "WER", listed)
    return pareto_figure.figure(found)


def figure_blocks(
    records: Iterable[Record], setting: Setting, entries: Sequence[Entry], folder: str = ""
) -> tuple[str, str]:
    """The figure of a setting with its caption, and its points; ``folder`` is where the chapters lie."""
    allowed = repeatability.allowance(records, [(setting.hardware, setting.device)])
    alt = f"Scatter plots of latency against error. {' '.join(findings(entries, allowed.drift))}"
    drawn = (
        f"```{{figure}} /book/generated/{figure_path(setting)}\n:alt: {markup.plain(alt)}\n\n"
        f"{markup.plain(figure_caption(setting, entries, allowed))}\n```"
    )
    summary = f"<summary>{figurepoints.SUMMARY}</summary>"
    return drawn, f'<details class="vlmnb-points">{summary}{points_table(entries, folder)}</details>'


def figure_path(setting: Setting) -> str:
    """File of a setting's figure, below ``book/generated``."""
    return f"figures/{setting.source}-{setting.hardware}-{setting.device}.png"


def _ends(row: Row, column: str, low: str, high: str) -> tuple[float, float]:
    """An interval; the value itself at both ends where a report states none."""
    ends = [row[column] if row[name] is None else row[name] for name in (low, high)]
    return ends[0], ends[1]
