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

IMAGE_FOLDER = "images"
LOGGED_IMAGES_TAG = "mlflow.loggedImages"  # tells MLflow's pages that there are any
OVERLAY_KEY = "val/overlay"
THUMBNAIL_PX = 256
_WEBP_OPTIONS = [
    cv2.IMWRITE_WEBP_QUALITY,
    80,
]  # unless told, OpenCV writes lossless WebP: 15 times as long


@contextmanager
def logged_image_files(
    overlay: Path, outbox: Path, seed: str, step: int, row: int, time_ms: int
) -> Iterator[list[Path]]:
    """The picture and its small copy in `outbox`, under the names that MLflow expects.

    Args:
        overlay: a PNG.
        outbox: a folder for the time of sending.
        seed: what tells this run from all others.
        step: epoch, from 1.
        row: of split.csv.
        time_ms: of the epoch, milliseconds since 1970.

    Returns:
        Both files, or none if the picture cannot be read.
    """
    image = cv2.imread(str(overlay), cv2.IMREAD_COLOR)
    if image is None:
        yield []
        return
    key = f"{OVERLAY_KEY}/{row}".replace("/", "~")
    image_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{step}/{row}")
    name = f"{key}+step+{step}+timestamp+{time_ms}+{image_id}"
    outbox.mkdir(exist_ok=True)
    full_size, thumbnail = outbox / f"{name}.png", outbox / f"{name}+compressed.webp"
    try:
        shutil.copyfile(overlay, full_size)
        scale = min(1.0, THUMBNAIL_PX / max(image.shape[:2]))
        cv2.imwrite(str(thumbnail), cv2.resize(image, None, fx=scale, fy=scale), _WEBP_OPTIONS)
        yield [full_size, thumbnail]
    finally:
        shutil.rmtree(outbox, ignore_errors=True)
