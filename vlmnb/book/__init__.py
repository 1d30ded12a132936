"""The book: pages made of executed notebooks and records, and the built site.

Imports the folders above it in ARCHITECTURE.md, except measure and experiment. Read ``build.py`` first: it
collects everything (``collect.py``, ``content.py``), renders the generated pages (one file each in
``pages/``, their texts in ``templates/``) and calls Jupyter Book.
"""
