from __future__ import annotations

from pathlib import Path

import bookmaking
import pytest


@pytest.fixture(scope="session")
def site() -> Path:
    """A built book of synthetic input."""
    return bookmaking.built()
