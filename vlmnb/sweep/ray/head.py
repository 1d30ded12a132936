"""Check without Ray whether the head of a Ray cluster is alive.

Ray's own calls wait for a lost head for a minute (RAY_gcs_rpc_server_reconnect_timeout_s); then Ray ends the
process without saying how to continue. Standard library only.
"""

from __future__ import annotations

import socket
import time

ASK_S = 1.0
"""The head is asked at most this often."""

PATIENCE_S = 30.0
"""The head may be away this long."""


class Head:
    """The head of a cluster.

    Attributes:
        answers: Whether it answered last time.
    """

    def __init__(self, address: str) -> None:
        """Assume that it is alive.

        Args:
            address: Host and port of its control service.
        """
        host, _, port = address.rpartition(":")
        self._address, self._where = (host.strip("[]"), int(port)), address
        self._answered_at = self._asked_at = time.monotonic()
        self.answers = True

    def look(self) -> None:
        """Ask whether it is alive, once a second at most.

        Raises:
            ConnectionError: It has been away for too long.
        """
        if time.monotonic() - self._asked_at < ASK_S:
            return
        try:
            socket.create_connection(self._address, timeout=5).close()
            self.answers = True
        except OSError:
            self.answers = False
        self._asked_at = time.monotonic()
        if self.answers:
            self._answered_at = self._asked_at
        if self._asked_at - self._answered_at > PATIENCE_S:
            raise ConnectionError(
                f"the head of the Ray cluster, {self._where}, has not answered for {PATIENCE_S:.0f} s"
            )
