"""Compare a run of ours with optimum-benchmark: the wall time of four batch sizes of one tiny model.

    make peers                                             # makes .venv-peers, then three rounds in turns
    python benchmarks/peers.py .venv-peers/bin/python --rounds 1

Ours is a papermill run of ``notebooks/batch_size.ipynb`` with the bundled LLaVA at fixed length: pictures,
records, tables and the figure included. optimum-benchmark 0.6.0 cannot be imported with transformers 5, so it
runs in an environment of its own with transformers 4.57. It puts no image tokens into a LLaVA's prompt, so it
times the same decoder on text alone: per batch size one process, eight iterations, latency only. Who begins
alternates. It prints the medians of the rounds and their ratio; the exit status is 1 above the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vlmnb import paths

ROOT = Path(__file__).resolve().parent.parent
BATCH_SIZES = (1, 2, 4, 8)
PROMPT, ITERATIONS, LIMIT = 48, 8, 0.06

CONFIG = """
defaults: [benchmark, scenario: inference, launcher: process, backend: pytorch, _self_]
name: decoder
launcher: {{start_method: spawn}}
backend: {{device: cpu, torch_dtype: float32, model: "{model}", task: text-generation, library: transformers}}
scenario:
  latency: true
  memory: false
  iterations: {iterations}
  duration: 0
  warmup_runs: 1
  input_shapes: {{batch_size: {batch_size}, sequence_length: {prompt}}}
  generate_kwargs: {{max_new_tokens: {new}, min_new_tokens: {new}}}
hydra: {{run: {{dir: "{folder}"}}, job: {{chdir: true}}}}
"""


def main() -> int:
    """Run both in turns, print the ratio, return 1 if it exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", type=Path, help="interpreter of the environment with optimum-benchmark")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory(prefix="vlmnb-peers-") as name:
        folder = Path(name)
        new = decoder(folder / "decoder")
        for number in range(given.rounds):
            for who in ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours"):
                began = time.perf_counter()
                if who == "ours":
                    ours(folder / f"results-{number}", new)
                else:
                    for batch_size in BATCH_SIZES:
                        theirs(given.python.absolute(), folder, batch_size, new)
                seconds[who].append(time.perf_counter() - began)
                print(f"round {number + 1}, {who}: {seconds[who][-1]:.1f} s", file=sys.stderr, flush=True)
    one, other = (statistics.median(seconds[who]) for who in ("ours", "theirs"))
    print(f"ours {one:.1f} s, optimum-benchmark {other:.1f} s, ratio {one / other:.3f} (limit {LIMIT})")
    return int(one / other > LIMIT)


def decoder(folder: Path) -> int:
    """Save the decoder of the bundled LLaVA as a model of its own; return the length of its answers."""
    from transformers import AutoTokenizer, LlamaForCausalLM, LlavaForConditionalGeneration

    from vlmnb import models

    entry = models.get("llava-tiny")
    bundled = paths.bundled_model(entry.name)
    whole = LlavaForConditionalGeneration.from_pretrained(bundled)
    alone = LlamaForCausalLM(whole.config.text_config)
    alone.model.load_state_dict(whole.model.language_model.state_dict())
    alone.lm_head.load_state_dict(whole.lm_head.state_dict())
    alone.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bundled).save_pretrained(folder)
    return int(entry.max_new_tokens)


def ours(results: Path, new: int) -> None:
    """Execute the notebook as a user would by hand."""
    parameters = {"model": "llava-tiny", "length": "fixed", "max_new_tokens": new, "device": "cpu"}
    words = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    words += ["-y", f"{{batch_sizes: {list(BATCH_SIZES)}}}", "-p", "results", str(results)]
    notebook = str(paths.notebook("batch_size"))
    out = str(results.with_suffix(".ipynb"))
    run([sys.executable, "-m", "papermill", notebook, out, "--no-progress-bar", *words], ROOT)


def theirs(python: Path, folder: Path, batch_size: int, new: int) -> None:
    """Run optimum-benchmark for one batch size."""
    text = CONFIG.format(
        model=folder / "decoder", iterations=ITERATIONS, batch_size=batch_size, prompt=PROMPT, new=new,
        folder=folder / "theirs",
    )  # fmt: skip
    (folder / "decoder.yaml").write_text(text)
    command = [str(python.parent / "optimum-benchmark"), "--config-dir", str(folder)]
    run([*command, "--config-name", "decoder"], folder)
    report = json.loads((folder / "theirs" / "benchmark_report.json").read_text())
    assert report["decode" if "decode" in report else "generate"]["latency"]


def run(command: list[str], folder: Path) -> None:
    """Run a command; its error ends the comparison."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout[-1500:]}{done.stderr[-1500:]}")


if __name__ == "__main__":
    sys.exit(main())
