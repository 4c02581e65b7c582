"""Guard in front of the page: Host, Origin, tokens, and the headers of every answer.

The page can show images of patients and occupies a GPU. A foreign web page that the user has open
must neither read answers (DNS rebinding: a name of the attacker's that resolves to 127.0.0.1) nor
cause work (cross-site request forgery).
"""

import asyncio
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSRF_HEADER: Final = "x-harness-token"
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FOREIGN: Final = "this request comes from another web page"
_FAILURE_DELAY_S: Final = 0.5  # after a wrong access token
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_LOCKED_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Access token</title>
<link rel="stylesheet" href="/static/app.css"></head><body><main><section><h1>Access token</h1>
<p>{text}</p><form method="get" action="/"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" required>
<button>Open</button></form></section></main></body></html>"""


@dataclass(frozen=True)
class AccessPolicy:
    """Permitted names of the server, and secrets of this process.

    Attributes:
        host: address that the server listens on.
        access_token: token that opens the page; None: nobody but this machine can reach it.
        csrf_token: random, part of the page, and required with every request that has a body.
        session: value of the cookie that stands for the access token.
    """

    host: str
    access_token: str | None = None
    csrf_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def allows_host(self, header: str) -> bool:
        """True if a Host header names this server.

        On all interfaces any IP address does: an attack by DNS needs a name of the attacker's.
        """
        name = host_name(header)
        if name is None:
            return False
        if name in _LOOPBACK_NAMES or name == self.host.lower():
            return True
        if is_loopback(self.host):
            return False
        return _is_address(name) or name in {socket.gethostname().lower(), socket.getfqdn().lower()}


def is_loopback(host: str) -> bool:
    """True for an address that only this machine can reach."""
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def host_name(header: str) -> str | None:
    """Name in a Host header without its port, in small letters; None if it is malformed."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises for a port that is not a number
    except ValueError:
        return None
    if parts.netloc != header or parts.username is not None:
        return None
    return parts.hostname


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class AccessGuard:
    """ASGI middleware that applies an `AccessPolicy`, and never lets a traceback out."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy) -> None:
        self._app, self._policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = await self._refuse(scope, headers)
        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """Answer to a request that goes no further; None if it may."""
        policy = self._policy
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not policy.allows_host(hosts[0]):
            return _error(400, "this address does not belong to this server; open the printed URL")
        # The style of the page that asks for the token is public.
        if policy.access_token is not None and scope["path"] != "/static/app.css":
            refusal = await self._check_access(scope, headers)
            if refusal is not None:
                return refusal
        # A link elsewhere may open the page itself, nothing behind it.
        site = headers.get("sec-fetch-site", "same-origin")
        if site in ("cross-site", "same-site") and scope["path"] != "/":
            return _error(403, _FOREIGN)
        if scope["method"] in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        is_foreign = origin is not None and origin.rpartition("/")[2] != hosts[0]
        if is_foreign or site != "same-origin":
            return _error(403, _FOREIGN)
        if not _equal(headers.get(CSRF_HEADER, ""), policy.csrf_token):
            return _error(403, "this page is older than the server; reload it")
        return None

    async def _check_access(self, scope: Scope, headers: Headers) -> Response | None:
        policy = self._policy
        assert policy.access_token is not None, "checked by the caller"
        cookie = f"harness_app_{(scope.get('server') or ('', 0))[1]}"
        if _equal(_cookies(headers).get(cookie, ""), policy.session):
            return None
        if scope["path"] != "/" or scope["method"] != "GET":
            return _error(401, "the access token is missing; open the printed URL")
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if not tokens:
            return HTMLResponse(_LOCKED_PAGE.format(text="The command printed it."), 401)
        if not _equal(tokens[0], policy.access_token):
            await asyncio.sleep(_FAILURE_DELAY_S)
            return HTMLResponse(_LOCKED_PAGE.format(text="This token is wrong."), 401)
        # Redirected, so that the token stays neither in the address bar nor in a screenshot.
        response = RedirectResponse("/", 303)
        response.set_cookie(cookie, policy.session, httponly=True, samesite="strict")
        return response


def _cookies(headers: Headers) -> Mapping[str, str]:
    pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in pairs}


def _equal(text: str, secret: str) -> bool:
    # Bytes: compare_digest refuses str beyond ASCII.
    return hmac.compare_digest(text.encode(), secret.encode())


def _error(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)
