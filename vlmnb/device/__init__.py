"""The machine: what it is, its clock, its GPUs by NVML, the background load, and whose turn it is to measure.

Imports the folders above it in ARCHITECTURE.md; torch within functions. Read ``machine.py`` first.
"""
