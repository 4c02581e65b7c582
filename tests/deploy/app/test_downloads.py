"""Masks and tables of the page are those of `harness predict`; names from outside stay outside."""

import csv
import io
import zipfile
from collections.abc import Iterator
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.data.files.decide import decide_mask
from harness.deploy.app.downloads import safe_stem
from harness.deploy.predict.outputs import encode_mask
from tests.data.make import encode
from tests.deploy.app.serving import (
    BINARY,
    MULTICLASS,
    MULTILABEL,
    ChannelModels,
    RunningApp,
    channel_probabilities,
    rule_of,
    running_app,
)
from tests.deploy.hostile_files import hostile_files

IMAGE = np.random.default_rng(2).integers(0, 256, (14, 23, 3), np.uint8)
PICTURE = encode(".png", IMAGE)


@pytest.fixture(scope="module")
def app() -> Iterator[RunningApp]:
    with running_app(ChannelModels()) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("polyp 1.jpg", "polyp_1"),
        ("../../etc/passwd", "passwd"),
        ("C:\\scans\\a.b.png", "a_b"),
        ("ä.png", "_"),
        (".png", "image"),
        ("", "image"),
        ("CON.png", "CON"),
        ("x" * 300 + ".png", "x" * 60),
    ],
)
def test_a_stem_is_plain(name: str, stem: str) -> None:
    assert safe_stem(name) == stem


@pytest.mark.parametrize("data", [BINARY, MULTICLASS], ids=["binary", "multiclass"])
def test_a_decided_mask_is_encoded_as_predict_does(data: StudyDataConfig) -> None:
    mask = np.random.default_rng(3).integers(0, len(data.classes), (5, 9), np.uint8)
    with running_app(ChannelModels(data)) as app:
        answer = app.request("POST", "/api/mask?height=5&width=9", mask.tobytes())
    assert answer.headers["content-type"] == "image/png"
    assert [answer.body] == encode_mask(mask, data)


def test_masks_of_several_labels_are_a_zip() -> None:
    planes = np.random.default_rng(4).integers(0, 2, (2, 5, 9), np.uint8)
    with running_app(ChannelModels(MULTILABEL)) as app:
        answer = app.request("POST", "/api/mask?height=5&width=9", planes.tobytes())
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == ["vessel.png", "lesion.png"]
        for name, plane in zip(archive.namelist(), planes, strict=True):
            stored = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            assert (stored == 255 * plane).all()


@pytest.mark.parametrize(
    ("size", "values"),
    [
        ((5, 9), bytes(44)),
        ((5, 9), bytes(46)),
        ((0, 9), b""),
        ((2, 2), b"\0\1\2\0"),
        ((999999, 999999), bytes(10)),
    ],
)
def test_values_that_are_no_mask_are_refused(
    app: RunningApp, size: tuple[int, int], values: bytes
) -> None:
    answer = app.request("POST", f"/api/mask?height={size[0]}&width={size[1]}", values)
    assert answer.status == 422 and "do not form a mask" in answer.error


def table(app: RunningApp, row: str) -> dict[str, str]:
    (values,) = csv.DictReader(io.StringIO(app.settings()["csvHeader"] + row))
    return values


def test_an_image_of_a_batch_has_its_mask_and_its_row(app: RunningApp) -> None:
    headers = {"x-file-name": quote("Scan 1/näme.png")}
    meta, arrays = app.request("POST", "/api/batch?model=a&index=6", PICTURE, headers).frame
    mask = decide_mask(channel_probabilities(IMAGE, BINARY), rule_of(BINARY, "a"))
    assert list(arrays) == ["masks/0007_n_me.png"]
    assert [arrays["masks/0007_n_me.png"].tobytes()] == encode_mask(mask, BINARY)
    row = table(app, meta["row"])
    assert row["file"] == "Scan 1/näme.png" and row["error"] == "" and meta["error"] is None
    assert int(row["area_px_polyp"]) == mask.sum()
    assert float(row["share_polyp"]) == pytest.approx(mask.mean(), abs=1e-6)


def test_labels_of_a_batch_are_in_folders() -> None:
    with running_app(ChannelModels(MULTILABEL)) as app:
        answer = app.request("POST", "/api/batch?model=a&index=0", PICTURE)
    assert list(answer.frame[1]) == ["masks/vessel/0001_image.png", "masks/lesion/0001_image.png"]


def test_a_bad_image_of_a_batch_is_a_row_with_its_error(app: RunningApp) -> None:
    headers = {"x-file-name": "=cmd.png"}
    meta, arrays = app.request("POST", "/api/batch?model=a&index=0", b"no image", headers).frame
    assert arrays == {} and "not a JPEG" in meta["error"]
    row = table(app, meta["row"])
    assert row["file"] == "'=cmd.png" and row["error"] == meta["error"]


def test_no_hostile_name_reaches_the_archive(app: RunningApp) -> None:
    for file in hostile_files():
        headers = {"x-file-name": quote(file.name)}
        answer = app.request("POST", "/api/batch?model=a&index=0", PICTURE, headers)
        meta, arrays = answer.frame
        (name,) = arrays
        assert name.isascii() and name.startswith("masks/0001_") and name.endswith(".png")
        assert name.count("/") == 1 and ".." not in name and len(name) < 90
        assert meta["row"].count("\n") == 1
        assert table(app, meta["row"])["file"][:1] not in ("=", "+", "-", "@", "\t")
