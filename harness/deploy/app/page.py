"""The page as HTML, with everything its script needs to know in one attribute."""

import json
from typing import Any, Final

import cv2
import numpy as np

from harness.core import html
from harness.data.files.overlay import PROBABILITY_COLOURMAP
from harness.deploy.app.downloads import csv_header
from harness.deploy.app.limits import MAX_BATCH_FILES, MAX_UPLOAD_BYTES
from harness.deploy.app.served_model import ModelCollection

PACKAGE: Final = "harness.deploy.app"


def render_page(models: ModelCollection, csrf_token: str) -> str:
    """Render the page; it holds no image and no result."""
    return html.render(
        PACKAGE,
        {},
        title=models.title,
        choices=models.choices,
        compared=models.compared,
        reason=models.reason,
        numbers=models.numbers,
        samples=models.sample_names,
        sample_note=models.sample_note,
        settings=json.dumps(page_settings(models, csrf_token)),
    )


def page_settings(models: ModelCollection, csrf_token: str) -> dict[str, Any]:
    """Values for the script: token, limits, first line of the table, 256 colours as hex."""
    greys = np.arange(256, dtype=np.uint8)[None]
    colours = cv2.applyColorMap(greys, PROBABILITY_COLOURMAP)[0, :, ::-1]
    return {
        "token": csrf_token,
        "maxBytes": MAX_UPLOAD_BYTES,
        "maxFiles": MAX_BATCH_FILES,
        "csvHeader": csv_header(models.data),
        "colours": np.ascontiguousarray(colours).tobytes().hex(),
    }
