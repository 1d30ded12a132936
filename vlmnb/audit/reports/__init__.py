"""Rules over the figures that the earlier reports print, one module for each subject."""
