"""The machine: what it is, its clock, its GPUs by NVML, the background load, and the lock of who measures.

Imports the folders above it in ARCHITECTURE.md; torch within functions. Read ``machine.py`` first.
"""
