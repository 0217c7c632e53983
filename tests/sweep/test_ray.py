"""A sweep on Ray: two nodes on this machine share its runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdar_cli.sweep.plan import Request, make_plan
from sdar_cli.sweep.state import SweepDir

from .conftest import CHILD, Sweep, behave, results, starts

WORDS = ("beta", "--values", "1,5", "--seeds", "1", "--steps", "1", "--name", "s", "--executor", "ray")


def test_without_the_package_the_command_that_installs_it_is_shown(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = sweep(*WORDS)
    assert refused.code == 3 and "pip install 'sdar[ray]'" in refused.err
    assert not Path("sweeps").exists()


@pytest.fixture
def cluster(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A head and a second node of one CPU each, whose workers find the quick training."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_two_nodes_share_the_runs_and_failed_ones_are_tried_again(sweep: Sweep, cluster: None) -> None:
    import ray

    behave(gate_beta_1_s0="fail-once", gate_beta_5_s0="slow")
    done = sweep(*WORDS)
    assert done.code == 0, done.err + done.out
    assert "2 at a time on 2 Ray nodes, each with 1 CPU" in done.out
    assert sorted(starts()) == [
        "gate-beta-1-s0 new", "gate-beta-1-s0 resumed", "gate-beta-5-s0 new", "untrained new",
    ]  # fmt: skip
    assert results("s")["unfinished"] == {}
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2


@pytest.mark.slow
def test_ctrl_c_lets_the_runs_of_the_cluster_save(sweep: Sweep, cluster: None) -> None:
    behave(gate_beta_1_s0="hang", gate_beta_5_s0="hang")

    def press() -> None:
        runs = [Path("sweeps/s/runs", name, "metrics.jsonl") for name in ("gate-beta-1-s0", "gate-beta-5-s0")]
        while not all(path.exists() and path.read_text() for path in runs):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    assert sweep(*WORDS).code == 130
    state = SweepDir.open("s")
    assert [state.state(job) for job in state.jobs] == ["done", "interrupted", "interrupted"]
    behave()
    assert sweep("--resume", "s", "--executor", "ray").code == 0
    assert len(make_plan(Request("beta", values="1,5", seeds=1)).jobs) == len(state.jobs) == 3
    assert CHILD.is_dir() and starts().count("gate-beta-1-s0 resumed") == 1
