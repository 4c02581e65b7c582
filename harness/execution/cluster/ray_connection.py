"""Connection through which a study trains on a Ray cluster."""

from collections.abc import Callable

from harness.execution.cluster.messages import InputSource
from harness.execution.cluster.ray_cluster import RayCluster
from harness.execution.cluster.ray_executor import RayExecutor
from harness.execution.protocol import Executor


class RayConnection(RayCluster):
    """A Ray cluster that this process has joined, and that can train the trials of a study."""

    def open_executor(
        self, inputs: InputSource, *, study_id: str, say: Callable[[str], None]
    ) -> Executor:
        """Open the executor of a study, which closes `inputs` at its end."""
        return RayExecutor(self, inputs, study_id=study_id, say=say)
