"""Meters around timed work: energy by hardware counters or codecarbon's model, memory, and their readings.

Imports the folders above it in ARCHITECTURE.md; torch within functions. Read ``window.py`` first, then
``energy.py`` and ``counters/``.
"""
