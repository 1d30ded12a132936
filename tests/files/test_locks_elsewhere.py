"""A file system without locks, such as NFS without lockd: one line, and a way on."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest

from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.files import locks
from vlmnb.sweep import heartbeat


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP])
def no_locks(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a file system without locks."""
    folder, own = tmp_path / "nfs", fcntl.lockf

    def refuse(file: int, *how: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").startswith(str(folder)):
            raise OSError(request.param, os.strerror(request.param))
        own(file, *how)

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.delenv(locks.LOCKS, raising=False)
    return folder


def test_a_file_system_without_locks_is_named_with_what_to_do(
    no_locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for named in (no_locks / "results", no_locks):
        with pytest.raises(UserError) as told:
            locks.Locks(no_locks / "results" / ".cells.lock")
        assert f" {named} " in str(told.value)
        assert locks.LOCKS in str(told.value)
        monkeypatch.setenv(locks.LOCKS, str(no_locks))  # no help either, and then it is what is named


def test_locks_of_such_folders_can_lie_in_a_folder_of_their_own(
    no_locks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(locks.LOCKS, str(tmp_path / "local"))
    paths = (no_locks / "results" / ".cells.lock", no_locks / "other" / ".cells.lock", tmp_path / "here")
    opened = [locks.Locks(path) for path in paths]
    assert all(one.take("a cell") for one in opened)
    assert len(list((tmp_path / "local").iterdir())) == 2, "one for each of the two that cannot lock"


def test_what_needs_no_lock_goes_on(no_locks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_of_everybody", lambda folder: False)
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(no_locks.parent))
    assert slots._locks.__wrapped__().take("cpu")
    last = heartbeat.SweepProgress(
        spec="s", command="c", pid=os.getpid(), host=socket.gethostname(), began_at="", elapsed_s=0, total=1,
        done=0, measured=0, failed=0, threads=1,
    )  # fmt: skip
    file = no_locks / heartbeat.FOLDER / "host-1.json"
    file.parent.mkdir(parents=True)
    file.write_text(last.model_dump_json())
    assert heartbeat.read_all(no_locks) == [(last, True)]
