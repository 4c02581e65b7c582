"""Test images that the studies of a workspace keep sealed; their pictures are not shown."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from harness.core.errors import DataError
from harness.core.paths import StudyPaths, Workspace
from harness.core.text import count, is_or_are, join_words
from harness.data.files.source import DataSource
from harness.data.scan.scan import DatasetScan
from harness.data.splits.split_file import read_split

SealedImages = Mapping[str, str]  # SHA-256 of an image file: study whose test split has it


def find_sealed_images(workspace: Workspace) -> dict[str, str]:
    """Test images of all studies that have started, by the content of their files.

    Raises:
        DataError: a split.csv is damaged, so its test images are not known.
    """
    sealed: dict[str, str] = {}
    folders = sorted(workspace.studies.iterdir()) if workspace.studies.is_dir() else []
    for folder in folders:
        path = StudyPaths(folder).split_csv
        if path.is_file():
            tests = (row for row in read_split(path) if row.role == "test")
            sealed |= {row.image_sha256: folder.name for row in tests}
    return sealed


def describe_sealed(scan: DatasetScan, sealed: SealedImages) -> str:
    """Sentence on the images of a data set that are sealed; "" if none is."""
    studies = [
        sealed[stats.image_sha256] for stats in scan.pair_stats if stats.image_sha256 in sealed
    ]
    if not studies:
        return ""
    names = join_words(dict.fromkeys(studies))
    n = len(studies)
    return (
        f"{count(n, 'test image')} of {names} {is_or_are(n)} not shown, so that no choice before "
        "the test depends on them; findings and statistics include them."
    )


def is_sealed_file(source: DataSource, path: Path, sealed: SealedImages) -> bool:
    """True if a file that could not be read as a pair is a sealed test image."""
    if not sealed:
        return False
    try:
        with source.open(path) as file:
            return hashlib.sha256(file.read()).hexdigest() in sealed
    except (DataError, OSError):
        return False
