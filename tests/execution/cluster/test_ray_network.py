"""Clusters that are open to strangers, and what listens where."""

import signal
import subprocess
from pathlib import Path

import pytest

from harness.core.errors import UserError
from tests.execution.cluster.machines import RayMachines, ray_machines, reason_to_skip

pytest.importorskip("ray")
from harness.execution.cluster import ray_network

SKIP_REASON = reason_to_skip()
on_cluster = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(SKIP_REASON is not None, reason=str(SKIP_REASON)),
]
HOST = "10.9.9.1"
JOIN = """
import sys
from harness.core.errors import UserError
from harness.execution.cluster.cluster_settings import ClusterSettings
from harness.execution.cluster.ray_cluster import RayCluster
settings = ClusterSettings("ray", sys.argv[1], trusted_network=sys.argv[2] == "trusted")
try:
    RayCluster(settings, print).close()
except UserError as error:
    print("refused:", error)
else:
    print("joined")
"""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *(("10.0.0.1", False), ("0.0.0.0", False), ("fd00::1", False), ("no.such.host.", False)),
    ],
)
def test_loopback(address: str, expected: bool) -> None:
    assert ray_network.is_loopback(address) == expected


def test_loopback_needs_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_network, "refuses_strangers", lambda address: False)
    ray_network.refuse_open_network("127.0.0.1:6379", ["127.0.0.1", "127.0.0.1"])
    with pytest.raises(UserError, match=r"listens on 10\.0\.0\.2 without a token"):
        ray_network.refuse_open_network("127.0.0.1:6379", ["127.0.0.1", "10.0.0.2"])
    monkeypatch.setattr(ray_network, "refuses_strangers", lambda address: True)
    ray_network.refuse_open_network("10.0.0.1:6379", ["10.0.0.2"])


def test_handler_of_sigterm_survives() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ray_network.kept_signal_handlers():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before


def _ports(machines: RayMachines) -> set[str]:
    """Addresses and ports on which something listens."""
    command = ["ip", "netns", "exec", machines.namespace, "ss", "-ltnH"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.split()[3] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("token", [False, True], ids=["open", "token"])
@pytest.mark.smoke
def test_cluster_beyond_loopback_needs_a_token_or_trust(tmp_path: Path, token: bool) -> None:
    environment = {}
    if token:
        (tmp_path / "token").write_text("0123456789abcdef" * 2, encoding="ascii")
        (tmp_path / "token").chmod(0o600)
        environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    with ray_machines(tmp_path / "far", host=HOST, **environment) as machines:
        before = _ports(machines)
        strict = machines.python(JOIN, f"{HOST}:6379", "strict")
        trusting = machines.python(JOIN, f"{HOST}:6379", "trusted")
        assert _ports(machines) == before, "nothing of ours opens a port"
    assert "joined" in trusting
    if token:
        assert "joined" in strict and "refused" not in strict
    else:
        assert f"refused: --cluster: the Ray cluster at {HOST}:6379 listens on {HOST}" in strict


test_cluster_beyond_loopback_needs_a_token_or_trust.pytestmark += on_cluster  # type: ignore[attr-defined]
