"""Predictions over HTTP: right values, limits, one sentence for every error, nothing kept."""

import http.client
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.files.decide import decide_mask
from harness.deploy.app import prediction_queue
from harness.deploy.app.frames import SCALE
from harness.deploy.app.limits import MAX_UPLOAD_BYTES, MAX_VALUES, MAX_WAITING
from harness.deploy.app.served_model import SampleImage
from tests.data.make import encode
from tests.deploy.app.serving import (
    BINARY,
    MULTICLASS,
    MULTILABEL,
    Answer,
    ChannelModels,
    RunningApp,
    channel_probabilities,
    refuse,
    rule_of,
    running_app,
)
from tests.deploy.hostile_files import HostileFile, uploads

IMAGE = np.random.default_rng(0).integers(0, 256, (19, 31, 3), np.uint8)
PICTURE = encode(".png", IMAGE)
TRUTH = (IMAGE[..., 1] > 127).astype(np.uint8)


@pytest.fixture(scope="module")
def app() -> Iterator[RunningApp]:
    with running_app(ChannelModels(samples=[SampleImage(IMAGE, TRUTH)])) as running:
        yield running


def test_a_prediction_holds_image_and_probabilities(app: RunningApp) -> None:
    meta, arrays = app.request("POST", "/api/predict?model=b", PICTURE).frame
    assert (arrays["rgb"] == IMAGE).all() and set(arrays) == {"rgb", "planes"}
    p = channel_probabilities(IMAGE, BINARY)
    assert np.abs(arrays["planes"] / SCALE - p).max() < 1.1 / SCALE
    mask = decide_mask(p, rule_of(BINARY, "b"))
    assert ((arrays["planes"][0] >= round(0.6 * SCALE)) == mask).all()
    assert meta["model"]["key"] == "b" and meta["model"]["rule"][0]["threshold"] == 0.6
    assert meta["model"]["classes"][1] == {
        "name": "polyp",
        "colour": "#00be8c",
        "background": False,
    }
    assert set(meta["seconds"]) == {"decode", "network", "packing"}
    assert all(0 <= value < 5 for value in meta["seconds"].values())


def test_classes_are_decided_by_the_server() -> None:
    clean = {"min_size": 3}
    with running_app(ChannelModels(MULTICLASS, clean)) as app:
        meta, arrays = app.request("POST", "/api/predict?model=a", PICTURE).frame
    p = channel_probabilities(IMAGE, MULTICLASS)
    assert (arrays["labels"] == p.argmax(axis=0)).all()
    assert (arrays["cleaned"] == decide_mask(p, rule_of(MULTICLASS, "a", **clean))).all()
    assert (arrays["labels"] != arrays["cleaned"]).any()
    assert (arrays["planes"] == np.rint(255 * p)).all() and arrays["planes"].dtype == np.uint8
    assert [entry["background"] for entry in meta["model"]["classes"]] == [True, False, False]


def test_a_sample_comes_with_its_annotation(app: RunningApp) -> None:
    _, arrays = app.request("POST", "/api/predict?model=a&sample=0").frame
    assert (arrays["truth"] == TRUTH).all() and (arrays["rgb"] == IMAGE).all()
    thumbnail = app.request("GET", "/api/samples/0")
    assert thumbnail.headers["content-type"] == "image/png"


@pytest.mark.parametrize("path", ["?model=c", "", "?model=a&sample=1", "?model=..%2f..%2fetc"])
def test_what_does_not_exist_is_one_sentence(app: RunningApp, path: str) -> None:
    answer = app.request("POST", f"/api/predict{path}", PICTURE)
    assert answer.status in (404, 422) and answer.error


@pytest.mark.parametrize("number", ["-1", "1e3", "x", "٣", "9999999", ""])
def test_a_number_that_is_none_is_one_sentence(app: RunningApp, number: str) -> None:
    from urllib.parse import quote

    answer = app.request("POST", f"/api/predict?model=a&sample={quote(number)}")
    assert answer.status == 400 and "must be a number" in answer.error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/static/../served_model.py", 404),
        ("GET", "/static/..%2fpage.py", 404),
        ("GET", "/static/page.html.j2", 404),
        ("GET", "/etc/passwd", 404),
        ("GET", "/api/samples/7", 404),
        ("GET", "/api/predict", 405),
        ("DELETE", "/", 403),
    ],
)
def test_other_addresses_give_nothing(app: RunningApp, method: str, path: str, status: int) -> None:
    answer = app.request(method, path)
    assert answer.status == status and answer.error


HOSTILE = uploads()


@pytest.mark.parametrize("file", HOSTILE, ids=[ascii(file.name)[1:40] for file in HOSTILE])
def test_a_hostile_upload_is_a_mask_or_one_sentence(app: RunningApp, file: HostileFile) -> None:
    assert file.upload is not None
    answer = app.request("POST", "/api/predict?model=a", file.upload)
    if file.is_refused:
        assert answer.status == 422 and not answer.error.startswith("image")
        assert re.search(f"{file.expected}|the limit of this page", answer.error)
    else:
        assert answer.frame[1]["planes"].shape[1:] == file.expected


def read_to_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_large_upload_is_refused_before_it_is_sent(app: RunningApp) -> None:
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
        head = (
            f"POST /api/predict?model=a HTTP/1.1\r\nHost: localhost\r\n"
            f"x-harness-token: {app.policy.csrf_token}\r\nContent-Length: 400000000\r\n\r\n"
        )
        connection.sendall(head.encode())
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 413") and b"more than 64 MB" in answer


def test_a_large_upload_without_a_length_is_cut_off(app: RunningApp) -> None:
    n_sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal n_sent
        while n_sent < 3 * MAX_UPLOAD_BYTES:
            n_sent += 2**20
            yield bytes(2**20)

    headers = {"x-harness-token": app.policy.csrf_token, "Host": "localhost"}
    with closing(http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)) as connection:
        try:
            path = "/api/predict?model=a"
            connection.request("POST", path, chunks(), headers, encode_chunked=True)
            status = connection.getresponse().status
        except (BrokenPipeError, ConnectionResetError):
            status = 413  # refused while it was still being sent
    assert status == 413 and n_sent < 2 * MAX_UPLOAD_BYTES


@pytest.mark.parametrize("length", ["-5", "abc", "1e9"])
def test_a_length_that_is_none_is_refused(app: RunningApp, length: str) -> None:
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
        head = (
            f"POST /api/predict?model=a HTTP/1.1\r\nHost: localhost\r\n"
            f"x-harness-token: {app.policy.csrf_token}\r\nContent-Length: {length}\r\n\r\n"
        )
        connection.sendall(head.encode())
        answer = read_to_end(connection)
    assert answer.split()[1] in (b"400", b"413") and b"Traceback" not in answer


def test_a_picture_beyond_the_page_names_the_command(app: RunningApp) -> None:
    side = int((MAX_VALUES * 1.1) ** 0.5)
    grey = encode(".png", np.zeros((side, side), np.uint8))
    answer = app.request("POST", "/api/predict?model=a", grey)
    assert answer.status == 422 and "use harness predict" in answer.error


def test_an_upload_that_stops_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_queue, "READ_TIMEOUT_S", 0.3)
    with (
        running_app(ChannelModels()) as app,
        socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection,
    ):
        head = (
            f"POST /api/predict?model=a HTTP/1.1\r\nHost: localhost\r\n"
            f"x-harness-token: {app.policy.csrf_token}\r\nContent-Length: 100\r\n\r\nabc"
        )
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_one_image_at_a_time_and_a_full_queue_is_busy() -> None:
    gate, running, most = threading.Event(), [0], [0]

    def before() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        gate.wait(20)
        running[0] -= 1

    answers: list[Answer] = []
    with running_app(ChannelModels(before=before)) as app:

        def send() -> None:
            answers.append(app.request("POST", "/api/predict?model=a", PICTURE))

        threads = [threading.Thread(target=send) for _ in range(MAX_WAITING + 4)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 15
        while len(answers) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        gate.set()
        for thread in threads:
            thread.join(20)
    assert sorted(answer.status for answer in answers) == [200] * (MAX_WAITING + 1) + [503] * 3
    assert most == [1]
    for answer in answers[:3]:
        assert "busy" in answer.error and int(answer.headers["retry-after"]) > 0


def test_an_error_of_the_models_is_one_sentence() -> None:
    with running_app(ChannelModels(before=refuse)) as app:
        answer = app.request("POST", "/api/predict?model=a", PICTURE)
    assert (answer.status, answer.error) == (422, "its weights were deleted")


def test_a_bug_is_named_on_the_terminal_alone(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("secret path /root/x")

    with running_app(ChannelModels(before=fail)) as app:
        answer = app.request("POST", "/api/predict?model=a", PICTURE)
    assert answer.status == 500 and "secret" not in answer.error
    assert "internal error: RuntimeError: secret path /root/x" in capfd.readouterr().err


def test_nothing_is_written_to_a_disk(app: RunningApp) -> None:
    written: list[Any] = []
    is_watching = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        is_file = event == "open" and isinstance(arguments[1], str)
        if is_watching[0] and is_file and set(arguments[1]) & set("wax+"):
            written.append(arguments)

    sys.addaudithook(watch)
    app.request("POST", "/api/predict?model=a", PICTURE)
    app.request("POST", "/api/batch?model=a&index=0", PICTURE, {"x-file-name": "a.png"})
    app.request("POST", "/api/mask?height=1&width=2", b"\1\0")
    is_watching[0] = False
    assert written == []


def test_the_page_holds_texts_as_text() -> None:
    bad = "<script>alert(1)</script>\"'"
    models = ChannelModels(title=bad, numbers=((bad, bad),), reason=bad)
    with running_app(models) as app:
        text = app.request("GET", "/").body.decode()
    assert "alert(1)" in text and "<script>alert" not in text
    assert text.count("<script") == 1 and " onclick" not in text and " style=" not in text


def test_static_files_are_those_of_the_package(app: RunningApp) -> None:
    folder = Path(__file__).parents[3] / "harness" / "deploy" / "app"
    scripts = sorted(path.name for path in folder.glob("*.js"))
    assert len(scripts) >= 7
    for name in scripts:
        answer = app.request("GET", f"/static/{name}")
        assert answer.body == (folder / name).read_bytes()
        assert answer.headers["content-type"].startswith("text/javascript")
    assert b"--accent" in app.request("GET", "/static/app.css").body


def test_multilabel_planes_have_their_own_thresholds() -> None:
    with running_app(ChannelModels(MULTILABEL)) as app:
        meta, arrays = app.request("POST", "/api/predict?model=a", PICTURE).frame
    mask = decide_mask(channel_probabilities(IMAGE, MULTILABEL), rule_of(MULTILABEL, "a"))
    decided = arrays["planes"] >= round(0.42 * SCALE)
    assert (np.moveaxis(decided, 0, 2) == mask).all() and meta["model"]["planes"] == [0, 1]
