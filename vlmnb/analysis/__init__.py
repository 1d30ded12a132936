"""Numbers computed from records, as small frozen types without any text for pages.

Imports the folders above it in ARCHITECTURE.md, except measure. Read ``rates.py`` first.
"""
