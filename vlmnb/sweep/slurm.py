"""Print a SLURM array script for what is missing: one task per run, each an ordinary sweep of that run."""

from __future__ import annotations

import re
import shlex
import sys

from vlmnb import paths
from vlmnb.errors import one_line
from vlmnb.files import templates
from vlmnb.spec import sweep_file
from vlmnb.sweep import inventory, options

GRACE_S = 60
"""Seconds between SLURM's warning and its kill, in which a sweep stops cleanly."""


def script(asked: options.Asked) -> str:
    """Return the script for ``sbatch``; if nothing is missing, one that does nothing.

    The runs are chosen by what is missing here; on its node, each task measures what is missing there.
    """
    runs, execution = options.planned(asked)
    found = inventory.jobs(runs, execution.results, execution.runs)
    jobs = [job for job in found if job.needs_work(asked.remeasure)]
    if not jobs:  # still a script, so that a program that submits it does not fail
        message = "nothing is missing; there is no array to submit"
        print(f"vlmnb: {options.named(asked.spec)}: {message}", file=sys.stderr)
        return f"#!/bin/bash\n# {message}\n"
    spec = options.spec_path(asked.spec).resolve()
    # One line, because it goes into a comment: a second line would be a command of the script.
    title = one_line("".join(c if c.isprintable() else " " for c in sweep_file.load_sweep(spec).title))
    others = tuple(options.spec_path(other).resolve() for other in asked.others)
    task = {"spec": spec, "others": others, "results": execution.results, "runs": execution.runs, "only": ()}
    return templates.render(
        "vlmnb.sweep",
        "slurm.sh.j2",
        title=title,
        name=re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "sweep",
        jobs={job.run.name: len(job.wanted(asked.remeasure)) for job in jobs},
        devices={state.cell.device for job in jobs for state in job.cells},
        threads=asked.threads,
        grace_s=GRACE_S,
        command=asked.model_copy(update=task).command,
        root=str(paths.root()),
        python=sys.executable,
        quote=shlex.quote,
    )
