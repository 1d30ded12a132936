"""What vision-language models cost to run: measure cells into records, and read records into pages.

``errors``, ``types`` and ``paths`` are for every folder. Notebooks use ``experiment``, users ``cli``. The
table in ARCHITECTURE.md orders the folders, and import-linter checks it.
"""
