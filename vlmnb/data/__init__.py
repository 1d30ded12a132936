"""Data sets and prompts: the catalogue, samples from the Hub or from this project, and the text of a prompt.

Imports only files and the top modules; ``spec`` and measuring use it. Read ``catalogue`` first.
"""
