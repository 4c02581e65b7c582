"""Run the app on an address until Ctrl-C."""

import contextlib
import errno
import secrets
import socket
import sys
import webbrowser
from urllib.parse import quote

import uvicorn

from harness.core.errors import UserError
from harness.deploy.app.access import AccessPolicy, is_loopback
from harness.deploy.app.routes import build_app
from harness.deploy.app.served_model import ModelCollection

MIN_TOKEN_CHARACTERS = 12
_MAX_CONNECTIONS = 64
_GRACE_S = 5


def build_policy(host: str, token: str | None) -> AccessPolicy:
    """Policy of an address: beyond this machine a token is required, and generated if not given.

    Raises:
        UserError: a token that can be guessed.
    """
    if token is not None and len(token) < MIN_TOKEN_CHARACTERS:
        raise UserError(
            f"--token: {len(token)} characters can be guessed; use {MIN_TOKEN_CHARACTERS} or more, "
            "or leave it out: one is generated"
        )
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    return AccessPolicy(host, token)


def bind_socket(host: str, port: int) -> socket.socket:
    """Listening socket; port 0 takes a free one.

    Raises:
        UserError: the port is in use, or the address is not one of this machine.
    """
    foreign = f"--host {host}: not an address of this machine"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"{foreign} ({error.strerror})") from None
    try:
        # Without it a port stays blocked for a minute after its last connection.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Already here, so that a browser that is opened early waits instead of failing.
        bound.listen()
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--port {port}: in use; give another one, or --port 0 for a free one"
            ) from None
        if error.errno == errno.EACCES:
            raise UserError(f"--port {port}: not permitted; use 1024 or more") from None
        raise UserError(f"{foreign} ({error.strerror})") from None
    return bound


def printed_url(policy: AccessPolicy, port: int) -> str:
    """Address to open, with the access token if there is one."""
    everywhere = policy.host in ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
    name = socket.gethostname() if everywhere else policy.host
    name = f"[{name}]" if ":" in name else name
    query = "" if policy.access_token is None else f"?token={quote(policy.access_token)}"
    return f"http://{name}:{port}/{query}"


def build_server(models: ModelCollection, policy: AccessPolicy) -> uvicorn.Server:
    """Server of the app; `run` and `serve` listen on the socket that they are given."""
    return uvicorn.Server(
        uvicorn.Config(
            build_app(models, policy),
            lifespan="off",
            ws="none",
            access_log=False,  # addresses may hold the access token
            log_level="critical",  # errors are one line each, written where they are answered
            server_header=False,
            # Headers of a proxy would let a client choose its own address.
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )


def serve(
    models: ModelCollection, policy: AccessPolicy, bound: socket.socket, *, browser: bool
) -> None:
    """Serve until Ctrl-C; prints the address on standard output.

    Args:
        browser: open the address in the browser.
    """
    url = printed_url(policy, bound.getsockname()[1])
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    sys.stderr.write("stop it with Ctrl-C\n")
    if browser:
        webbrowser.open(url)
    with contextlib.suppress(KeyboardInterrupt):
        # uvicorn ends its connections on Ctrl-C and then raises the signal again.
        build_server(models, policy).run(sockets=[bound])
    sys.stderr.write("stopped\n")
