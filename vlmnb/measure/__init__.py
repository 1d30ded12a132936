"""Measure cells: turn each into a record. Only this folder loads models and runs them.

It may import every folder below it, up to ``records``; of the rest only ``experiment`` imports it, within the
function that a notebook calls. Begin with ``cells``, then ``protocol``.
"""
