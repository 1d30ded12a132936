"""Describe how far a sweep is, run by run, for ``sweep --dry-run`` and ``status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlmnb import models, paths
from vlmnb.device import machine
from vlmnb.files import templates
from vlmnb.records import record_file
from vlmnb.records.content_key import Revisions
from vlmnb.records.resolved import changes_since, other_settings, resolve
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell, told_apart
from vlmnb.stats.formatting import counted, duration
from vlmnb.sweep.heartbeat import SweepProgress
from vlmnb.sweep.inventory import NOTHING_AGAIN, CellState, Job, Remeasure
from vlmnb.types import Status


def verdict(cell: Cell) -> tuple[Status, str] | None:
    """Return the status and reason that measuring a cell here must end in; None if only trying shows it."""
    if reason := models.get(cell.model).size_obstacle(cell.image_size, cell.interpolate):
        return "not_applicable", reason
    if cell.device == "cuda" and not machine.describe().gpus:
        return "unsupported", "this machine has no GPU"
    if reason := optimizations.obstacle(optimizations.of(cell), cell.device):
        return "unsupported", reason
    return None


def known(jobs: Sequence[Job]) -> dict[Cell, dict[str, Any]]:
    """Return each cell's status and reason known in advance (or empty), and the runs whose tables show it."""
    found: dict[Cell, dict[str, Any]] = {}
    for job in jobs:
        for cell in job.run.plan.cells:
            if cell not in found:
                status, reason = verdict(cell) or ("", "")
                found[cell] = {"status": status, "reason": reason, "runs": []}
            found[cell]["runs"].append(job.run.name)
    return found


def distinct(jobs: Sequence[Job]) -> list[CellState]:
    """Return the cells of a sweep, each once even if several tables show it."""
    return list({state.path: state for job in jobs for state in job.cells}.values())


def since(states: Sequence[CellState]) -> Counter[str]:
    """Count the stale cells by what has changed since their records."""
    now = resolve((state.cell for state in states), Path())
    return Counter(_since(state, now[state.cell].revisions) for state in states)


def _since(state: CellState, revisions: Revisions) -> str:
    """Say what has changed since the record of a stale cell; settings alone leave the record right."""
    assert state.answer is not None
    found = record_file.read(state.answer)
    changed = changes_since(found, revisions) or "its schema"
    alone = changed == ", ".join(other_settings(found))
    return f"{changed} (only a setting: with the one before it is not stale)" if alone else changed


def kept(wanted: Iterable[CellState]) -> list[str]:
    """Return a line for each damaged record that measuring these cells will replace."""
    return [
        f"damaged record: {state.problem}; its cell is measured again, and the file is kept as "
        f"{paths.damaged(state.path).name}"
        for state in wanted
        if state.problem
    ]


def report(
    jobs: Sequence[Job], sweeps: Sequence[tuple[SweepProgress, bool]] = (), *,
    remeasure: Remeasure = NOTHING_AGAIN, left_out: Sequence[str] = (),
    others: Mapping[str, int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return for a program how far a sweep is.

    ``sweeps`` pairs the progress of each sweep here with whether it is still at work; ``left_out`` is a
    message for each damaged file among the records that is not part of the sweep; ``others`` counts the
    records of other cells by model.
    """
    states = distinct(jobs)
    counts = Counter(state.state for state in states)
    named = told_apart(state.cell for state in states)
    advance = known(jobs)
    wanted = [state.cell for state in states if state.wanted(remeasure)]
    return {
        "cells": len(states),
        "recorded": counts["recorded"] + counts["stale"],
        "stale": counts["stale"],
        "missing": counts["missing"] + counts["damaged"],
        "damaged": counts["damaged"],
        "stale_since": dict(since([state for state in states if state.state == "stale"])),
        "other_inputs": sum(bool(state.older) for state in states),
        "older": dict(Counter(state.older for state in states if state.older)),
        "to_measure": len(wanted),
        "cells_to_measure": [{"cell": named[cell], **advance[cell]} for cell in wanted],
        "statuses": dict(Counter(state.status for state in states if state.status).most_common()),
        "failed_cells": [
            f"{s.cell.model}, {named[s.cell]}: {s.reason}" for s in states if s.status == "failed"
        ],
        "damaged_cells": [
            f"{s.cell.model}, {named[s.cell]}: {s.problem}" for s in states if s.state == "damaged"
        ],
        "left_out": list(left_out),
        "others": dict(others or {}),
        "runs": [
            {
                "run": job.run.name,
                "cells": len(job.cells),
                "recorded": sum(state.state in ("recorded", "stale") for state in job.cells),
                "stale": sum(state.state == "stale" for state in job.cells),
                "page": job.page,
                "missing": [named[state.cell] for state in job.wanted()],
                "to_measure": [named[state.cell] for state in job.wanted(remeasure)],
            }
            for job in jobs
        ],
        "sweeps": [progress.model_dump(mode="json") | {"at_work": alive} for progress, alive in sweeps],
    }


def lines(
    jobs: Sequence[Job], sweeps: Sequence[tuple[SweepProgress, bool]] = (), *, cells: bool = False,
    remeasure: Remeasure = NOTHING_AGAIN, left_out: Sequence[str] = (),
    others: Mapping[str, int] | None = None,
) -> list[str]:  # fmt: skip
    """Return what `report` returns as lines for people, with every cell to measure if ``cells`` is true."""
    states = distinct(jobs)
    wanted = [state for state in states if state.wanted(remeasure)]
    advance = known(jobs) if cells else {}
    named = told_apart(state.cell for state in states)
    text = templates.render(
        "vlmnb.sweep",
        "status.txt.j2",
        **report(jobs, sweeps, remeasure=remeasure, left_out=left_out, others=others),
        listed={
            job.run.name: [
                named[state.cell] + _remarks(state, **advance[state.cell])
                for state in (job.wanted(remeasure) if cells else [])
            ]
            for job in jobs
        },
        shared=sum(len(job.cells) for job in jobs) - len(states),
        kinds=Counter(_kind(state, remeasure) for state in wanted),
        known_in_advance=Counter((one["status"], one["reason"]) for one in advance.values() if one["status"]),
        replaced=kept(wanted),
        ignored=[line for line in left_out if line not in {state.problem for state in wanted}],
        remeasure=remeasure,
        counted=counted,
        duration=duration,
    )
    return text.removesuffix("\n").split("\n")


def _kind(state: CellState, remeasure: Remeasure) -> str:
    """Return in a word why a cell is measured."""
    if state.state == "recorded" or (state.state == "stale" and not remeasure.stale):
        return state.status.replace("_", " ")
    return state.state


def _remarks(state: CellState, status: str, reason: str, runs: Sequence[str]) -> str:
    """Return in brackets what is recorded of a cell to measure, then what is known of it in advance."""
    recorded: list[str] = [state.state] if state.state in ("stale", "damaged") else []
    recorded += [state.status.replace("_", " ")] if state.status not in ("", "ok") else []
    known = [f"{status.replace('_', ' ')}: {reason}"] if status else []
    known += [f"shared by {', '.join(runs)}"] if len(runs) > 1 else []
    return (f" ({', '.join(recorded)})" if recorded else "") + (f" [{'; '.join(known)}]" if known else "")
