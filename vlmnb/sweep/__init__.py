"""Run sweeps: plan them, execute their notebooks in processes of their own, survive what goes wrong.

May import everything up to `experiment` except what measures (no torch, no `measure`); `book` and `cli`
import from here. Start with `scheduler`, which says what happens to each run and why.
"""
