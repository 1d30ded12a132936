"""FLOPs by formula and by two counters, by part of the model.

Imports models, stats and types, and torch only in ``counters`` and ``meta``; measuring, records, fit and
audit import it. Read ``flop_count.py`` first: its types are what a record has.
"""
