"""Latency against error: the models of one setting as points, who beats whom, and the figure."""

from __future__ import annotations

from collections.abc import Sequence

from vlmnb import disturbance, markup, scatter, stats
from vlmnb.compare import (
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
from vlmnb.scatter import Point

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
    mark = f" After †: {disturbance.MEANING}." if disturbed else ""
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
        made.append(Point(entry.model.title, color, marker, row["latency_s"], y, x_ends, y_ends))
    return made


def panels(entries: Sequence[Entry]) -> dict[str, list[Point]]:
    """Points of each data set that has any."""
    found = {name: points(entries, name) for name in dataset_names(entries)}
    return {name: listed for name, listed in found.items() if listed}


def findings(entries: Sequence[Entry]) -> list[str]:
    """Who is on the Pareto front and who is beaten; one sentence for the data sets that say the same."""
    sentences: dict[str, list[str]] = {}
    for name, listed in panels(entries).items():
        front = [listed[i].title for i in stats.pareto_front([(p.x, p.y) for p in listed])]
        beaten = [point.title for point in listed if point.title not in front]
        if len(listed) == 1:
            told = f"only {front[0]} was measured"
        elif len(front) == 1:
            told = f"{front[0]} has both the shortest latency and the smallest error"
        else:
            told = f"{markup.enumerated(front)} are on the Pareto front, from fastest to most accurate"
            verb = "is" if len(beaten) == 1 else "are"
            told += f"; {markup.enumerated(beaten)} {verb} beaten in both" if beaten else ""
        sentences.setdefault(told, []).append(dataset_title(name))
    return [f"{markup.enumerated(names)}: {told}." for told, names in sentences.items()]


def figure_caption(setting: Setting, entries: Sequence[Entry]) -> str:
    """What the figure shows and says, with units and numbers of samples."""
    rows = [row for entry in entries for row in entry.rows.values() if row["latency_s"] is not None]
    batches = markup.reach(sorted({row["latency_n"] for row in rows if row["latency_n"]}))
    samples = markup.reach(sorted({row["samples"] for row in rows}))
    first = (
        f"Seconds per batch of {BASE_BATCH_SIZE} against error, at the base configuration ({setting.title}). "
        f"{' '.join(findings(entries))}"
    )
    if of_reports(entries):
        return f"{first} Errors over {samples} answers; the reports state no spread."
    return (
        f"{first} Medians of {batches} batches and errors over {samples} answers, with "
        "95 % intervals; the dashed line joins the Pareto front. Where intervals overlap, the order may be "
        f"chance. {chance(entries)}".rstrip()
    )


def figure(entries: Sequence[Entry]) -> bytes:
    """Latency against error, one panel per data set, as PNG on a transparent ground."""
    found = {}
    for name, listed in panels(entries).items():
        by_accuracy = any(accuracy(entry, name) is not None for entry in entries)
        found[dataset_title(name)] = ("1 - accuracy" if by_accuracy else "WER", listed)
    return scatter.figure(found)


def _ends(row: Row, column: str, low: str, high: str) -> tuple[float, float]:
    """An interval; the value itself at both ends where a report states none."""
    ends = [row[column] if row[name] is None else row[name] for name in (low, high)]
    return ends[0], ends[1]
