"""The generated pages: each file collects the data of one page, whose text is in ``book/templates``."""
