"""Measure cells: turn each into a record. Only this folder loads models and runs them.

Imports the folders above it in ARCHITECTURE.md, torch and transformers; only ``experiment`` imports it,
within the function that a notebook calls. Read ``cells.py`` first, then ``protocol.py``.
"""
