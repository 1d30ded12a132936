"""Sweeps on a Ray cluster of three nodes, all on this machine, two of them with a GPU that is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import PROJECT, Checkout, wait_for

ray = pytest.importorskip("ray", reason="needs Ray: make test-ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    settings = {
        "RAY_USAGE_STATS_ENABLED": "0", "VLMNB_ROOT": str(checkout.root), "PYTHONPATH": str(PROJECT),
        "VLMNB_LOCKS": str(checkout.root),
        "RAY_AUTH_MODE": "disabled", "RAY_agent_register_timeout_ms": "240000",
        "RAY_worker_register_timeout_seconds": "240",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    made.gpu_nodes = [made.add_node(num_cpus=2, num_gpus=1) for _ in range(2)]
    made.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def test_runs_go_to_gpu_nodes_and_their_records_come_back(checkout: Checkout, cluster: Any) -> None:
    models = ["llava-tiny", "fuyu-tiny", "qwen2.5-vl-tiny"]
    checkout.spec(models, [1, 2, 3], "cuda")
    checkout.sweep("--on", "ray")
    assert len(checkout.statuses()) == 9
    assert {status for status, _ in checkout.statuses().values()} == {"ok"}
    assert {device for _, device, _ in checkout.log()} == {"0"}, (
        "each run has the one GPU of its node, none the node without"
    )
    assert all(checkout.page(model).exists() for model in models)
    again = checkout.sweep("--on", "ray", "--json")
    assert '"measured": 0' in again.stdout
    assert '"runs_executed": 0' in again.stdout


def test_a_lost_node_costs_only_the_cell_it_was_measuring(checkout: Checkout, cluster: Any) -> None:
    checkout.spec(["llava-tiny", "fuyu-tiny"], [1, 2, 3], "cuda")
    checkout.behave({2: "wait"})
    sweep = checkout.start("--on", "ray")
    wait_for(lambda: len(checkout.statuses()) >= 2 and checkout.measured().count(2) == 2)
    cluster.remove_node(cluster.gpu_nodes[0], allow_graceful=False)
    (checkout.root / "go").touch()
    out, said = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, out + said
    assert "lost" in out
    assert len(checkout.statuses()) == 6
    assert checkout.measured().count(1) == 2, "what the lost node had sent was not measured again"


def test_a_lost_head_ends_the_sweep_with_the_command_to_continue(checkout: Checkout, cluster: Any) -> None:
    checkout.spec(["llava-tiny"], [1, 2, 3], "cuda")
    sweep = checkout.at_work("--on", "ray")
    wait_for(lambda: len(checkout.statuses()) == 1)
    cluster.head_node.kill_gcs_server()
    out, said = sweep.communicate(timeout=300)
    assert sweep.returncode == 3, out + said
    assert "the head of the Ray cluster" in said
    assert "continue with: vlmnb sweep sweeps/fake.yaml --on ray" in said
    assert len(checkout.statuses()) == 1


def test_without_a_cluster_the_error_shows_how_to_start_one(checkout: Checkout) -> None:
    os.environ.pop("RAY_ADDRESS", None)
    done = checkout.sweep("--on", "ray", code=2)
    assert "ray start --head" in done.stderr
    assert "Traceback" not in done.stderr
