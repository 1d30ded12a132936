#!/usr/bin/env bash
# torch 2.13.0: counting the FLOPs of a compiled module before its first call turns torch.compile off for good.
#
# Guess: FlopCounterMode runs that call eagerly (or refuses), and the next plain call compiles as usual.
# Seen: after one call under FlopCounterMode the module never compiles again, nor does any other module whose
# forward is the same code, without a message, until torch._dynamo.reset(). A benchmark that counts first and
# times later times eager code under the name of compiled code.
# Output: graphs after plain calls of both modules 0; after a reset 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from torch.utils.flop_counter import FlopCounterMode

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 64)
    def forward(self, x):
        return torch.nn.functional.gelu(self.layer(x))

def graphs(): return torch._dynamo.utils.counters["stats"]["unique_graphs"]

x = torch.randn(8, 64)
one, other = (torch.compile(Net(), backend="aot_eager") for _ in range(2))
with FlopCounterMode(display=False) as counter:
    one(x)
assert counter.get_total_flops() == 2 * 8 * 64 * 64
one(x); other(x)
before = graphs()
torch._dynamo.reset()
one(x)
print("graphs after counting:", before, "after a reset:", graphs())
assert before == 0 and graphs() == 1
PY
