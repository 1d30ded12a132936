"""Records: what measuring a cell gave, their files, the index beside them and their export.

Imports the folders above it in ARCHITECTURE.md. Read ``record.py`` first, then ``resolved.py``.
"""
