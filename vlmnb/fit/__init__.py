"""Does a model fit a GPU, and what would it cost there: memory, lower bounds, predictions, model cards.

Imports the folders above it in ARCHITECTURE.md, except measure. Read ``answer.py`` first: it puts everything
together. The words of pages and answers are in ``templates/``.
"""
