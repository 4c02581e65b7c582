"""Guards of the driver of a Ray cluster: no cluster open to strangers, and our signal handlers."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from harness.core.errors import UserError

_STATUS = ("-m", "ray.scripts.scripts", "status", "--address")  # `ray status`, of this interpreter
_STRANGER_TIMEOUT_S = 60.0
# Variables by which a process identifies itself to a cluster.
_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")


def refuse_open_network(address: str, node_addresses: Sequence[str]) -> None:
    """Refuse a cluster on which any machine of the network may run code (CVE-2023-48022).

    Args:
        address: of its head, HOST:PORT.
        node_addresses: on which its nodes listen.

    Raises:
        UserError: a node listens beyond loopback, and the head needs no token.
    """
    open_addresses = [node for node in node_addresses if not is_loopback(node)]
    if not open_addresses or refuses_strangers(address):
        return
    raise UserError(
        f"--cluster: the Ray cluster at {address} listens on {open_addresses[0]} without a token, "
        "so everyone who reaches that address can run code on all nodes; start it with "
        "RAY_AUTH_MODE=token (see ray get-auth-token --generate), or give --trusted-network if "
        "nobody else can reach it"
    )


def refuses_strangers(address: str) -> bool:
    """True if `ray status` without a token is turned away.

    It is tried, as the mode of this process proves nothing: a cluster without authentication
    accepts a driver that has a token.
    """
    environment = {name: text for name, text in os.environ.items() if name not in _TOKEN_VARIABLES}
    with suppress(subprocess.TimeoutExpired):
        process = subprocess.run(
            [sys.executable, *_STATUS, address],
            env=environment | {"RAY_AUTH_MODE": "disabled"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_STRANGER_TIMEOUT_S,
            check=False,
        )
        return process.returncode != 0 and "authenticat" in process.stderr.lower()
    return False


def is_loopback(address: str) -> bool:
    """True if an address, or a name that stands for it, is of this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        with suppress(OSError):
            return ipaddress.ip_address(socket.gethostbyname(address)).is_loopback
    return False


@contextmanager
def kept_signal_handlers() -> Iterator[None]:
    """Put our handler back: ray.init replaces that of SIGTERM, which would end the study."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # getsignal gives None for a handler that C code installed; it cannot be set again.
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
