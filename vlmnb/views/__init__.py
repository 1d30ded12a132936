"""Tables, figures and sentences of notebooks and pages, made from records and from what analysis returns.

Every table is a ``table.Table`` that ``html.py`` renders; ``show.py`` displays all of them in a notebook.
Imports analysis and what is below it; experiment, fit, audit and book import it. Read ``table.py`` first.
"""
