"""The service of the network libraries, killed while it answers about one encoder."""

import os
import signal
from typing import Any

from harness.search.definition import network_service
from harness.search.definition.network_checks import LocalNetworks

DEADLY = "deadly"


class DyingNetworks(LocalNetworks):
    def encoder_problem(self, name: Any) -> str | None:
        if name == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encoder_problem(name)


if __name__ == "__main__":
    network_service.LocalNetworks = DyingNetworks  # type: ignore[misc]
    network_service.main()
