"""Optimizations: one module per setting, or per small group of one library; a new module is found by itself.

A module lists its settings in ``SETTINGS``. Everything known of a setting is there, the functions that apply
it to a model included; torch and other libraries are imported only when such a function is called. The rules
by which settings combine are in ``combination``; read ``setting`` first.
"""

from vlmnb.spec.optimizations.combination import (
    BASE_ATTENTION,
    Optimization,
    at_batches,
    base_dtype,
    defaults,
    groups,
    obstacle,
    of,
    packages,
    parse,
    require,
    settings,
    tidied,
)
from vlmnb.spec.optimizations.setting import DTYPES, Setting

__all__ = [
    "BASE_ATTENTION",
    "DTYPES",
    "Optimization",
    "Setting",
    "at_batches",
    "base_dtype",
    "defaults",
    "groups",
    "obstacle",
    "of",
    "packages",
    "parse",
    "require",
    "settings",
    "tidied",
]
