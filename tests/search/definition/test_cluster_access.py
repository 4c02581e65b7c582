"""Options of a cluster that contradict one another."""

import subprocess
import sys
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.search.definition.cluster_access import open_cluster
from harness.search.definition.options import ComputeOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus_per_trial": 0.5}, "--gpus-per-trial: needs --cluster"),
        ({"scratch": "s3://b"}, "--scratch: needs --cluster"),
        ({"ship_code": True}, "--ship-code: needs --cluster"),
        ({"workers": "max"}, "--workers max: needs --cluster"),
        ({"cluster": "ray", "gpus": "0"}, "--gpus 0: chooses devices of this machine"),
        ({"cluster": "ray", "device": "cuda"}, "--device cuda: chooses devices"),
        ({"cluster": "ray", "gpus_per_trial": 2.0}, "--gpus-per-trial 2: must be 0, a part"),
        ({"cluster": "ray", "gpus_per_trial": 0.001}, "--gpus-per-trial 0.001: must be 0"),
        ({"cluster": "dask"}, "choose from ray"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_cluster(ComputeOptions(**options), print)


def test_no_cluster_means_no_ray() -> None:
    assert open_cluster(ComputeOptions(workers=2), print) is None
    code = "import sys, harness.search.run.launch; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
