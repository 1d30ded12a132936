from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Checkout, processes_of


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A project of its own; processes that a failed test left are killed."""
    yield Checkout(tmp_path)
    for pid in processes_of(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
