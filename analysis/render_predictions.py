"""Render the predictions of the leading trials of a study as one picture per image.

Each picture has two rows: the image with one overlay per trial, below them the masks.

Example: python analysis/render_predictions.py --study encoders --out pictures
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.core import files
from harness.core.errors import UserError
from harness.core.paths import Workspace, expand_user_path
from harness.data.datasets.sources import find_data, source_folder
from harness.report.predictions.gallery import GalleryImage, build_gallery
from harness.report.tables.study_tables import load_study_tables


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder with studies/")
    parser.add_argument("--data", help="folder of the images (default: data.root of study.yaml)")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder to write to")
    options = parser.parse_args(words)
    workspace = Workspace.at(options.workspace)
    try:
        tables = load_study_tables(workspace.study(options.study))
        source = find_data(options.data or tables.config.data.root, workspace)
        gallery = build_gallery(tables, source_folder(source))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for item in gallery.images:
        path = expand_user_path(options.out) / f"{item.row}.png"
        _, data = cv2.imencode(".png", sheet(item)[..., ::-1])
        files.write_bytes(path, data.tobytes())
        scores = [
            f"trial {s.number} " + ("–" if s.dice is None else f"{s.dice:.3f}")
            for s in (prediction.score for prediction in item.predictions)
        ]
        print(f"{path}  {item.reason}  {item.name}  Dice: {', '.join(scores)}")
    for note in gallery.notes:
        print(note, file=sys.stderr)
    return 0 if gallery.images else 1


def sheet(item: GalleryImage) -> NDArray[np.uint8]:
    """Two rows of pictures at the original's aspect, RGB."""
    above = [item.image, *(prediction.overlay for prediction in item.predictions)]
    below = [item.truth, *(prediction.mask for prediction in item.predictions)]
    grey = [mask if mask.ndim == 3 else np.repeat(mask[..., None], 3, axis=2) for mask in below]
    table = np.vstack([np.hstack(above), np.hstack(grey)])
    height, width = table.shape[:2]
    return np.asarray(cv2.resize(table, (round(width * item.aspect), height)), np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
