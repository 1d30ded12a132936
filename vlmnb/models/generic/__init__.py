"""Any image-text-to-text model of transformers, described by what its own files and modules say.

``family.py`` implements the protocol of a family; ``structure.py`` finds the parts of a loaded model and
``processor.py`` loads its processor without torchvision. Imports what ``models`` may; torch and transformers
only within functions, but for ``processor.py``, which is imported when a processor is loaded.
"""
