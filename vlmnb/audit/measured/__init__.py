"""Rules over measured records, one module for each subject."""
