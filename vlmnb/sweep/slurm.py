"""A SLURM array script over what is missing: one task per run, each an ordinary sweep of that run alone."""

from __future__ import annotations

import re
import shlex
import sys

from vlmnb import paths
from vlmnb.spec import sweep_file
from vlmnb.sweep import inventory, options
from vlmnb.sweep.inventory import Job

GRACE_S = 60
"""Seconds between SLURM's warning and its kill, in which a sweep stops cleanly."""


def script(asked: options.Asked) -> str:
    """The script, for ``sbatch``; one that does nothing where nothing is missing.

    Which cells are missing is seen from here; on its node, each task measures what is missing there.

    Raises:
        UserError: The sweep file is wrong.
    """
    runs, setting = options.planned(asked)
    wish = asked.wish
    jobs = [
        job
        for job in inventory.jobs(runs, setting.results, setting.runs)
        if job.page != "current" or job.wanted(stale=wish.stale, retry_failed=wish.retry_failed)
    ]
    if not jobs:  # a script all the same, so that what submits it does not fail
        said = "nothing is missing; there is no array to submit"
        print(f"vlmnb: {options.named(asked.spec)}: {said}", file=sys.stderr)
        return f"#!/bin/bash\n# {said}\n"
    title = _one_line(sweep_file.load_sweep(options.spec_path(asked.spec)).title)
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "sweep"
    command = asked.model_copy(
        update={
            "spec": options.spec_path(asked.spec).resolve(),
            "results": setting.results, "runs": setting.runs, "only": (), "on": "local",
            "threads": asked.threads,
        }
    ).command  # fmt: skip
    gpu = any(state.cell.device == "cuda" for job in jobs for state in job.cells)
    # One task per run. A run that measures on the CPU needs its node to itself.
    alone = any(state.cell.device == "cpu" for job in jobs for state in job.cells)
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name=vlmnb-{name}",
        f"#SBATCH --array=0-{len(jobs) - 1}",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        *(["#SBATCH --gres=gpu:1"] * gpu),
        *(["# Cells on the CPU are measured on a node without neighbours.", "#SBATCH --exclusive"] * alone),
        *([f"#SBATCH --cpus-per-task={asked.threads}"] if asked.threads else []),
        "# A sweep that is told in time stops cleanly, and goes on when it is requeued.",
        f"#SBATCH --signal=B:TERM@{GRACE_S}",
        "#SBATCH --requeue",
        "#SBATCH --output=slurm-vlmnb-%A-%a.log",
        "",
        f"# {title}: {len(jobs)} runs with something missing. It may be submitted again: what is recorded",
        "# is not measured twice. All tasks write to one results folder, which the nodes must share.",
        "runs=(",
        *(f"  {shlex.quote(job.run.name)}  # {_missing(job, asked)}" for job in jobs),
        ")",
        f"cd {shlex.quote(str(paths.root()))} || exit 3",
        # bash hands a signal on to a child that it waits for, not to one in the foreground
        f'{shlex.quote(sys.executable)} -m {command} --only "${{runs[$SLURM_ARRAY_TASK_ID]}}" &',
        "sweep=$!",
        "trap 'kill -TERM $sweep' TERM",
        "wait $sweep",
        "code=$?",
        "if [ $code -gt 128 ]; then wait $sweep; code=$?; fi  # the trap ran: wait until it has stopped",
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def _one_line(title: str) -> str:
    """A title as a comment can hold it: what follows a line break would be a command of the script."""
    return " ".join("".join(c if c.isprintable() else " " for c in title).split())


def _missing(job: Job, asked: options.Asked) -> str:
    count = len(job.wanted(stale=asked.stale, retry_failed=asked.retry_failed))
    return f"{count} cells to measure" if count else "its page"
