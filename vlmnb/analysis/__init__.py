"""Numbers computed from records, as small frozen types without any text for pages.

Imports records, quality, spec and stats; views, audit and book import it. Read ``rates.py`` first.
"""
