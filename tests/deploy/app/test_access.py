"""Only this server's own page gets answers: Host, Origin, tokens, headers."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.deploy.app.access import AccessPolicy, host_name, is_loopback
from tests.data.make import encode, picture
from tests.deploy.app.serving import ChannelModels, RunningApp, running_app

PICTURE = encode(".png", picture(1))


@pytest.fixture(scope="module")
def app() -> Iterator[RunningApp]:
    with running_app(ChannelModels()) as running:
        yield running


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:7860", "localhost"),
        ("LOCALHOST", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:7860", "::1"),
        ("evil.example", "evil.example"),
        ("", None),
        ("a:b", None),
        ("user@localhost", None),
        ("localhost/x", None),
        ("localhost:99999", None),
        ("[::1", None),
    ],
)
def test_host_names_are_read_without_port(header: str, name: str | None) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("host", "header", "is_allowed"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "localhost:9000", True),  # through a forwarded port
        ("127.0.0.1", "192.168.1.5:7860", False),
        ("127.0.0.1", "evil.example:7860", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("0.0.0.0", "192.168.1.5:7860", True),
        ("0.0.0.0", "evil.example", False),
        ("192.168.1.5", "192.168.1.5", True),
        ("gpu.lab.example", "gpu.lab.example:7860", True),
        ("gpu.lab.example", "other.lab.example", False),
    ],
)
def test_only_names_of_this_server_are_allowed(host: str, header: str, is_allowed: bool) -> None:
    assert AccessPolicy(host).allows_host(header) is is_allowed


def test_loopback_is_known() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "::1", "localhost", "127.0.0.2"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.5", "gpu.lab.example"]))


@pytest.mark.parametrize(
    "header", ["evil.example", "evil.example:80", "", "localhost@evil.example"]
)
def test_a_rebound_name_gets_no_answer(app: RunningApp, header: str) -> None:
    for method, path in [("GET", "/"), ("GET", "/api/samples/0"), ("POST", "/api/predict?model=a")]:
        answer = app.request(method, path, headers={"Host": header})
        assert (answer.status, app.policy.csrf_token.encode() in answer.body) == (400, False)
        assert "does not belong" in answer.error


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({"x-harness-token": None}, "reload it"),
        ({"x-harness-token": "guessed"}, "reload it"),
        ({"x-harness-token": "ä"}, "reload it"),
        ({"Origin": "http://evil.example"}, "another web page"),
        ({"Origin": "null"}, "another web page"),
        ({"Origin": "http://127.0.0.1:1"}, "another web page"),
        ({"Sec-Fetch-Site": "cross-site"}, "another web page"),
        ({"Sec-Fetch-Site": "same-site"}, "another web page"),
    ],
)
def test_a_forged_request_is_refused(
    app: RunningApp, headers: dict[str, str | None], sentence: str
) -> None:
    for path in (
        "/api/predict?model=a",
        "/api/batch?model=a&index=0",
        "/api/mask?height=1&width=1",
    ):
        answer = app.request("POST", f"/api/{path}", PICTURE, headers)
        assert answer.status == 403 and sentence in answer.error


def test_the_pages_own_request_is_answered(app: RunningApp) -> None:
    headers = {"Origin": f"http://127.0.0.1:{app.port}", "Sec-Fetch-Site": "same-origin"}
    assert app.settings()["token"] == app.policy.csrf_token
    assert app.request("POST", "/api/predict?model=a", PICTURE, headers).status == 200


def test_other_pages_cannot_embed_pictures_of_the_study(app: RunningApp) -> None:
    answer = app.request("GET", "/api/samples/0", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/static/app.js"), ("GET", "/nothing"), ("POST", "/api/predict")],
)
def test_every_answer_has_the_headers(app: RunningApp, method: str, path: str) -> None:
    headers = app.request(method, path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';") and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


TOKEN = "a secret of many letters"


@pytest.fixture(scope="module")
def locked() -> Iterator[RunningApp]:
    with running_app(ChannelModels(), AccessPolicy("127.0.0.1", TOKEN)) as running:
        yield running


def test_without_the_token_nothing_is_told(locked: RunningApp) -> None:
    for method, path in [("GET", "/api/samples/0"), ("POST", "/api/predict?model=a")]:
        assert locked.request(method, path, PICTURE).status == 401
    page = locked.request("GET", "/")
    assert page.status == 401 and b"<form" in page.body and b"polyps" not in page.body
    assert locked.policy.csrf_token.encode() not in page.body


def test_a_wrong_token_costs_time(locked: RunningApp) -> None:
    started = time.monotonic()
    assert locked.request("GET", "/?token=wrong").status == 401
    assert time.monotonic() - started > 0.4


def test_the_token_becomes_a_cookie_that_opens_the_page(locked: RunningApp) -> None:
    answer = locked.request("GET", f"/?token={TOKEN.replace(' ', '+')}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and TOKEN not in cookie
    headers: dict[str, Any] = {"Cookie": cookie.split(";")[0]}
    assert b"polyps" in locked.request("GET", "/", headers=headers).body
    assert locked.request("POST", "/api/predict?model=a", PICTURE, headers).status == 200
    headers = {"Cookie": cookie.split("=")[0] + "=guessed"}
    assert locked.request("GET", "/", headers=headers).status == 401
