"""Check without Ray whether the head of a Ray cluster is alive.

Ray's own calls wait for a lost head for a minute (RAY_gcs_rpc_server_reconnect_timeout_s); then Ray ends the
process without saying how to continue. Standard library only.
"""

from __future__ import annotations

import contextlib
import socket
import time

ASK_S = 1.0
"""The head is asked at most this often."""

PATIENCE_S = 30.0
"""The head may be away this long."""


class Head:
    """The head of a cluster, by host and port of its control service; assumed to be alive at first."""

    def __init__(self, address: str) -> None:
        """Ask nothing yet."""
        self._address = address
        self._answered_at = self._asked_at = time.monotonic()

    @property
    def answers(self) -> bool:
        """Return whether it answered last time."""
        return self._answered_at == self._asked_at

    @property
    def lost(self) -> bool:
        """Return whether it has been away for too long."""
        return self._asked_at - self._answered_at > PATIENCE_S

    def look(self) -> None:
        """Ask whether it is alive, once a second at most.

        Raises:
            ConnectionError: It has been away for too long.
        """
        if time.monotonic() - self._asked_at < ASK_S:
            return
        self._asked_at = time.monotonic()
        host, _, port = self._address.rpartition(":")
        with contextlib.suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            self._answered_at = self._asked_at
        if self.lost:
            raise ConnectionError(
                f"the head of the Ray cluster, {self._address}, has not answered for {PATIENCE_S:.0f} s"
            )
