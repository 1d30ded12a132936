"""Check records for contradictions: rules over what was measured, and over what the earlier reports print.

The rules import records, analysis, views and fit; only ``book`` and ``cli`` import the rules. Read ``rule``
first, then any module of ``measured`` with the texts of its findings, the YAML file beside it. ``registry``
finds a module added to ``measured`` or ``reports``.
"""
