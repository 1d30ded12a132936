#!/usr/bin/env bash
# datasets 5.2.0: a local Parquet file that was replaced is served from the cache if its modification time is equal.
#
# Guess: the cache is keyed by the content, or at least by size and time, so other rows are noticed.
# Seen: only the time counts. After the file was rewritten with other values and given its old time (rsync -t,
# cp -p and images with fixed times do so), load_dataset returns the old rows without a word.
# Output: first [1, 2, 3]; after the exchange again [1, 2, 3]; with another time [7, 8, 9]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import os
os.environ["HF_HOME"] = os.path.abspath("home")
import pyarrow as pa, pyarrow.parquet as pq
from datasets import load_dataset, disable_progress_bars

disable_progress_bars()
def write(values): pq.write_table(pa.table({"x": values}), "rows.parquet")
def load(): return load_dataset("parquet", data_files="rows.parquet", split="train")["x"][:]

write([1, 2, 3]); first, old = list(load()), os.stat("rows.parquet")
write([7, 8, 9]); os.utime("rows.parquet", ns=(old.st_atime_ns, old.st_mtime_ns)); again = list(load())
os.utime("rows.parquet"); later = list(load())
print(first, again, later)
assert (first, again, later) == ([1, 2, 3], [1, 2, 3], [7, 8, 9])
PY
