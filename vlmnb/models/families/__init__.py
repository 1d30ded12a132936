"""One file for each family of models; each has an object ``FAMILY`` that implements ``models.family.Family``.

Every file here is found by looking, so adding a family means adding a file. Nothing else in the project names
a family. Files import torch and transformers only within functions.
"""
