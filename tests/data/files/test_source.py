"""Sources of files: a local folder stays inside itself, and an archive serves as well as it."""

import io
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import pytest

from harness.config.data import SplitConfig
from harness.core.errors import DataError
from harness.core.files import combine_sha256, file_sha256
from harness.data.datasets.sources import Dataset, open_dataset, open_source
from harness.data.files.source import DataSource, FolderSource, RelativePath, hash_files
from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import TrainBatches
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.scan.scan import scan_dataset, scan_dataset_strict
from harness.data.splits.splits import SplitRow, make_split, verify_split
from tests.data.make import DATA, MAX_PIXELS, folder, picture, save


@dataclass(frozen=True)
class ZipSource:
    """The files of a zip archive; its `root` is no folder."""

    root: PurePath
    archive: zipfile.ZipFile

    def size(self, path: RelativePath) -> int:
        return self._entry(path).file_size

    def open(self, path: RelativePath) -> io.BufferedIOBase:
        return self.archive.open(self._entry(path))  # type: ignore[return-value]

    def _entry(self, path: RelativePath) -> zipfile.ZipInfo:
        try:
            return self.archive.getinfo(PurePath(path).as_posix())
        except KeyError:
            raise FileNotFoundError(2, "not in the archive", str(self.root / path)) from None


@pytest.fixture
def archived(tmp_path: Path) -> tuple[Dataset, Dataset]:
    """One dataset twice: in a folder, and in an archive of which no file is unpacked."""
    local = open_dataset(folder(tmp_path / "polyps", 8), DATA, max_pixels=MAX_PIXELS)
    with zipfile.ZipFile(tmp_path / "polyps.zip", "w") as archive:
        for path in sorted((tmp_path / "polyps").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "polyps").as_posix())
    source = ZipSource(PurePath("polyps.zip"), zipfile.ZipFile(tmp_path / "polyps.zip"))
    return local, Dataset(local.name, source, local.pairs, DATA, MAX_PIXELS)


def split_of(dataset: Dataset) -> list[SplitRow]:
    fractions = SplitConfig(fractions=(0.5, 0.25, 0.25))
    return make_split(dataset, scan_dataset_strict(dataset), fractions)


def cache_of(source: DataSource, rows: list[SplitRow], caches: Path) -> ImageCache:
    return open_cache(
        source, rows, DATA, size=(24, 32), fit="pad", folder=caches, max_pixels=MAX_PIXELS
    )


def test_an_archive_gives_the_scan_split_cache_and_batches_of_the_folder(
    tmp_path: Path, archived: tuple[Dataset, Dataset]
) -> None:
    local, zipped = archived
    rows = split_of(zipped)
    assert rows == split_of(local)
    verify_split(rows, zipped.source)
    caches = [cache_of(local.source, rows, tmp_path / "caches")]
    shutil.rmtree(tmp_path / "polyps")
    caches.append(cache_of(zipped.source, rows, tmp_path / "caches of the archive"))
    for name in ("images", "masks", "boxes", "truths", "train", "val"):
        np.testing.assert_array_equal(getattr(caches[0], name), getattr(caches[1], name))
    batches = [
        next(TrainBatches(c.images, c.masks, c.train, 3, build_augmentation("light"), 7).epoch(1))
        for c in caches
    ]
    assert batches[1][0].shape == (3, 24, 32, 3)
    np.testing.assert_array_equal(batches[0][0], batches[1][0])
    np.testing.assert_array_equal(batches[0][1], batches[1][1])


def test_problems_in_an_archive_are_named_by_it(archived: tuple[Dataset, Dataset]) -> None:
    _, zipped = archived
    lost = Path("images/lost.png")
    pairs = (zipped.pairs[0].__class__("lost", lost, zipped.pairs[0].masks), *zipped.pairs[1:])
    scan = scan_dataset(Dataset("polyps", zipped.source, pairs, DATA, MAX_PIXELS))
    assert [bad.problem for bad in scan.bad_pairs] == ["polyps.zip/images/lost.png: no such file"]
    row = SplitRow(0, lost.as_posix(), "masks/000.png", "train", "g", "0" * 64, "0" * 64)
    with pytest.raises(DataError) as caught:
        verify_split([row], zipped.source)
    assert str(caught.value).splitlines() == [
        "polyps.zip: images/lost.png: missing, but the split contains it",
        "polyps.zip: masks/000.png: has changed since the split was created",
    ]


def test_published_lists_of_an_archive_come_from_a_folder(
    tmp_path: Path, archived: tuple[Dataset, Dataset]
) -> None:
    """Lists are text files of this machine: `official` means a folder of that name then."""
    _, zipped = archived
    stems = [pair.stem for pair in zipped.pairs]
    for role, part in {"train": stems[:6], "val": stems[6:]}.items():
        save(tmp_path / "lists" / f"{role}.txt", "\n".join(part).encode())
    looks = scan_dataset_strict(zipped)
    rows = make_split(zipped, looks, SplitConfig(lists=str(tmp_path / "lists")))
    assert [row.role for row in rows] == ["train"] * 6 + ["val"] * 2
    with pytest.raises(DataError, match=r"split\.lists: official: official holds neither"):
        make_split(zipped, looks, SplitConfig(lists="official"))


@pytest.mark.parametrize("name", ["images/link.png", "../secret.png", "images/../../secret.png"])
def test_a_folder_gives_no_file_outside_itself(tmp_path: Path, name: str) -> None:
    root = folder(tmp_path / "data", 1)
    outside = save(tmp_path / "secret.png", picture(0))
    (root / "images" / "link.png").symlink_to(outside)
    source = FolderSource(root)
    assert source.resolve("images/000.png") == root / "images" / "000.png"
    for read in (source.open, source.size, source.resolve, lambda path: hash_files(source, [path])):
        for path in (name, outside):
            with pytest.raises(DataError, match=r"\.png: a link that leaves the folder"):
                read(path)


def test_a_folder_names_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises((DataError, FileNotFoundError)):
        FolderSource(tmp_path).open("a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_folder_opens_no_named_pipe(tmp_path: Path) -> None:
    """Opening one would wait for a process that writes into it."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(FileNotFoundError):
        FolderSource(tmp_path).open("pipe.png")


def test_one_hash_for_one_file_or_several(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{k}.png", picture(k)) for k in range(2)]
    digests = [file_sha256(path) for path in paths]
    source = FolderSource(tmp_path)
    assert hash_files(source, ["1.png"]) == digests[1]
    assert hash_files(source, ["0.png", "1.png"]) == combine_sha256(digests)


def test_a_source_is_opened_at_a_folder_or_a_csv_file(tmp_path: Path) -> None:
    save(tmp_path / "pairs.csv", b"image,mask\n")
    assert open_source(tmp_path) == open_source(tmp_path / "pairs.csv") == FolderSource(tmp_path)
    assert open_source(tmp_path / "gone") == FolderSource(tmp_path / "gone")
