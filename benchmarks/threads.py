"""How threads that wait decide the time of a small model: sleeping, spinning, one thread alone.

    python benchmarks/threads.py            # three rounds, about two minutes
    python benchmarks/threads.py --busy 1   # the same beside one process that never rests

Each round starts one fresh process per choice, in turn, because OpenMP reads its settings when torch is
imported. The process generates eight tokens with the bundled LLaVA at batch sizes 1 and 8. The table
shows the milliseconds of each choice (median of the rounds' medians) and their ratio to those of PyTorch
when nothing is set, which is what a user gets by default.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from vlmnb.device import slots

ROOT = Path(__file__).resolve().parent.parent
CHOICES: dict[str, dict[str, str]] = {
    "nothing set": {},
    "ours (spin briefly)": {slots.SPINS: slots.BRIEF},
    "PASSIVE (sleep)": {slots.POLICY: "PASSIVE"},
    "ACTIVE (spin)": {slots.POLICY: "ACTIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BATCH_SIZES = (1, 8)


def main() -> None:
    """Measure the choices in turn and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0, help="processes that never rest beside it")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps([_milliseconds(batch_size) for batch_size in BATCH_SIZES]))
        return
    beside = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        rounds = [{name: _fresh(set_) for name, set_ in CHOICES.items()} for _ in range(options.rounds)]
    finally:
        for process in beside:
            process.kill()
    print(f"load {os.getloadavg()[0]:.1f}, {options.busy} busy processes beside, {len(rounds)} rounds")
    print(f"{'':22}" + "".join(f"{f'batch {size}, ms':>14}{'ratio':>8}" for size in BATCH_SIZES))
    base, *_ = CHOICES
    for name in CHOICES:
        line = f"{name:22}"
        for place in range(len(BATCH_SIZES)):
            took = statistics.median(one[name][place] for one in rounds)
            ratio = statistics.median(one[name][place] / one[base][place] for one in rounds)
            line += f"{took:14.1f}{ratio:8.2f}"
        print(line)


def _fresh(set_: dict[str, str]) -> list[float]:
    clean = {name: value for name, value in os.environ.items() if name not in slots.TUNING}
    clean.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, __file__, "--once"]
    made = subprocess.run(command, env=clean | set_, cwd=ROOT, capture_output=True, text=True, check=True)
    return [float(one) for one in json.loads(made.stdout.splitlines()[-1])]


def _milliseconds(batch_size: int) -> float:
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(ROOT / "models/llava-tiny").eval()
    tokens = torch.full((batch_size, 100), 5)
    times = []
    with torch.inference_mode():
        for _ in range(18):
            began = time.perf_counter()
            model.generate(input_ids=tokens, max_new_tokens=8, min_new_tokens=8, pad_token_id=0)
            times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[3:])


if __name__ == "__main__":
    main()
