"""Generator, training and evaluation of the bundled tiny checkpoints."""
