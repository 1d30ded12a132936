"""Which modules a piece of code, or a command of ours, loads in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

HEAVY = frozenset({"torch", "transformers", "pandas", "matplotlib", "papermill"})
"""What takes so long to load that a command cannot answer at once."""

_COMMAND = """
import sys
sys.argv = ["vlmnb", *sys.argv[1:]]
from vlmnb.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code in {codes}, stop.code
"""


def by_code(code: str, *arguments: str, cwd: Path, among: Collection[str] = HEAVY) -> set[str]:
    """Those of the modules ``among`` that are loaded once the code has run."""
    told = f"{code}\nimport sys; print(); print(*sorted({set(among)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def by_command(
    *arguments: str, cwd: Path, exit_codes: Collection[int | None] = (0, None), among: Collection[str] = HEAVY
) -> set[str]:
    """Those of the modules that ``vlmnb`` has loaded when it ends, with one of the exit codes."""
    return by_code(_COMMAND.format(codes=tuple(exit_codes)), *arguments, cwd=cwd, among=among)
