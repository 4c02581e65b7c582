"""The text of `--cluster`, and the resources of nodes."""

import pytest

from harness.core.errors import UserError
from harness.execution.cluster.cluster_settings import parse_cluster, resource_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ray", ("ray", None)),
        ("ray:10.0.0.1:6379", ("ray", "10.0.0.1:6379")),
        ("ray:[fd00::1]:6379", ("ray", "[fd00::1]:6379")),
        ("slurm", ("slurm", None)),
    ],
)
def test_cluster_and_address(text: str, expected: tuple[str, str | None]) -> None:
    assert parse_cluster(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dask", "choose from ray, ray:HOST:PORT, slurm"),
        ("slurm:login1", "unknown cluster"),
        ("ray:10.0.0.1", "must be ray:HOST:PORT"),
        ("ray:host:6379; rm -rf", "must be ray:HOST:PORT"),
        ("ray://head:10001", "Ray Client"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_cluster(text)


@pytest.mark.parametrize(
    ("gpus", "cpus", "text"),
    [(0.5, 4, "0.5 GPU and 4 CPUs"), (0, 1, "1 CPU"), (2, 0, "2 GPUs and 0 CPUs")],
)
def test_text_of_resources(gpus: float, cpus: float, text: str) -> None:
    assert resource_text(gpus, cpus) == text


@pytest.mark.parametrize(
    ("total", "gpus", "cpus", "n_trials"),
    [
        ({"CPU": 8.0}, 0, 2, 4),
        ({"CPU": 8.0}, 1, 2, 0),
        ({"CPU": 8.0, "GPU": 2.0}, 0.5, 1, 4),
        ({"CPU": 3.0, "GPU": 2.0}, 0.5, 1, 3),
        ({"CPU": 8.0, "GPU": 2.0}, 0.6, 1, 2),
        ({"CPU": 8.0, "GPU": 1.0}, 0.1, 1, 8),
        ({}, 0, 1, 0),
    ],
)
def test_number_of_trials_on_a_node(
    total: dict[str, float], gpus: float, cpus: float, n_trials: int
) -> None:
    pytest.importorskip("ray")
    from harness.execution.cluster.ray_cluster import ClusterNode

    assert ClusterNode("id", "host", "10.0.0.2", total).capacity(gpus, cpus) == n_trials
