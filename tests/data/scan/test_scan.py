"""What is seen of each pair, and that it is kept by content."""

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.datasets.sources import Dataset, open_dataset
from harness.data.files import decode as decoding
from harness.data.files.headers import ImageFileInfo
from harness.data.files.source import FolderSource
from harness.data.scan import pair_scan as looking
from harness.data.scan.objects import count_mask_objects
from harness.data.scan.scan import check_no_bad_pairs, scan_dataset, scan_dataset_strict
from harness.data.scan.scan_cache import (
    ImageFacts,
    PairStats,
    read_scan_cache,
    scan_cache_path,
    write_scan_cache,
)
from tests.data.make import DATA, encode, exif, folder, picture, save, square


def opened(root: Path) -> Dataset:
    return open_dataset(root, DATA, max_pixels=1e6)


def test_one_look_tells_all(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", picture(1))
    save(tmp_path / "masks/a.png", 255 * square())
    (look,) = scan_dataset_strict(opened(tmp_path))
    assert look.size == (24, 32)
    assert look.shares == pytest.approx((1 - 80 / 768, 80 / 768))
    assert look.seen.stored == ImageFileInfo("PNG", "RGB", 8, 1)
    assert (look.seen.mask.kind, look.seen.mask.values) == ("two-valued", ("0", "255"))
    assert (look.seen.n_objects, look.seen.n_vanishing) == ((1,), 0)
    assert look.seen.greatest == picture(1).max()


def test_orientation_and_jpeg_noise_are_seen(tmp_path: Path) -> None:
    jpeg = encode(".jpg", picture(1))
    save(tmp_path / "images/a.jpg", jpeg[:2] + exif(6) + jpeg[2:])
    save(tmp_path / "masks/a.jpg", encode(".jpg", 255 * square(), cv2.IMWRITE_JPEG_QUALITY, 60))
    (look,) = scan_dataset_strict(opened(tmp_path))
    assert look.seen.stored == ImageFileInfo("JPEG", "RGB", 8, 6)
    assert look.seen.mask.kind == "noisy"
    assert look.size == (32, 24)


def test_bad_pairs_are_named_beside_the_good(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    (tmp_path / "images/001.png").write_bytes(encode(".png", picture(1))[:200])
    overview = scan_dataset(opened(tmp_path))
    assert [pair.stem for pair in overview.dataset.pairs] == ["000", "002"]
    assert len(overview.pair_stats) == 2
    (bad,) = overview.bad_pairs
    assert bad.pair.stem == "001" and "001.png" in bad.problem
    assert bad.values is not None and bad.values.values == ("0", "255")
    with pytest.raises(DataError, match=r"001\.png"):
        scan_dataset_strict(opened(tmp_path))


@pytest.mark.parametrize("known", [False, True])
def test_each_file_is_read_and_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Also where other pairs are known, and where a mask has no meaning yet."""
    dataset = opened(folder(tmp_path / "d", 3))
    if known:
        scan_dataset_strict(dataset, cache=tmp_path / "looks")
    for name in ("000", "001"):
        save(tmp_path / f"d/images/{name}.png", picture(7 + int(name)))
    save(tmp_path / "d/masks/001.png", np.arange(768, dtype=np.uint8).reshape(24, 32) // 4)
    read, decoded = Counter[str](), Counter[str]()
    open_file, decode = FolderSource.open, decoding._decode

    def counted_open(source: FolderSource, path: Path) -> Any:
        read[path.name + path.parent.name] += 1
        return open_file(source, path)

    def counted_decode(file: decoding.ImageFile, *how: Any) -> Any:
        decoded[file.path.name + file.path.parent.name] += 1
        return decode(file, *how)

    monkeypatch.setattr(FolderSource, "open", counted_open)
    monkeypatch.setattr(decoding, "_decode", counted_decode)
    overview = scan_dataset(dataset, cache=tmp_path / "looks")
    assert (len(overview.pair_stats), len(overview.bad_pairs)) == (2, 1)
    assert (
        overview.bad_pairs[0].values is not None and overview.bad_pairs[0].values.kind == "indexed"
    )
    names = [f"{n}.png{kind}" for n in ("000", "001", "002") for kind in ("images", "masks")]
    assert read == Counter(names)
    assert set(decoded.values()) == {1}
    assert ("002.pngmasks" in decoded) != known


def test_many_bad_pairs_are_counted_and_the_remedy_stays(tmp_path: Path) -> None:
    for path in sorted(folder(tmp_path, 23).glob("images/*")):
        path.write_bytes(b"")
    with pytest.raises(DataError) as raised:
        check_no_bad_pairs(scan_dataset(opened(tmp_path)))
    lines = str(raised.value).splitlines()
    assert len(lines) == 22 and "019.png" in lines[19]
    assert lines[20] == "... and 3 more"
    assert lines[21].startswith("23 pairs cannot be used") and "--skip-bad" in lines[21]


def test_the_second_time_nothing_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(folder(tmp_path / "d", 3))
    first = scan_dataset_strict(dataset, cache=tmp_path / "looks")
    monkeypatch.setattr(looking, "decode_pair", None)
    again = scan_dataset_strict(dataset, cache=tmp_path / "looks")
    assert [as_plain(look) for look in again] == [as_plain(look) for look in first]


def test_looks_need_no_cache(tmp_path: Path) -> None:
    """A file where the cache's folder would be stands for a folder that can only be read."""
    dataset = opened(folder(tmp_path / "d", 3))
    (tmp_path / "cache").write_text("in the way", encoding="utf-8")
    kept = scan_dataset_strict(dataset, cache=tmp_path / "cache" / "looks")
    assert [as_plain(look) for look in kept] == [
        as_plain(look) for look in scan_dataset_strict(dataset)
    ]


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    dataset = opened(folder(tmp_path / "d", 2))
    scan_dataset_strict(dataset, cache=tmp_path / "looks")
    save(tmp_path / "d/masks/001.png", np.zeros((24, 32), np.uint8))
    looks = scan_dataset_strict(dataset, cache=tmp_path / "looks")
    assert [look.shares[1] > 0 for look in looks] == [True, False]


def test_another_meaning_has_other_looks() -> None:
    other = StudyDataConfig(eval_size=64)
    assert scan_cache_path(Path("x"), "d", DATA) != scan_cache_path(Path("x"), "d", other)
    assert scan_cache_path(Path("x"), "d", DATA) == scan_cache_path(
        Path("x"), "d", StudyDataConfig(root="elsewhere")
    )


@pytest.mark.parametrize("damage", ["cut", "noise", "flipped", "absent"])
def test_damaged_looks_are_dropped(tmp_path: Path, damage: str) -> None:
    dataset = opened(folder(tmp_path / "d", 2))
    first = scan_dataset_strict(dataset, cache=tmp_path / "looks")
    path = scan_cache_path(tmp_path / "looks", "d", DATA)
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "cut": data[:middle],
            "noise": b"noise",
            "flipped": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
            "absent": b"",
        }[damage]
    )
    assert read_scan_cache(path) == {}
    again = scan_dataset_strict(dataset, cache=tmp_path / "looks")
    assert [as_plain(look) for look in again] == [as_plain(look) for look in first]
    assert len(read_scan_cache(path)) == 2


def test_looks_survive_writing(tmp_path: Path) -> None:
    seen = ImageFacts(border=(1, 2, 3, 4), text=((5, 6, 7, 8),), n_objects=(3,), n_vanishing=2)
    thumbnail = np.linspace(-1, 1, 2304, dtype=np.float16)
    look = PairStats("a", "b", "c", thumbnail, (5, 6), (0.25, 0.75), seen)
    write_scan_cache(tmp_path / "x.npz", [look])
    (read,) = read_scan_cache(tmp_path / "x.npz").values()
    assert as_plain(read) == as_plain(look)


def test_progress_counts_every_pair(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    scan_dataset_strict(
        opened(folder(tmp_path, 3)), lambda done, total: calls.append((done, total))
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_objects_that_no_pixel_shows() -> None:
    """At a quarter of the size a pixel covers 4 x 4: 2 x 3 = 6 of 16 vanish, 2 x 4 = 8 stay."""
    mask = np.zeros((64, 64), np.uint8)
    mask[0:2, 0:3] = 1
    mask[16:18, 16:20] = 1
    mask[32:52, 32:52] = 1
    assert count_mask_objects(mask, StudyDataConfig(eval_size=16)) == ((3,), 1)
    assert count_mask_objects(mask, StudyDataConfig(eval_size=64)) == ((3,), 0)


def as_plain(look: PairStats) -> tuple[object, ...]:
    return (
        *(look.image_sha256, look.mask_sha256, look.pixels, look.size, look.shares, look.seen),
        look.thumbnail.tobytes(),
    )
