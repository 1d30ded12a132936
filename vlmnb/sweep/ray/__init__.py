"""Sweeps on a Ray cluster: `cluster` is the driver, `node` runs on the nodes.

Imported only for ``--on ray``; imports from `sweep` and below.
"""
