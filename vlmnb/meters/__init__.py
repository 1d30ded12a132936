"""Meters around timed work: energy by hardware counters or codecarbon's model, memory, and their readings.

Imports what stands above it in ARCHITECTURE.md; torch within functions. Read ``window.py`` first, then
``energy.py`` and ``counters/``.
"""
