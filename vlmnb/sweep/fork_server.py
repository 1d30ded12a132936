"""The warm parent: a process that has imported what notebooks need, and forks a Jupyter kernel on request.

It has run no tensor work and started no thread of its own, and it is the parent only of runs with the
environment that it was started with. For each request it forks a guard, and the guard forks the kernel:

    sweep -> supervisor -> papermill  ~socket~  guard -> Jupyter kernel
      +----> warm parent ---------------fork-----+

The guard adopts whatever the kernel leaves behind. It kills all of it once papermill closes the socket, which
the system does however papermill ends. A kernel that dies, a guard or a warm parent that is killed cost no
other run anything.

The kernel gets its own copy of each page of memory before it begins, so that it shares nothing that can be
written with the parent and its memory is that of a process that imported everything itself. What kernels of
one parent do share: the seed of Python's hashes, and where libraries lie in memory.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib
import json
import logging
import mmap
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

import psutil

from vlmnb.sweep import supervisor, warm

POPULATE_READ, POPULATE_WRITE = 22, 23
"""Advice of madvise(2), Linux 5.14: map pages, and give the process its own copy of them."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""<sys/prctl.h>"""


def main(place: str, modules: list[str]) -> int:
    """Serve requests on a socket until standard input closes; in a forked kernel, be the kernel.

    Raises:
        OSError: This system (gVisor, for one) cannot give a fork its own memory or tell when it ends. That is
            found before anything is imported, so that an ordinary kernel starts at once.
    """
    Memory()
    os.close(os.pidfd_open(os.getpid()))
    server = socket.socket(socket.AF_UNIX)
    server.bind(place)
    server.listen(16)
    gc.disable()
    for name in modules:
        importlib.import_module(name)
    gc.enable()
    gc.collect()
    gc.freeze()
    request = _serve(server, Memory())
    return 0 if request is None else _kernel(request)


def _serve(server: socket.socket, memory: Memory) -> dict[str, Any] | None:
    """Fork a guard for each connection; return the request in the kernel that a guard forks."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    guards: set[int] = set()
    while True:
        ready = select.select([server, sys.stdin, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _reap(guards)
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 1):
            return None
        if server in ready:
            connection, _ = server.accept()
            if pid := os.fork():
                guards.add(pid)
                connection.close()
                continue
            for inherited in (server, woken, waker):
                os.close(inherited if isinstance(inherited, int) else inherited.detach())
            signal.set_wakeup_fd(-1)
            return _guard(connection, memory, libc)


def _reap(guards: set[int]) -> None:
    """Note which guards have ended, and kill what a killed one left, which this process has adopted."""
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            guards.discard(pid)
    for child in psutil.Process().children():
        if child.pid not in guards:
            with contextlib.suppress(psutil.Error):
                child.kill()


def _guard(connection: socket.socket, memory: Memory, libc: Any) -> dict[str, Any]:
    """Fork the kernel, report its end, and leave nothing behind; return the request in the kernel."""
    if (torch := sys.modules.get("torch")) and torch.cuda._is_in_bad_fork():
        os._exit(1)  # a library has initialized CUDA in the parent all the same: an ordinary kernel starts
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    _, streams, _, _ = socket.recv_fds(connection, 1, 2)
    with connection.makefile() as lines:
        request: dict[str, Any] = json.loads(lines.readline())
    me = os.getpid()
    pid = os.fork()
    if not pid:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        connection.close()
        memory.make_own()
        return request | {"streams": streams, "guard": me}
    try:
        for stream in (*streams, sys.stdin.fileno()):
            os.close(stream)
        _say(connection, pid=pid, guard=supervisor.mark_of(me))
        ended = os.pidfd_open(pid)
        watched: list[Any] = [connection, ended]
        while connection not in (ready := select.select(watched, [], [])[0]):  # it closes; nothing else comes
            if ended in ready:
                _say(connection, code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                watched.remove(ended)
    finally:
        supervisor.end_all()
        os._exit(0)


def _say(connection: socket.socket, **what: Any) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(what).encode() + b"\n")


def _kernel(request: dict[str, Any]) -> NoReturn:
    """Become the kernel of a request: with its environment, folder and streams, in a session of its own."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    empty = os.open(os.devnull, os.O_RDONLY)
    for mine, given in enumerate((empty, *request["streams"])):
        os.dup2(given, mine)
        os.close(given)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"] or ".")
    logging.captureWarnings(False)
    from ipykernel import kernelapp

    # The parent was imported without this variable, which says whose end ends the kernel.
    arguments = [*request["arguments"], f"--IPKernelApp.parent_handle={request['guard']}"]
    sys.argv = [warm.LAUNCHER, *arguments]
    kernelapp.launch_new_instance(argv=arguments)
    sys.exit(0)


class Memory:
    """The pages of memory that this process has; after a fork, `make_own` gives the child the same."""

    def __init__(self) -> None:
        """Find the pages that are present, as runs of neighbours."""
        self._runs: list[tuple[int, int, int]] = []
        page = mmap.PAGESIZE
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            for line in Path("/proc/self/maps").read_text().splitlines():
                where, allowed, *_ = line.split()
                first, end = (int(each, 16) // page for each in where.split("-"))
                if "[v" in line or "r" not in allowed:
                    continue
                how = POPULATE_WRITE if allowed.startswith("rw") and allowed.endswith("p") else POPULATE_READ
                entries = array.array("Q", os.pread(pagemap.fileno(), 8 * (end - first), 8 * first))
                self._add(first, entries, how)
        self._libc = ctypes.CDLL(None, use_errno=True)
        start, size, _ = self._runs[0]
        if self._libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), POPULATE_READ):
            raise OSError(ctypes.get_errno(), "this system cannot give a process its own memory (madvise)")

    def _add(self, first: int, entries: array.array[int], how: int) -> None:
        began = None
        for number, entry in enumerate((*entries, 0), start=first):
            present = entry >> 63
            if present and began is None:
                began = number
            elif not present and began is not None:
                self._runs.append((began * mmap.PAGESIZE, (number - began) * mmap.PAGESIZE, how))
                began = None

    def make_own(self) -> None:
        """Map all these pages, and copy those that can be written; a mapping that is gone is left out."""
        for start, size, how in self._runs:
            self._libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), how)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
