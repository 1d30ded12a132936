"""Meters around timed work: energy by hardware counters or codecarbon's model, memory, and their readings.

Imports device and models; measuring uses it, and records carry its types. Read ``window`` first, then
``energy`` and ``counters``.
"""
