"""Statistics and numbers as text: intervals, comparison of two samples, batches that count, formatting.

Imports nothing of the package but ``types``; every folder may import it. Read ``intervals`` first.
"""
