"""Whether the head of a Ray cluster is still there."""

from __future__ import annotations

import socket

import pytest

from vlmnb.sweep.ray import cluster


def test_a_silent_head_counts_as_lost_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])

    def look_at(seconds: float) -> bool:
        now[0] = seconds
        head.look()
        return head.answers

    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        head = cluster.Head(f"127.0.0.1:{port}")
        assert look_at(10.0)
    assert not look_at(20.0)
    with socket.create_server(("127.0.0.1", port)):
        assert look_at(35.0)
    assert not look_at(50.0)
    with pytest.raises(ConnectionError, match=f"head of the Ray cluster, 127.0.0.1:{port}, has not answered"):
        look_at(100.0)
