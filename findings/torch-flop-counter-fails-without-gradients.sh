#!/usr/bin/env bash
# torch 2.13.0: FlopCounterMode fails under no_grad where a module is given a view of a parameter.
#
# Guess: without gradients it counts what it counts with them. Perceivers (Idefics2's) hand expanded learned queries to
# a module, so such models cannot be counted as they are evaluated.
# Seen: an AssertionError on gradients, because a view made under no_grad still says that it requires them; with
# requires_grad off for the parameters it counts the same FLOPs as with gradients.
# Output: with gradients 192, under no_grad AssertionError, without requires_grad 192
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Queries(nn.Module):
    def __init__(self):
        super().__init__()
        self.learned, self.layer = nn.Parameter(torch.zeros(3, 4)), nn.Linear(4, 4)

    def forward(self):
        return self.layer(self.learned.expand(2, 3, 4))


def count(model):
    try:
        with FlopCounterMode(display=False) as counter:
            model()
        return counter.get_total_flops()
    except Exception as error:
        return type(error).__name__


model = Queries()
graded = count(model)
with torch.no_grad():
    bare, frozen = count(model), count(model.requires_grad_(False))
print(f"with gradients {graded}, under no_grad {bare}, without requires_grad {frozen}")
assert (graded, bare, frozen) == (192, "AssertionError", 192)
PY
