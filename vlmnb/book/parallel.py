"""Jupyter Book's command, with several processes in which Sphinx reads and writes pages."""

from __future__ import annotations

import functools
from typing import Any

import sphinx_multitoc_numbering
from jupyter_book import sphinx
from jupyter_book.cli import main

from vlmnb.files import cores

MOST = 4
"""Processes that pay: each page goes back to the first one, which puts all together."""


def numbering(set_up: Any, app: Any) -> dict[str, bool]:
    """Load the numbering of several tables of contents, which sphinx_external_toc loads in any case.

    It does not say whether pages may be read in parallel. They may: it works once all are read.
    """
    set_up(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    sphinx_multitoc_numbering.setup = functools.partial(numbering, sphinx_multitoc_numbering.setup)
    sphinx.build_sphinx = functools.partial(sphinx.build_sphinx, jobs=min(MOST, cores.usable()))
    main.main()
