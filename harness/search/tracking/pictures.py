"""Overlays under the names by which MLflow's image grid finds them.

`MlflowClient.log_image` gives each picture a random name, so that one sent twice is there twice;
here the name follows from the picture's place, and sending it again overwrites it.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

FOLDER = "images"
TAG = "mlflow.loggedImages"  # tells MLflow's pages that there are any
KEY = "val/overlay"
THUMBNAIL_PX = 256
_LOSSY = [
    cv2.IMWRITE_WEBP_QUALITY,
    80,
]  # unless told, OpenCV writes lossless WebP: 15 times as long


@contextmanager
def named(
    picture: Path, outbox: Path, seed: str, step: int, row: int, moment: int
) -> Iterator[list[Path]]:
    """The picture and its small copy in `outbox`, under the names that MLflow expects.

    Args:
        picture: a PNG.
        outbox: a folder for the time of sending.
        seed: what tells this run from all others.
        step: epoch, from 1.
        row: of split.csv.
        moment: of the epoch, milliseconds since 1970.

    Returns:
        Both files, or none if the picture cannot be read.
    """
    image = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    if image is None:
        yield []
        return
    key = f"{KEY}/{row}".replace("/", "~")
    one = uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{step}/{row}")
    name = f"{key}+step+{step}+timestamp+{moment}+{one}"
    outbox.mkdir(exist_ok=True)
    whole, small = outbox / f"{name}.png", outbox / f"{name}+compressed.webp"
    try:
        shutil.copyfile(picture, whole)
        scale = min(1.0, THUMBNAIL_PX / max(image.shape[:2]))
        cv2.imwrite(str(small), cv2.resize(image, None, fx=scale, fy=scale), _LOSSY)
        yield [whole, small]
    finally:
        shutil.rmtree(outbox, ignore_errors=True)
