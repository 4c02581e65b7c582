import hashlib
import io
import socket
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.core.errors import DataError
from harness.data.datasets.download import download_kvasir
from harness.data.datasets.sources import KVASIR, open_dataset
from tests.data.make import DATA, MAX_PIXELS, encode, picture, square

Serve = Callable[[bytes], str]


def archive(extra: dict[str, bytes] | None = None, *, n: int = 3) -> bytes:
    """An archive laid out as the published one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Kvasir-SEG/", b"")
        for index in range(n):
            file.writestr(f"Kvasir-SEG/images/{index}.jpg", encode(".jpg", picture(index)))
            file.writestr(f"Kvasir-SEG/masks/{index}.jpg", encode(".jpg", 255 * square()))
        file.writestr("Kvasir-SEG/kavsir_bboxes.json", b"{}")
        for name, data in (extra or {}).items():
            file.writestr(name, data)
    return packed.getvalue()


class _Answer(BaseHTTPRequestHandler):
    body = b""
    status = 200
    claimed: int | None = None
    say_length = True

    def do_GET(self) -> None:
        self.send_response(self.status)
        if self.say_length:
            length = len(self.body) if self.claimed is None else self.claimed
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Answer]]:
    """A server on this machine whose answer the test sets; `url` is where it listens."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Answer(_Answer):
        url = ""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Answer.url = f"http://127.0.0.1:{server.server_port}/kvasir-seg.zip"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Answer
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(answer: type, folder: Path, body: bytes, **other: object) -> Path:
    answer.body = body
    checksum = hashlib.sha256(body).hexdigest()
    return download_kvasir(folder, url=answer.url, sha256=checksum, **other)  # type: ignore[arg-type]


def test_archive_is_laid_out_as_a_dataset(answer: type, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    body = archive({"__MACOSX/Kvasir-SEG/images/._0.jpg": b"x", "Kvasir-SEG/notes/a.txt": b"a"})
    root = fetch(answer, tmp_path, body, progress=lambda *done: calls.append(done))
    assert root == tmp_path / "kvasir-seg"
    assert len(open_dataset(root, DATA, max_pixels=MAX_PIXELS).pairs) == 3
    assert (root / "images" / "1.jpg").read_bytes() == encode(".jpg", picture(1))
    assert sorted(path.name for path in root.iterdir()) == [
        "images",
        "kvasir_bboxes.json",
        "masks",
    ]
    assert calls[-1] == (len(body), len(body))
    assert [path.name for path in tmp_path.iterdir()] == ["kvasir-seg"]


def test_dataset_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "kvasir-seg").mkdir()
    assert download_kvasir(tmp_path, url="http://127.0.0.1:1/none") == tmp_path / "kvasir-seg"


def test_length_may_be_unknown(answer: type, tmp_path: Path) -> None:
    answer.say_length = False
    calls: list[tuple[int, int | None]] = []
    fetch(answer, tmp_path, archive(), progress=lambda *done: calls.append(done))
    assert calls[-1] == (len(archive()), None)


def refused(tmp_path: Path, url: str, checksum: str = KVASIR.sha256) -> str:
    """The message, after checking that nothing is left behind."""
    with pytest.raises(DataError) as caught:
        download_kvasir(tmp_path / "data", url=url, sha256=checksum)
    assert list((tmp_path / "data").iterdir()) == []
    return str(caught.value)


def test_empty_answer_is_said_to_be_empty(answer: type, tmp_path: Path) -> None:
    message = refused(tmp_path, answer.url)
    assert "answered with nothing; try again later, or get the archive from" in message


def test_a_page_instead_of_the_archive_is_shown(answer: type, tmp_path: Path) -> None:
    answer.body = b"<html>Please log in</html>"
    message = refused(tmp_path, answer.url)
    assert "not the published archive: 26 bytes beginning with b'<html>Please log in" in message
    assert "instead of 03b30e21d584" in message


def test_an_answer_that_stops_early_is_said_so(answer: type, tmp_path: Path) -> None:
    answer.body, answer.claimed = b"x" * 1000, 5000
    assert "stopped after 1,000 of 5,000 bytes; try again" in refused(tmp_path, answer.url)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_gives_its_number(answer: type, tmp_path: Path, status: int) -> None:
    answer.status = status
    assert f"answered {status} " in refused(tmp_path, answer.url)


def test_no_connection_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip"
        assert "no connection" in refused(tmp_path, url)


def test_a_connection_that_breaks_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        message = refused(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}/a.zip")
        thread.join()
    assert "the connection broke" in message or "no connection" in message


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.zip"])
def test_only_web_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    assert "only http and https" in refused(tmp_path, url)


def test_an_endless_answer_is_cut(
    answer: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.data.datasets.download._MOST_BYTES", 1000)
    answer.body = b"x" * 1001
    assert "sends more than 1,000 bytes" in refused(tmp_path, answer.url)


def _link() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        entry = zipfile.ZipInfo("Kvasir-SEG/images/0.jpg")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(entry, "/etc/passwd")
    return packed.getvalue()


def _lying() -> bytes:
    """An archive whose directory says that a picture is smaller than it is."""
    data = encode(".jpg", picture(0))
    whole = bytearray(archive(n=1))
    at = whole.rfind(b"PK\x01\x02", 0, whole.rfind(b"Kvasir-SEG/images/0.jpg"))
    assert int.from_bytes(whole[at + 24 : at + 28], "little") == len(data)
    whole[at + 24 : at + 28] = (10).to_bytes(4, "little")
    return bytes(whole)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"PK no archive", "a damaged archive"),
        (archive()[:-300], "a damaged archive"),
        (_lying(), "a damaged archive"),
        (_link(), "'Kvasir-SEG/images/0.jpg' is a link or a device"),
        (archive({"../evil.jpg": b"x"}), "the path '../evil.jpg' leaves its folder"),
        (archive({"/images/evil.jpg": b"x"}), "the path '/images/evil.jpg' leaves its folder"),
        (archive({"C:/images/evil.jpg": b"x"}), "leaves its folder"),
        (archive({"a/images/0.jpg": b"x"}), "two files with one name"),
        (archive({"big.txt": bytes(10_000_000)}), "'big.txt' unpacks to 10,000,000"),
        (archive({"Kvasir-SEG/images/9.jpg": b"x"}), "images/9.jpg: has no mask of that stem"),
        (archive(n=0), "the archive does not hold the dataset: no layout of images and masks"),
    ],
)
def test_unsafe_or_wrong_archives_leave_nothing(
    answer: type, tmp_path: Path, body: bytes, message: str
) -> None:
    answer.body = body
    assert message in refused(tmp_path, answer.url, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("_MOST_FILES", 6, "an unsafe archive: 7 files"),
        ("_MOST_UNPACKED_BYTES", 500, "an unsafe archive: unpacks to"),
    ],
)
def test_limits_hold(
    answer: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    message: str,
) -> None:
    monkeypatch.setattr(f"harness.data.datasets.download.{limit}", value)
    answer.body = archive()
    assert message in refused(tmp_path, answer.url, hashlib.sha256(archive()).hexdigest())


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="cannot hold kvasir-seg: "):
        download_kvasir(tmp_path / "data", url="http://127.0.0.1:1/none")
