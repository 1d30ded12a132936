"""Scores of answers: word error rate, accuracy and caption metrics, and what guessing would score.

Imports stats and data; measuring stores ``metrics`` of each answer, and readers compute ``scores`` from them.
Read ``metrics`` first.
"""
