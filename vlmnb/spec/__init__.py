"""What is asked for: cells, runs, sweeps, axes, and the optimizations that cells combine.

Imports the folders above it in ARCHITECTURE.md; torch and transformers within functions of ``optimizations``.
Read ``cell.py`` first, then ``axes.py`` and ``planning.py``.
"""
