"""What vision-language models cost to run: measure cells into records, and read records into pages.

``errors``, ``paths`` and ``types`` are for every folder. Notebooks use ``experiment``, users ``cli``. Each
folder's docstring says what it may import; import-linter checks the order of the folders.
"""
