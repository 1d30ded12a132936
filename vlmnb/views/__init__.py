"""Tables, figures and sentences of notebooks and pages, made from records and from what analysis returns.

Imports the folders above it in ARCHITECTURE.md, except measure. Every table is a ``Table``; ``show.py``
displays all of them in a notebook. Read ``table.py`` first.
"""
