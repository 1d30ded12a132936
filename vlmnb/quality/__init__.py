"""Scores of answers: word error rate, accuracy and caption metrics, and what guessing would score.

Imports the folders above it in ARCHITECTURE.md. Measuring stores ``metrics.py`` of each answer, readers
compute ``scores.py`` from them. Read ``metrics.py`` first.
"""
