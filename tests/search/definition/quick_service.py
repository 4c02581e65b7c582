"""The service of the network libraries, which ends almost immediately if nobody asks."""

from harness.search.definition import network_service

if __name__ == "__main__":
    network_service.IDLE_S = 0.2
    network_service.main()
