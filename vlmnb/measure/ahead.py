"""Import, in a process that Jupyter kernels are forked from, what measuring any cell imports.

It runs no tensor work and starts no thread: pandas is left out, because pyarrow starts one.
"""

from __future__ import annotations

import importlib

from vlmnb.measure import cells, loading

MODULES = (
    "transformers.modeling_utils", "transformers.generation.utils", "transformers.processing_utils",
    "transformers.models.auto.processing_auto",
    "codecarbon.core.resource_tracker", "codecarbon.core.emissions",
)  # fmt: skip

assert cells
loading.prepare()
for name in MODULES:
    importlib.import_module(name)
