"""The generated pages: the comparison, the machines, the status of everything, the ends of run pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from vlmnb import models, paths
from vlmnb.analysis import base_configuration, pareto
from vlmnb.book.pages import machine_page as machine_page_pages
from vlmnb.records.record import Record
from vlmnb.spec import axes
from vlmnb.stats.formatting import enumerated, format_si
from vlmnb.sweep import execute
from vlmnb.types import Status
from vlmnb.views import markup, optimization_text

STATUSES: tuple[Status, ...] = get_args(Status)

NOTHING_YET = (
    "Nothing has been measured here yet. `make book` measures the bundled models and builds these pages; "
    "see [](/book/reproduce.md)."
)


@dataclass(frozen=True)
class Failure:
    """A run that failed, as the executing side filed it."""

    model: str
    axis: str
    error: str
    cell: str = ""
    stderr_tail: str = ""
    command: str = ""
    at: str = ""


@dataclass(frozen=True)
class Page:
    """A published run.

    Attributes:
        executed_at: UTC, ISO 8601, or empty.
        parameters: What papermill was given.
        records: Records of the page's cells.
        outdated: A failed attempt that is newer than the page.
        redrawn_by: The command that draws it again, where it is older than what it shows; else empty.
    """

    model: str
    axis: str
    executed_at: str
    parameters: Mapping[str, Any]
    records: tuple[Record, ...]
    outdated: Failure | None = None
    redrawn_by: str = ""

    @property
    def source(self) -> str:
        """Where its figures come from."""
        return str(self.parameters.get("source") or "measured")

    @property
    def folder(self) -> str:
        """Folder of its kind, below ``book/``."""
        return "reports" if self.source == "reports" else "runs"


@dataclass(frozen=True)
class Content:
    """All that the generated pages are made of."""

    records: tuple[Record, ...]
    pages: tuple[Page, ...]
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Models with anything to show, in the registry's order."""
        seen = {found.cell.model for found in self.records} | {page.model for page in self.pages}
        return tuple(sorted(seen | {failure.model for failure in self.failures}, key=model_order))


def model_title(name: str) -> str:
    """How pages call a model."""
    entry = base_configuration.entry_of(name)
    return entry.title if entry else name


def axis_title(name: str) -> str:
    """Heading of an axis, or of another notebook by its file name."""
    return axes.AXES[name].title if name in axes.AXES else name.replace("_", " ").capitalize()


def page_title(page: Page) -> str:
    """A page's heading, unique in the book."""
    told = ", as reported" if page.source == "reports" else ""
    return f"{axis_title(page.axis)} — {model_title(page.model)}{told}"


def label(model: str, axis: str, folder: str = "runs") -> str:
    """A page's name in labels: letters, digits and hyphens."""
    name = f"{model}-{axis}" if folder == "runs" else f"{folder}-{model}-{axis}"
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def comparison_page(content: Content) -> str:
    """All models side by side, one section per machine and device."""
    groups = base_configuration.base_entries(content.records)
    parts = [
        "# Comparison of the models",
        f"Every model at its base configuration: batch {base_configuration.BASE_BATCH_SIZE}, its base image "
        "size, the longest prompt length, natural answer length. "
        "Numbers of different machines are never set side by side, and those of reports have a section of "
        "their own. How each number is obtained stands in [](/book/methodology.md).",
    ]
    for setting, entries in groups.items():
        parts += [f"## On {setting.title}", "### Cost", base_configuration.cost_table(entries),
                  "### Quality", base_configuration.quality_table(entries)]  # fmt: skip
        if pareto.panels(entries):
            parts += ["### Latency against error", *pareto.figure_blocks(content.records, setting, entries)]
    return joined(parts if groups else [*parts, NOTHING_YET])


def headline(content: Content) -> str:
    """The landing page's table, figure and findings, of the setting with the most models."""
    groups = base_configuration.base_entries(content.records)
    if not groups:
        return NOTHING_YET + "\n"
    setting, entries = next(iter(groups.items()))
    parts = [
        f"Base configuration on {setting.title}:",
        base_configuration.headline_table(entries, "generated/"),
    ]
    if pareto.panels(entries):
        parts += pareto.figure_blocks(content.records, setting, entries, "generated/")
    if setting.source == "measured" and any(other.source == "reports" for other in groups):
        parts.append(
            "None of these figures is a report's. What earlier reports say of full-size models stands apart, "
            "in the [comparison](/book/generated/comparison.md) and on pages in the models' chapters."
        )
    return joined(parts)


def machine_page(content: Content) -> str:
    """The machines the records were measured on, and how busy others kept them."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for found in content.records:
        groups.setdefault((found.hardware, found.source), []).append(found)
    parts = ["# Machines", "What the records were measured on. Compare numbers of one machine only."]
    for (hardware, source), own in sorted(groups.items()):
        newest = max(own, key=lambda r: r.provenance.started_at)
        if source == "reports":
            parts += [
                "## The reports' machine",
                f"The reports name no machine. {len(own)} records are theirs.",
            ]
            continue
        parts += [f"## {hardware}", _machine_facts(newest, own), *machine_page_pages.sections(own)]
    return joined(parts if groups else [*parts, NOTHING_YET])


def status_page(content: Content) -> str:
    """Which runs are published, which failed and why, and what became of the cells."""
    measured = {(page.model, page.axis): page for page in content.pages if page.source == "measured"}
    failures = {(failure.model, failure.axis): failure for failure in content.failures}
    keys = sorted({*measured, *failures}, key=lambda key: (content.models.index(key[0]), axis_order(key[1])))
    rows = [_status_row(measured.get(key), failures.get(key)) for key in keys]
    rows += [_status_row(page, None) for page in content.pages if page.source == "reports"]
    parts = ["# Status", "Times are UTC. Nothing that was tried is left out."]
    parts += ["## Runs"]
    header = ["Model", "Page", "State", "Executed", "Cells", "Measured"]
    parts += [markup.table(header, rows, text=(1, 2, 3))] if rows else [NOTHING_YET]
    again = dict.fromkeys(page.redrawn_by for page in content.pages if page.redrawn_by)
    if again:
        parts.append(
            "Outdated pages are older than the records, A/A repeats, templates or code that they show. To "
            f"draw them again: {enumerated([f'`{command}`' for command in again])}, then `vlmnb book`."
        )
    parts += ["## Failed runs", *map(_failure_block, content.failures)] if content.failures else []
    parts += ["## Cells by status", _status_counts(content)] if content.records else []
    if content.problems:
        parts += ["## Left out", "\n".join(f"- {markup.plain(line)}" for line in content.problems)]
    return joined(parts)


def outdated_note(failure: Failure) -> str:
    """The warning on a page whose last rerun failed."""
    when = f" at {_minute(failure.at)}" if failure.at else ""
    return (
        f":::{{warning}}\nThis page is of an earlier execution: running it again failed{when} "
        f"({markup.plain(failure.error)}). See [](/book/generated/status.md).\n:::"
    )


def report_note(page: Page, every: Sequence[Record] = ()) -> str:
    """What stands above a page of a report: whose figures these are.

    Args:
        page: The page.
        every: Records among which the report is looked up where it prints no figure of the page's cells.
    """
    own = [f for r in page.records if r.reported for f in r.reported.figures]
    others = [f for r in every if r.reported and r.cell.model == page.model for f in r.reported.figures]
    files = {f.file: f for f in own or [f for f in others if f.kind == "report"]}
    named = [f"{f.file}{' (raw log)' if f.kind == 'log' else ''}" for f in files.values()]
    listed = f" {', '.join(named)}" if named else ""
    return (
        f":::{{note}}\nThe figures of this page are those of an earlier report (source{listed}), character "
        "by character; none of them was measured here. Rows and columns are the report's, headings ours. How "
        "the reports seem to have measured stands in [](#the-reports).\n:::"
    )


def run_sections(page: Page) -> list[str]:
    """The closing sections of a run's page: how to rerun it, and where its numbers lie."""
    notebook = markup.link("This notebook", f"../../../{download_name(page, 'ipynb')}")
    command = rerun_command(page.axis, {"model": page.model, **page.parameters})
    loaded = (
        "Cells that are on record for the same code, packages and machine are loaded, not measured again."
    )
    if page.source == "reports":
        loaded = "It measures nothing: the records are made from the transcribed reports by `vlmnb reports`."
    rerun = (
        f"## Rerun this page\n\nFrom the project's folder:\n\n{markup.fence(command, 'bash')}\n\n"
        f"{loaded} "
        f"{notebook} can be opened in JupyterLab. [](/book/reproduce.md) has other ways."
    )
    if page.axis not in axes.AXES or axes.AXES[page.axis].own:
        return [rerun]
    if not page.records:
        return [rerun, "## Raw records\n\nNo record of this page's cells is in the results folder any more."]
    csv = markup.link("All rows as CSV", f"../../../{download_name(page, 'csv')}")
    table = _record_table(page)
    return [
        rerun,
        f"## Raw records\n\n{csv}; one file per cell with every sample and its provenance:\n\n"
        f"<details><summary>{len(page.records)} records</summary>{table}</details>",
    ]


def rerun_command(axis: str, parameters: Mapping[str, Any]) -> str:
    """The papermill line that makes a page again; parameters left at the base configuration are left out."""
    given = {k: v for k, v in parameters.items() if v not in ("", 0, [], None) and k != "results"}
    return execute.papermill_line(axis, given)


def record_path(found: Record) -> str:
    """Where a record lies in the built site."""
    of = (found.hardware, found.cell.model, found.key)
    return paths.record(Path("downloads/records"), *of).as_posix()


def download_name(page: Page, suffix: str) -> str:
    """Where a page's CSV or notebook lies in the built site."""
    return notebook_download(f"{page.folder}/{page.model}/{page.axis}.{suffix}")


def notebook_download(name: str) -> str:
    """Where a page of ``book/`` lies in the built site, as a file to download."""
    folder, model, file = name.split("/")
    return f"downloads/{model}-{file}" if folder == "runs" else f"downloads/{folder}-{model}-{file}"


def _record_table(page: Page) -> str:
    varying, cells = axes.AXES[page.axis].varies, [found.cell for found in page.records]
    rows = []
    for found in page.records:
        file = markup.link(found.key, f"../../../{record_path(found)}")
        when = _minute(found.provenance.started_at)
        status = markup.escape(found.status)
        dataset = markup.escape(base_configuration.dataset_title(found.cell.dataset))
        name = optimization_text.label(varying, found.cell, cells)
        rows.append([name, dataset, status, found.hardware, when, file])
    header = [axis_title(page.axis), "Data set", "Status", "Hardware", "Measured at", "Record"]
    return markup.table(header, rows, text=(1, 2, 3, 4, 5))


def _machine_facts(newest: Record, found: Sequence[Record]) -> str:
    told, versions = newest.provenance.machine, newest.provenance.packages
    gpus = [
        f"{gpu['name']}, {format_si(gpu['memory_bytes'], 'B', 3)}, driver {gpu['driver']}"
        for gpu in told.get("gpus", ())
    ]
    loads = sorted(r.provenance.other_load for r in found if r.provenance.other_load is not None)
    threads = sorted({r.provenance.threads for r in found if r.provenance.threads is not None})
    times = sorted(r.provenance.started_at for r in found if r.provenance.started_at)
    details = sorted({f"{r.source}: {r.method}, {r.detail}" for x in found for r in x.energy})
    facts = {
        "CPU": told.get("cpu_model", ""),
        "Cores": f"{told['physical_cores']} physical, {told['logical_cores']} logical" if told else "",
        "Memory": format_si(told["memory_bytes"], "B", 3) if told else "",
        "GPUs": "; ".join(gpus) or ("none" if told else ""),
        "Virtualization": next(filter(None, (x.provenance.machine.get("virtualization") for x in found)), ""),
        "System": f"{told['os']}, Python {told['python']}" if told else "",
        "Packages": ", ".join(f"{name} {number}" for name, number in sorted(versions.items())),
        "Threads of torch": ", ".join(map(str, threads)),
        "Energy readings": "; ".join(details),
        "Load by others while timing": (
            f"median {100 * loads[len(loads) // 2]:.0f} % of all cores, at most {100 * loads[-1]:.0f} %"
            if loads else ""
        ),
        "Records": f"{len(found)}, {times[0][:10]} to {times[-1][:10]}" if times else str(len(found)),
    }  # fmt: skip
    return markup.facts({name: markup.escape(value or "not recorded") for name, value in facts.items()})


def _status_row(page: Page | None, failure: Failure | None) -> list[str]:
    if page is None:
        assert failure is not None
        names = [markup.escape(model_title(failure.model)), markup.escape(axis_title(failure.axis))]
        return [*names, "failed", _minute(failure.at), markup.MISSING, markup.MISSING]
    state = "outdated" if page.redrawn_by else "published"
    state += "; the last rerun failed" if page.outdated else ""
    if page.source == "reports":
        state = "published, from a report"
    measured = sum(r.status == "ok" for r in page.records)
    return [
        markup.escape(model_title(page.model)),
        markup.link(axis_title(page.axis), f"../{page.folder}/{page.model}/{page.axis}.html"),
        state,
        _minute(page.executed_at),
        str(len(page.records)),
        str(measured),
    ]


def _failure_block(failure: Failure) -> str:
    name = f"{model_title(failure.model)}, {axis_title(failure.axis)}"
    where = f" in cell {markup.plain(failure.cell)}" if failure.cell not in ("", "None") else ""
    when = f" at {_minute(failure.at)}" if failure.at else ""
    parts = [f"### {name}", f"Failed{where}{when}: {markup.plain(failure.error)}"]
    if failure.command:
        parts += ["Run it again with", markup.fence(failure.command, "bash")]
    if failure.stderr_tail.strip():
        parts += ["The end of its error output:", markup.fence(markup.without_colors(failure.stderr_tail))]
    return "\n\n".join(parts)


def _status_counts(content: Content) -> str:
    rows = []
    for name in content.models:
        own = [r for r in content.records if r.cell.model == name]
        for hardware in sorted({r.hardware for r in own}):
            counts = Counter(r.status for r in own if r.hardware == hardware)
            numbers = [str(counts[status]) if counts[status] else markup.MISSING for status in STATUSES]
            rows.append([markup.escape(model_title(name)), hardware, *numbers])
    return markup.table(["Model", "Hardware", *(s.replace("_", " ") for s in STATUSES)], rows, text=(1,))


def _minute(time: str) -> str:
    """A time of a file to the minute, as HTML."""
    return markup.escape(time[:16].replace("T", " "))


def model_order(name: str) -> tuple[int, str]:
    """Sorts models as the registry lists them, others behind them by name."""
    known = list(models.registry())
    return (known.index(name) if name in known else len(known), name)


def axis_order(axis: str) -> tuple[int, str]:
    """Sorts notebooks as the axes are listed, others behind them by name."""
    known = list(axes.AXES)
    return (known.index(axis) if axis in known else len(known), axis)


def joined(parts: Sequence[str]) -> str:
    """Blocks of Markdown as one page; empty ones are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"
