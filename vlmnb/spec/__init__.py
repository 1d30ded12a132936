"""What is asked for: cells, runs, sweeps, axes, and the optimizations that cells combine.

Imports models, data and device, never what measures or reads records; every later folder may import it. Read
``cell`` first, then ``axes`` and ``planning``.
"""
