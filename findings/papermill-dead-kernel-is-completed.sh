#!/usr/bin/env bash
# papermill 2.7.0: when the Jupyter kernel ends in the middle, the notebook on disk says that every cell completed.
#
# Guess: the cell at work is marked failed, those behind it pending, and the metadata hold an exception.
# Seen: the command exits with 138, but all cells have status "completed", those that never ran too, the
# notebook has an end time, and its exception is None. Only execution_count None tells which cells never ran.
# Output: exit code 138, statuses completed completed completed, exception None, counts 1 None None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check papermill==2.7.0 ipykernel==7.4.0 nbformat==5.11.1
cd "$work"
"$work/env/bin/python" - <<'PY'
import subprocess, sys
import nbformat

notebook = nbformat.v4.new_notebook()
notebook.cells = [nbformat.v4.new_code_cell(s) for s in ("1", "import os; os._exit(0)", "2")]
notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(notebook, "in.ipynb")
done = subprocess.run([sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb"], capture_output=True)
out = nbformat.read("out.ipynb", 4)
status = [cell.metadata.papermill.status for cell in out.cells]
counts = [cell.execution_count for cell in out.cells]
print(done.returncode, status, out.metadata.papermill.exception, counts)
assert done.returncode == 138
assert status == ["completed"] * 3
assert out.metadata.papermill.exception is None
assert counts[0] == 1 and counts[2] is None
PY
