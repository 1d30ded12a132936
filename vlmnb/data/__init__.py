"""Data sets and prompts: the catalogue, samples from the Hub or from this project, and the text of a prompt.

Imports the folders above it in ARCHITECTURE.md. Read ``catalogue.py`` first.
"""
