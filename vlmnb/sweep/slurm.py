"""Print a SLURM array script for what is missing: one task per run, each an ordinary sweep of that run."""

from __future__ import annotations

import re
import shlex
import sys

from vlmnb import paths
from vlmnb.errors import one_line
from vlmnb.spec import sweep_file
from vlmnb.sweep import inventory, options
from vlmnb.sweep.inventory import Job, Remeasure

GRACE_S = 60
"""Seconds between SLURM's warning and its kill, in which a sweep stops cleanly."""


def script(asked: options.Asked) -> str:
    """Return the script for ``sbatch``; if nothing is missing, one that does nothing.

    The runs are chosen by what is missing here; on its node, each task measures what is missing there.

    Raises:
        UserError: The sweep file is wrong.
    """
    runs, execution = options.planned(asked)
    found = inventory.jobs(runs, execution.results, execution.runs)
    jobs = [job for job in found if job.needs_work(asked.remeasure)]
    if not jobs:  # still a script, so that a program that submits it does not fail
        message = "nothing is missing; there is no array to submit"
        print(f"vlmnb: {options.named(asked.spec)}: {message}", file=sys.stderr)
        return f"#!/bin/bash\n# {message}\n"
    # One line, because it goes into a comment: a second line would be a command of the script.
    title = sweep_file.load_sweep(options.spec_path(asked.spec)).title
    title = one_line("".join(c if c.isprintable() else " " for c in title))
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "sweep"
    command = asked.model_copy(
        update={
            "spec": options.spec_path(asked.spec).resolve(),
            "results": execution.results, "runs": execution.runs, "only": (), "on": "local",
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
        *(["# Cells on the CPU need a node without other jobs.", "#SBATCH --exclusive"] * alone),
        *([f"#SBATCH --cpus-per-task={asked.threads}"] if asked.threads else []),
        "# With this warning a sweep stops cleanly; it continues when it is requeued.",
        f"#SBATCH --signal=B:TERM@{GRACE_S}",
        "#SBATCH --requeue",
        "#SBATCH --output=slurm-vlmnb-%A-%a.log",
        "",
        f"# {title}: {len(jobs)} runs with something missing. You can submit it again: what is recorded",
        "# is not measured twice. All tasks write to one results folder, which the nodes must share.",
        "runs=(",
        *(f"  {shlex.quote(job.run.name)}  # {_missing(job, asked.remeasure)}" for job in jobs),
        ")",
        f"cd {shlex.quote(str(paths.root()))} || exit 3",
        # bash runs a trap only while it waits, not while a child is in the foreground
        f'{shlex.quote(sys.executable)} -m {command} --only "${{runs[$SLURM_ARRAY_TASK_ID]}}" &',
        "sweep=$!",
        "trap 'kill -TERM $sweep' TERM",
        "wait $sweep",
        "code=$?",
        "if [ $code -gt 128 ]; then wait $sweep; code=$?; fi  # the trap ran: wait until it has stopped",
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def _missing(job: Job, remeasure: Remeasure) -> str:
    count = len(job.wanted(remeasure))
    return f"{count} cells to measure" if count else "its page"
