"""The machine: what it is, its clock, its GPUs by NVML, the background load, and whose turn it is to measure.

Imports only files and the top modules; torch only within functions. Read ``machine`` first.
"""
