"""The address of the app: ports, tokens, the printed URL, Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.deploy.app.access import AccessPolicy
from harness.deploy.app.serve import bind_socket, build_policy, printed_url


def test_a_busy_port_is_one_error() -> None:
    with bind_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=f"^--port {port}: in use; .* --port 0"):
            bind_socket("127.0.0.1", port)


def test_a_port_is_free_again_at_once() -> None:
    with bind_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            first.accept()[0].close()
    bind_socket("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_one_error(host: str) -> None:
    with pytest.raises(UserError, match=f"^--host {host}: not an address of this machine"):
        bind_socket(host, 0)


def test_this_machine_needs_no_token() -> None:
    assert build_policy("127.0.0.1", None).access_token is None


def test_other_machines_need_a_token_which_is_generated() -> None:
    first, second = build_policy("0.0.0.0", None), build_policy("0.0.0.0", None)
    assert first.access_token and second.access_token
    assert len(first.access_token) >= 32 and first.access_token != second.access_token
    assert build_policy("0.0.0.0", "x" * 12).access_token == "x" * 12


def test_a_short_token_is_refused() -> None:
    with pytest.raises(UserError, match=r"^--token: 6 characters can be guessed; use 12 or more"):
        build_policy("127.0.0.1", "secret")


def test_secrets_are_new_in_each_process() -> None:
    one, other = AccessPolicy("127.0.0.1"), AccessPolicy("127.0.0.1")
    assert one.csrf_token != other.csrf_token and one.session != other.session


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (AccessPolicy("127.0.0.1"), "http://127.0.0.1:7860/"),
        (AccessPolicy("::1"), "http://[::1]:7860/"),
        (AccessPolicy("gpu", "a b&c"), "http://gpu:7860/?token=a%20b%26c"),
        (AccessPolicy("0.0.0.0", "secret"), f"http://{socket.gethostname()}:7860/?token=secret"),
    ],
)
def test_the_printed_address_can_be_opened(policy: AccessPolicy, url: str) -> None:
    assert printed_url(policy, 7860) == url


SERVE = """
from harness.deploy.app.serve import bind_socket, build_policy, serve
from tests.deploy.app.serving import ChannelModels
serve(ChannelModels(), build_policy("127.0.0.1", None), bind_socket("127.0.0.1", 0), browser=False)
print("ended")
"""


@pytest.mark.slow  # a process that imports torch
def test_ctrl_c_ends_it_cleanly() -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "ended\n")
    assert error == "stop it with Ctrl-C\nstopped\n"
