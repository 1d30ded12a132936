"""Does a model fit a GPU, and what would it cost there: memory, lower bounds, predictions, model cards.

Works on configurations and records, without torch and weights. Imports models, flops, records and views;
audit, sweep, book and the command line import it. Read ``answer.py`` first: it puts everything together. The
words of pages and answers are in ``templates``.
"""
