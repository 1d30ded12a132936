"""Compare with another commit how long notebooks of a sweep take until their first cell is measured.

    python benchmarks/notebook_start.py 3df0488 --rounds 3

A sweep from nothing of notebooks with one cell each, once with each checkout in every round; who begins
alternates. A notebook's start runs from the moment the one before has written its page until its own record
is written: the process is up, the package imported, the model loaded, the cell measured, its timed window
included. The start of the first is left out, as a sweep begins with it. It prints the medians and their
ratio, with and without the timed windows; the exit status is 1 above the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import compare_commits

LIMIT = 0.3
SPEC = """
title: Starts
models: [llava-tiny, qwen2.5-vl-tiny, fuyu-tiny]
parameters: {samples: 16, batch_sizes: [8], length: fixed, device: cpu}
axes:
  batch_size: {}
"""


class Start(NamedTuple):
    """Seconds until a notebook's first cell was measured, and those of its timed window."""

    start_s: float
    window_s: float


def main() -> int:
    """Sweep in turns, print the comparison, return 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[Start]] = {"base": [], "here": []}
    with compare_commits.checkout(given.base) as base, tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "starts.yaml"
        spec.write_text(SPEC)
        for number in range(given.rounds):
            for name in ("base", "here") if number % 2 == 0 else ("here", "base"):
                found[name] += starts(base if name == "base" else compare_commits.ROOT, spec)
    return show(given.base, found)


def starts(project: Path, spec: Path) -> list[Start]:
    """Sweep from nothing with the code of a checkout; return the starts of all notebooks but one."""
    with tempfile.TemporaryDirectory(prefix="vlmnb-starts-") as name:
        folder = Path(name)
        compare_commits.swept_into(folder, project, spec)
        pages = sorted(path.stat().st_mtime for path in folder.glob("runs/**/*.ipynb"))
        records = sorted(folder.glob("results/*/*/[!.]*.json"), key=lambda path: path.stat().st_mtime)
        return [
            Start(path.stat().st_mtime - before, json.loads(path.read_text())["timing"]["loop_s"])
            for before, path in zip(pages, records[1:], strict=False)
        ]


def show(base: str, found: dict[str, list[Start]]) -> int:
    """Print medians and ratios, and return 1 above the limit."""
    print(f"{len(found['here'])} starts in turns; load now {os.getloadavg()[0]:.1f}\n")
    print(f"{'':30} {base[:10]:>10} {'here':>10} {'ratio':>7}")
    ratios = []
    for what, windows in (("start, s", 1), ("without the timed window, s", 0)):
        one, other = (
            statistics.median(each.start_s - (0 if windows else each.window_s) for each in found[name])
            for name in ("base", "here")
        )
        ratios.append(other / one)
        print(f"{what:30} {one:10.2f} {other:10.2f} {ratios[-1]:7.3f}")
    return int(ratios[0] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
