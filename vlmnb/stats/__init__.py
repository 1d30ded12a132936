"""Statistics and numbers as text: intervals, comparison of two samples, batches that count, formatting.

Imports what stands above it in ARCHITECTURE.md. Read ``intervals.py`` first.
"""
