from __future__ import annotations

import atexit
import gc
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlmnb import paths

if sys.dont_write_bytecode:
    # To compile what is imported, in each process, takes longer than most tests. Kept apart from the code.
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(paths.bytecode())
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import settings

# How long an example takes is the machine's business.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Read when torch is first imported: threads that spin while waiting stall each other on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

# No test pulls the plug, after which alone it matters.
os.fsync = lambda file: None


# Looking through what the imports make for garbage takes seconds, in any test.
gc.disable()


def pytest_configure(config: pytest.Config) -> None:
    """Measure for a short time, in all processes at once: only long tests assert how long anything takes."""
    if config.option.markexpr != "long":
        short = Path(__file__).parent / "helpers" / "short"
        runpy.run_path(str(short / "sitecustomize.py"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(short), os.environ.get("PYTHONPATH")]))
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        folder = tempfile.mkdtemp(prefix=f"vlmnb-locks-{worker}-")
        os.environ["VLMNB_LOCKS"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


MODELS = ("tests/models", "tests/measure", "tests/flops", "tests/training", "tests/fit")
"""Folders of tests that need torch."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together, in one process, tests of a file, those that kill and clean up, those of one book."""
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

    class ByFile(LoadScopeScheduling):
        def _assign_work_unit(self, node: WorkerController) -> None:
            """Give one process what runs models, others what drives and shows: each imports less."""

            def heavy(scope: str) -> bool:
                return scope.startswith(MODELS)

            of_models = node.gateway.id == "gw0"
            scopes = self.workqueue.items()
            first, _ = max(scopes, key=lambda unit: (heavy(unit[0]) == of_models, len(unit[1])))
            self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)

        def _split_scope(self, nodeid: str) -> str:
            together = {"tests/sweep/": "sweeps", "tests/test_end_to_end": "sweeps", "tests/book/": "book"}
            found = (group for begin, group in together.items() if nodeid.startswith(begin))
            return next(found, nodeid.partition("::")[0])

    return ByFile(config, log)


def pytest_collection_finish() -> None:
    """Leave what the imports made to itself, and look for garbage less often than Python does."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Give each test the environment as it was, which a sweep with --threads sets, and no open figure."""
    before = dict(os.environ)
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module", autouse=True)
def _one_browser() -> Iterator[None]:
    """Let the tests of a file share a Chromium, where they start one."""
    yield
    if browser := sys.modules.get("browser"):
        browser.closed()


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent
