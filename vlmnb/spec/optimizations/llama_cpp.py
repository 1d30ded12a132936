"""llama.cpp as the engine, with a kind of GGUF quantization: ``llama.cpp-Q4_0``.

Not among the settings that the axis shows by default: the packages are optional (requirements-llama-cpp.txt).
"""

from __future__ import annotations

from functools import partial

from vlmnb.device.machine import versions
from vlmnb.errors import UserError
from vlmnb.spec.optimizations.setting import Setting, installed

PREFIX = "llama.cpp-"

FILE_TYPES = {"F16": 1, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_0": 8, "Q4_K_M": 15, "Q4_0": 2}
"""Kinds with their numbers in llama.cpp (``llama_ftype`` in llama.h)."""


def find(name: str) -> Setting | None:
    """Return the setting of a name such as ``llama.cpp-Q8_0``; None if it is not one of this module.

    Raises:
        UserError: It names a kind that is not known.
    """
    kind = name.removeprefix(PREFIX)
    if kind == name:
        return None
    if kind not in FILE_TYPES:
        raise UserError(f"{name}: llama.cpp's kinds here are {', '.join(FILE_TYPES)}")
    return Setting(
        name=name,
        kind="engine",
        description=f"run by llama.cpp, weights of the language model as GGUF {kind}",
        largest_batch=1,
        stored_as=kind.lower(),
        tools=partial(versions, "cyllama", "gguf"),
        obstacle=_obstacle,
        kernel=lambda own: "llama.cpp's own",
    )


def _obstacle(dtype: str, device: str) -> str:
    if device != "cpu":
        return "llama.cpp is built for the CPU here (package cyllama)"
    lacking = " and ".join(package for package in ("cyllama", "gguf") if not installed(package))
    install = "pip install -r requirements-llama-cpp.txt -c constraints.txt"
    return f"llama.cpp needs {lacking}, not installed here: {install}" if lacking else ""
