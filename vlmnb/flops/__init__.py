"""FLOPs by formula and by two counters, by part of the model.

Imports the folders above it in ARCHITECTURE.md; torch in ``counters.py`` and ``meta.py``. Read
``flop_count.py`` first: its types are what a record has.
"""
