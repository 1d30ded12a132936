"""Import, in a process that Jupyter kernels are forked from, what measuring any cell imports.

It runs no tensor work, and no thread is left: pandas is left out, because pyarrow starts one. The processor's
name, which takes a second to find, is found meanwhile. codecarbon initializes NVML, which is undone.
"""

from __future__ import annotations

import importlib

from vlmnb.device import nvml
from vlmnb.measure import cells, loading
from vlmnb.meters import codecarbon_model

MODULES = (
    "transformers.modeling_utils", "transformers.generation.utils", "transformers.processing_utils",
    "transformers.models.auto.processing_auto",
    "codecarbon.core.resource_tracker", "codecarbon.core.emissions", "fvcore.nn",
)  # fmt: skip

assert cells
with codecarbon_model.naming_the_cpu():
    loading.prepare()
    for name in MODULES:
        importlib.import_module(name)
nvml.forget()
