"""Warm parents of a sweep, and Jupyter kernels that are forked from them (see ``fork_server.py``)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmnb.device.gpus import HIP, VISIBLE
from vlmnb.files import temporary

SWITCH = "VLMNB_WARM"
"""Set to ``0`` to start each notebook's Jupyter kernel anew."""

LAUNCHER = "ipykernel_launcher"
"""The module that a Jupyter kernel's command names; other kernels are not forked."""

MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "vlmnb.experiment",
    "vlmnb.measure.ahead",
)
"""What a warm parent imports. This process imports none of it."""

NO_GPU = {VISIBLE: "", HIP: "", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""What a warm parent has in its environment, and no kernel: it must not initialize CUDA, which no fork of it
could use then. torchao asks for the GPU's generation when transformers imports it. With these variables
torch answers that there is no GPU, without asking the driver (torch's notes on multiprocessing)."""


class Parents:
    """The warm parents of one sweep: one for each environment that its runs have."""

    def __init__(self) -> None:
        """Start none yet."""
        self._started: dict[str, tuple[temporary.Scratch, subprocess.Popen[bytes]]] = {}

    def of(self, environment: Mapping[str, str]) -> str:
        """Return the socket of the parent of runs that have this environment in common; empty without one.

        It is started if there is none. OpenMP, torch and others read the environment when they are imported.
        """
        if sys.platform != "linux" or environment.get(SWITCH) == "0":
            return ""
        key = json.dumps(sorted(environment.items()))
        with contextlib.suppress(OSError):
            if key not in self._started or self._started[key][1].poll() is not None:
                self._end(key)
                self._started[key] = _start(environment)
            return str(self._started[key][0].path / "s")
        return ""

    def close(self) -> None:
        """End all of them; Jupyter kernels that still run have guards and go on."""
        for key in list(self._started):
            self._end(key)

    def _end(self, key: str) -> None:
        folder, process = self._started.pop(key, (None, None))
        if process and folder:
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            folder.remove()


def _start(environment: Mapping[str, str]) -> tuple[temporary.Scratch, subprocess.Popen[bytes]]:
    folder = temporary.Scratch(temporary.SOCKETS, temporary.short())
    command = [sys.executable, "-m", "vlmnb.sweep.fork_server", str(folder.path / "s"), *MODULES]
    with (folder.path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**environment, **NO_GPU},
            start_new_session=True,
        )  # fmt: skip
    return folder, process


class ForkedKernel:
    """A Jupyter kernel forked from a warm parent, with the methods of ``Popen`` that jupyter_client calls."""

    stdin = stdout = stderr = None

    def __init__(self, place: str, arguments: list[str], environment: Mapping[str, str], folder: str) -> None:
        """Ask the warm parent at a socket for a kernel with the streams of this process.

        Raises:
            OSError: It cannot serve.
        """
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._answers = b""
        self._connect(place)
        request = {"arguments": arguments, "environment": dict(environment), "folder": folder}
        socket.send_fds(self._connection, [b"!"], [1, 2])
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        answer = self._answer()
        if answer is None:
            raise ConnectionError("the warm parent ended")
        self.pid, self.guard = int(answer["pid"]), str(answer["guard"])
        self._connection.setblocking(False)

    def _connect(self, place: str) -> None:
        """Connect; a parent that has just been started makes its socket in a moment."""
        until = time.monotonic() + 30
        while True:
            try:
                return self._connection.connect(place)
            except FileNotFoundError:
                if not Path(place).parent.is_dir() or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def _answer(self) -> dict[str, Any] | None:
        """Return the next line of the guard; None if there is none and never will be."""
        while b"\n" not in self._answers:
            try:
                more = self._connection.recv(4096)
            except ConnectionError:
                more = b""
            if not more:
                return None
            self._answers += more
        line, _, self._answers = self._answers.partition(b"\n")
        return dict(json.loads(line))

    def poll(self) -> int | None:
        """Return the exit code, or None while the kernel runs; a guard that was killed took it along."""
        if self.returncode is None:
            with contextlib.suppress(BlockingIOError):
                ended = self._answer()
                self.returncode = -signal.SIGKILL if ended is None else int(ended["code"])
        return self.returncode

    def wait(self) -> int:
        """Wait for the kernel's end and return its exit code."""
        while self.poll() is None:
            time.sleep(0.02)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the kernel."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self.send_signal(signal.SIGTERM)
