"""The book: pages made of executed notebooks and records, and the built site.

Read ``build`` first: it collects everything (``collect``, ``content``), renders the generated pages (one file
each in ``pages``, their texts in ``templates``) and calls Jupyter Book. The book may import everything that
reads records; only the command line imports the book.
"""
