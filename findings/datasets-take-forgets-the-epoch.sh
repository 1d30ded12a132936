#!/usr/bin/env bash
# datasets 5.2.0: take() of a shuffled stream returns the first epoch's rows whatever set_epoch was given.
#
# Guess: set_epoch(1) reshuffles, and take(3) gives the first three rows of that order.
# Seen: iterating gives the order of epoch 1, take(3) that of epoch 0.
# Output: take == epoch 0, iteration != epoch 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import os
os.environ["HF_HOME"] = os.path.abspath("home")
from itertools import islice
import pyarrow as pa, pyarrow.parquet as pq
from datasets import load_dataset

pq.write_table(pa.table({"x": list(range(50))}), "rows.parquet")
stream = load_dataset("parquet", data_files="rows.parquet", split="train", streaming=True).shuffle(seed=0, buffer_size=20)
zero = [row["x"] for row in islice(stream, 3)]
stream.set_epoch(1)
taken = [row["x"] for row in stream.take(3)]
walked = [row["x"] for row in islice(stream, 3)]
print(zero, taken, walked)
assert taken == zero != walked
PY
