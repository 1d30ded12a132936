"""Whether a model fits a GPU, and what it would cost there: memory, bounds, predictions, model cards.

Works on the geometry of a checkpoint and on records; needs neither torch nor the weights.
"""
