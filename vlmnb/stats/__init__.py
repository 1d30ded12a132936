"""Statistics and numbers as text: intervals, comparison of two samples, batches that count, formatting.

Imports the folders above it in ARCHITECTURE.md. Read ``intervals.py`` first.
"""
