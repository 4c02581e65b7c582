"""Facts about this machine, and the comparison of versions."""

import os
import socket

import pytest

from harness.core.processors import available_processors
from harness.execution.cluster.node_facts import (
    SOURCE,
    NodeFactsError,
    collect_node_facts,
    own_versions,
    version_differences,
)


def test_other_versions_are_named_and_builds_are_not() -> None:
    own = {"torch": "2.15.0+cpu", "timm": "1.0.31", SOURCE: "aa", "optuna": "5.0.0"}
    node = {"torch": "2.15.0+cu130", "timm": "1.0.30", SOURCE: "bb", "optuna": "4.0.0"}
    assert version_differences(node, own) == [
        "harness source bb instead of aa",
        "timm 1.0.30 instead of 1.0.31",
    ]
    assert version_differences({}, {"torch": "2.15.0"}) == ["torch absent instead of 2.15.0"]
    assert version_differences(own_versions(), own_versions()) == []


def test_installed_version_does_not_matter_where_the_source_is_the_same() -> None:
    """Of a node to which the package was sent."""
    own = {"segmentation-harness": "0.1.0", SOURCE: "aa"}
    assert version_differences({SOURCE: "aa"}, own) == []
    assert version_differences({"segmentation-harness": "0.0.9", SOURCE: "aa"}, own) == []
    assert version_differences({"segmentation-harness": "0.0.9", SOURCE: "bb"}, own) == [
        "segmentation-harness 0.0.9 instead of 0.1.0",
        "harness source bb instead of aa",
    ]
    del own[SOURCE]
    assert version_differences({}, own) == ["segmentation-harness absent instead of 0.1.0"]


def test_facts_of_this_machine() -> None:
    facts = collect_node_facts("cpu", {"CUDA_VISIBLE_DEVICES": ""})
    assert (facts.host, facts.devices, facts.pid) == (socket.gethostname(), ("cpu",), os.getpid())
    assert facts.precision in ("bf16", "fp32") and facts.versions == own_versions()
    assert facts.memory > 2**27 and facts.cpus == available_processors()


def test_absent_device_is_an_error_with_the_host() -> None:
    with pytest.raises(NodeFactsError, match=f"node {socket.gethostname()}: .*cuda:99"):
        collect_node_facts("cuda:99")
