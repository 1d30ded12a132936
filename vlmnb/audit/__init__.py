"""Check records for contradictions: rules over what was measured, and over what the earlier reports print.

Imports the folders above it in ARCHITECTURE.md, except measure. ``registry.py`` finds every module of
``measured/`` and ``reports/``. Read ``rule.py`` first, then a module of ``measured/`` with its texts, the
YAML file beside it.
"""
