"""Compare with another commit how long random weights take until the first token, and their peak memory.

    python benchmarks/first_token.py 3df0488                        # llava-1.5-7b in bf16 on the CPU, 15 GB
    python benchmarks/first_token.py 3df0488 --model llava-tiny --rounds 3

Each round runs the cells of ``notebooks/batch_size.ipynb`` in a new process with each checkout, up to the end
of the first forward pass that is not on the meta device; who begins alternates. It prints the medians of the
time since the process began and of its peak resident memory beside the bytes of the weights. The exit status
is 1 above a limit: half the time of the other commit, and 1.05 of the weights and what the process held
before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import compare_commits

TIME_LIMIT, MEMORY_LIMIT = 0.5, 1.05

RUN = """
import json, os, resource, sys, time
import nbformat, torch
from IPython.core.interactiveshell import InteractiveShell

began = float(sys.argv[1])
parameters, notebook = json.loads(sys.argv[2]), sys.argv[3]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def after(module, *_):
    if not hasattr(module, "generation_config"):
        return
    weights = list(module.parameters())
    if any(one.device.type == "meta" for one in weights):
        return
    size = sum(one.numel() * one.element_size() for one in weights)
    print(json.dumps({"seconds": time.time() - began, "peak": peak(), "before": before, "weights": size}))
    sys.stdout.flush()
    os._exit(0)

import transformers
before = peak()
torch.nn.modules.module.register_module_forward_hook(after)
shell = InteractiveShell.instance()
for cell in nbformat.read(notebook, 4).cells:
    if cell.cell_type != "code":
        continue
    shell.run_cell(cell.source).raise_error()
    if "parameters" in cell.metadata.get("tags", []):
        shell.push(parameters)
sys.exit("no forward pass was seen")
"""


def main() -> int:
    """Run in turns, print the comparison, return 1 above a limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--model", default="llava-1.5-7b")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"base": [], "here": []}
    with compare_commits.checkout(given.base) as base:
        for number in range(given.rounds):
            for name in ("base", "here") if number % 2 == 0 else ("here", "base"):
                found[name].append(token(base if name == "base" else compare_commits.ROOT, given.model))
                print(f"round {number + 1}, {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    medians = {
        name: {what: statistics.median(one[what] for one in each) for what in each[0]}
        for name, each in found.items()
    }
    return show(given, medians)


def token(project: Path, model: str) -> dict[str, float]:
    """Return seconds until the first token and bytes of memory, with the code of a checkout."""
    with tempfile.TemporaryDirectory(prefix="vlmnb-token-") as folder:
        parameters = {
            "model": model, "weights": "random", "optimization": "bf16", "device": "cpu", "length": "fixed",
            "dataset": "textvqa-mini", "batch_sizes": [1], "samples": 1, "max_new_tokens": 1,
            "results": f"{folder}/results",
        }  # fmt: skip
        notebook = project / "notebooks" / "batch_size.ipynb"
        own = {"PYTHONPATH": str(project), "XDG_CACHE_HOME": f"{folder}/cache", "PYTHONDONTWRITEBYTECODE": ""}
        script = "import sys, time; sys.argv[1:1] = [repr(time.time())]\n" + RUN
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(parameters), str(notebook)],
            cwd=project, env=os.environ | own, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"{project}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def show(given: argparse.Namespace, medians: dict[str, dict[str, float]]) -> int:
    """Print medians and ratios, and return 1 above a limit."""
    base, here = medians["base"], medians["here"]
    print(f"{given.model}, {given.rounds} rounds in turns; load now {os.getloadavg()[0]:.1f}\n")
    print(f"{'':34} {given.base[:10]:>10} {'here':>10} {'ratio':>7}")
    ratio = here["seconds"] / base["seconds"]
    print(f"{'until the first token, s':34} {base['seconds']:10.2f} {here['seconds']:10.2f} {ratio:7.3f}")
    for what, shown in (("weights", "weights, GB"), ("before", "memory before, GB"), ("peak", "peak, GB")):
        print(f"{shown:34} {base[what] / 1e9:10.3f} {here[what] / 1e9:10.3f} {here[what] / base[what]:7.3f}")
    most = {name: one["peak"] / (one["weights"] + one["before"]) for name, one in medians.items()}
    print(f"{'peak over weights and before':34} {most['base']:10.3f} {most['here']:10.3f}")
    return int(ratio > TIME_LIMIT or most["here"] > MEMORY_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
