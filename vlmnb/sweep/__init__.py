"""Run sweeps: plan them, execute their notebooks in processes of their own, survive what goes wrong.

Imports the folders above it in ARCHITECTURE.md, except measure and experiment. A user's mistake is a
`UserError`, raised before anything has changed. Read ``scheduler.py`` first: what happens to runs and why.
"""
