"""Files in, masks out: names, kinds, resumption and failures."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from harness.api.study import Study
from harness.config.progress import LineProgress
from harness.core import files
from harness.core.errors import ConfigError, UserError
from harness.data.files.decide import decide_mask
from harness.data.files.overlay import class_palette
from harness.deploy.predict.outputs import ResultWriter, draw_prediction
from tests.data.make import encode, exif, picture, save
from tests.deploy.made_study import made_study


class Lines(LineProgress):
    """Keeps the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def stage(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return made_study(tmp_path / "ws")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of two sizes, one in a subfolder."""
    root = tmp_path / "photos"
    save(root / "a.png", picture(1))
    save(root / "b.jpg", picture(2, 40, 28))
    save(root / "sub" / "c.png", picture(3))
    return root


def predict(study: Study, *targets: Path, out: Path, **options: Any) -> Any:
    options = {"progress": Lines(), **options}
    return study.predict(list(targets), out=out, **options)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_masks_equal_those_of_arrays_and_keep_the_structure(
    study: Study, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = predict(study, photos, out=out)
    written = sorted(p.relative_to(out / "masks").as_posix() for p in out.rglob("*.png"))
    assert (summary.n_masks, summary.failures) == (3, {})
    assert written == ["a.png", "b.png", "sub/c.png"]
    (prediction,) = study.predictor().predict([picture(1)])
    mask = cv2.imread(str(out / "masks" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, 255 * prediction.mask)
    assert 0 < prediction.mask.mean() < 1


def test_row_counts_what_the_mask_shows(study: Study, photos: Path, tmp_path: Path) -> None:
    predict(study, photos, out=tmp_path / "out")
    row = rows(tmp_path / "out")[1]
    mask = cv2.imread(str(tmp_path / "out/masks/b.png"), cv2.IMREAD_UNCHANGED) > 0
    (prediction,) = study.predictor().predict([cv2.imread(str(photos / "b.jpg"))[..., ::-1]])
    p = prediction.probabilities[0].astype(float)
    n_objects = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    assert (row["file"], row["height"], row["width"]) == ("b.jpg", "40", "28")
    assert int(row["area_px_foreground"]) == mask.sum()
    assert float(row["share_foreground"]) == pytest.approx(mask.mean(), abs=1e-6)
    assert int(row["objects_foreground"]) == n_objects > 0
    expected = np.where(mask, p, 1 - p).mean()
    assert float(row["mean_confidence"]) == pytest.approx(expected, abs=2e-6)
    assert float(row["seconds"]) > 0 and row["error"] == ""


def test_probabilities_are_written_in_16_bits_and_overlays_in_colour(
    study: Study, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict(study, photos, out=out, probabilities=True, overlays=True)
    (prediction,) = study.predictor().predict([picture(1)])
    stored = cv2.imread(str(out / "probabilities" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert np.array_equal(stored, np.rint(65535 * prediction.probabilities[0]))
    overlay = cv2.imread(str(out / "overlays" / "sub" / "c.jpg"))
    assert overlay.shape == (24, 32, 3) and not np.allclose(overlay, picture(3)[..., ::-1], atol=9)


def test_multiclass_mask_holds_indices_and_a_palette(tmp_path: Path) -> None:
    classes = ["background", "vein", "nerve"]
    study = made_study(tmp_path / "ws", data={"task": "multiclass", "classes": classes})
    save(tmp_path / "in" / "a.png", picture(4))
    predict(study, tmp_path / "in", out=tmp_path / "out")
    with Image.open(tmp_path / "out" / "masks" / "a.png") as mask:
        assert mask.mode == "P"
        palette = np.array(mask.getpalette()[:9]).reshape(3, 3)
        indices = np.array(mask)
    (prediction,) = study.predictor().predict([picture(4)])
    assert np.array_equal(palette, class_palette(classes)) and palette[0].tolist() == [0, 0, 0]
    assert np.array_equal(indices, prediction.mask)
    assert np.array_equal(indices, prediction.probabilities.argmax(axis=0))
    row = rows(tmp_path / "out")[0]
    shares = [float(row[f"share_{name}"]) for name in classes]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    expected = prediction.probabilities.max(axis=0).mean()
    assert float(row["mean_confidence"]) == pytest.approx(expected, abs=2e-6)


def test_multilabel_masks_lie_in_a_folder_for_each_class(tmp_path: Path) -> None:
    study = made_study(tmp_path / "ws", data={"task": "multilabel", "classes": ["vein", "nerve"]})
    save(tmp_path / "in" / "sub" / "a.png", picture(4))
    predict(study, tmp_path / "in", out=tmp_path / "out", probabilities=True)
    (prediction,) = study.predictor().predict([picture(4)])
    for k, name in enumerate(("vein", "nerve")):
        mask = cv2.imread(str(tmp_path / f"out/masks/{name}/sub/a.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, 255 * prediction.mask[..., k])
        assert (tmp_path / f"out/probabilities/{name}/sub/a.png").is_file()


def test_16_bit_study_reads_16_and_8_bits(tmp_path: Path) -> None:
    study = made_study(tmp_path / "ws", data={"channels": 1, "range": [0.0, 65535.0]})
    deep = picture(5)[..., 0].astype(np.uint16) * 257
    save(tmp_path / "in" / "deep.png", encode(".png", deep))
    save(tmp_path / "in" / "shallow.png", picture(5)[..., 0])
    summary = predict(study, tmp_path / "in", out=tmp_path / "out")
    (prediction,) = study.predictor().predict([deep])
    mask = cv2.imread(str(tmp_path / "out/masks/deep.png"), cv2.IMREAD_UNCHANGED)
    assert summary.n_masks == 2
    assert np.array_equal(mask, 255 * prediction.mask)


def test_mask_is_upright_as_the_exif_orientation_says(study: Study, tmp_path: Path) -> None:
    data = encode(".jpg", picture(6))
    save(tmp_path / "in" / "turned.jpg", data[:2] + exif(6) + data[2:])
    predict(study, tmp_path / "in", out=tmp_path / "out")
    mask = cv2.imread(str(tmp_path / "out/masks/turned.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (32, 24)


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Set torch's thread count: a faked `get_num_threads` would be restored as the real one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_flips_and_several_threads_change_nothing_else(study: Study, tmp_path: Path) -> None:
    """Four flips of one image, averaged by hand; with three threads."""
    for k in range(20):
        save(tmp_path / "in" / f"{k}.png", picture(k, 20 + k, 30))
    predict(study, tmp_path / "in", out=tmp_path / "out", tta=True)
    network = study.predictor()
    for k in (0, 7, 19):
        image = picture(k, 20 + k, 30)
        total = 0
        for axes in ((), (0,), (1,), (0, 1)):
            p = network.probabilities([np.ascontiguousarray(np.flip(image, axes))])[0][0]
            total = total + np.flip(p, axes).astype(np.float64)
        mask = cv2.imread(str(tmp_path / f"out/masks/{k}.png"), cv2.IMREAD_UNCHANGED)
        expected = decide_mask((total / 4).astype(np.float32)[None], network.deployment.rule.rule)
        assert np.array_equal(mask, 255 * expected)


def test_bad_file_is_one_line_and_the_others_get_masks(
    study: Study, photos: Path, tmp_path: Path
) -> None:
    save(photos / "=bad.png", b"no image")
    progress = Lines()
    summary = predict(study, photos, out=tmp_path / "out", progress=progress)
    reason = "not a JPEG, PNG, BMP, TIFF or WebP image"
    assert summary.failures == {"=bad.png": reason}
    assert f"=bad.png: {reason}" in progress.lines
    table = {row["file"]: row["error"] for row in rows(tmp_path / "out")}
    assert table["'=bad.png"] == reason
    assert summary.n_masks == 3 and len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 3


def test_second_run_does_no_file_twice_but_repairs_and_additions(
    study: Study, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    save(photos / "d.png", b"")
    predict(study, photos, out=out)
    save(photos / "d.png", picture(8))
    save(photos / "e.png", picture(9))
    save(photos / "a.png", picture(10))  # changed
    (out / "masks" / "b.png").unlink()
    summary = predict(study, photos, out=out)
    entries = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    times = Counter(entry["file"] for entry in entries[1:])
    assert times == {"a.png": 2, "b.jpg": 2, "sub/c.png": 1, "d.png": 2, "e.png": 1}
    assert summary.n_earlier == 1 and summary.failures == {}
    assert [row["file"] for row in rows(out)] == ["a.png", "b.jpg", "d.png", "e.png", "sub/c.png"]


def test_overlays_can_be_added_later(study: Study, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(study, photos, out=out)
    assert predict(study, photos, out=out, overlays=True).n_earlier == 0
    assert len(list((out / "overlays").rglob("*.jpg"))) == 3
    assert predict(study, photos, out=out).n_earlier == 3


def test_other_weights_in_the_same_folder_are_refused(tmp_path: Path, photos: Path) -> None:
    study = made_study(tmp_path / "ws", n_trials=2)
    predict(study, photos, out=tmp_path / "out")
    with pytest.raises(UserError, match=r"other weights or another rule .*with flips.*another fol"):
        predict(study, photos, out=tmp_path / "out", tta=True)


def test_folder_with_other_files_is_never_written_into(
    study: Study, photos: Path, tmp_path: Path
) -> None:
    save(tmp_path / "set" / "masks" / "a.png", b"truth")
    with pytest.raises(UserError, match="holds files that harness predict did not write"):
        predict(study, photos, out=tmp_path / "set")
    assert (tmp_path / "set" / "masks" / "a.png").read_bytes() == b"truth"


def test_another_image_of_the_same_name_is_refused(
    study: Study, photos: Path, tmp_path: Path
) -> None:
    predict(study, photos, out=tmp_path / "out")
    other = save(tmp_path / "other" / "a.png", picture(30))
    with pytest.raises(UserError, match=r"a\.png there is the result of .*photos/a\.png"):
        predict(study, other, out=tmp_path / "out")


def test_torn_line_of_the_record_is_cut_off(study: Study, photos: Path, tmp_path: Path) -> None:
    record = tmp_path / "out" / "predictions.jsonl"
    predict(study, photos, out=tmp_path / "out")
    with record.open("ab") as handle:
        handle.write(b'{"file": "half')
    save(photos / "z.png", picture(12))
    assert predict(study, photos, out=tmp_path / "out").n_earlier == 3
    assert len(record.read_text().splitlines()) == 5


def test_damaged_record_is_one_error(study: Study, photos: Path, tmp_path: Path) -> None:
    predict(study, photos, out=tmp_path / "out")
    record = tmp_path / "out" / "predictions.jsonl"
    record.write_bytes(record.read_bytes().replace(b'"size"', b'"siz"', 1))
    with pytest.raises(ConfigError, match=r"a damaged record .*predict all files again"):
        predict(study, photos, out=tmp_path / "out")


def test_full_disk_is_one_error_and_the_next_run_continues(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(40):
        save(tmp_path / "in" / f"{k:02d}.png", picture(k))
    real = files.write_bytes

    def write(path: Path, data: bytes) -> None:
        if path.name == "35.png":
            raise OSError(28, os.strerror(28), str(path))
        real(path, data)

    monkeypatch.setattr(files, "write_bytes", write)
    with pytest.raises(UserError, match=r"no space left on this disk; .* the same command contin"):
        predict(study, tmp_path / "in", out=tmp_path / "out")
    monkeypatch.setattr(files, "write_bytes", real)
    summary = predict(study, tmp_path / "in", out=tmp_path / "out")
    assert summary.n_earlier > 0 and summary.n_masks == 40


def test_interrupt_keeps_what_was_finished(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(100):
        save(tmp_path / "in" / f"{k:02d}.png", picture(k))

    class Interrupting(Lines):
        def bar(self, text: str) -> Any:
            def update(n_done: int, total: int | None) -> None:
                raise KeyboardInterrupt

            return update

    with pytest.raises(KeyboardInterrupt):
        predict(study, tmp_path / "in", out=tmp_path / "out", progress=Interrupting())
    n_masks = len(list((tmp_path / "out" / "masks").iterdir()))
    assert 0 < len(rows(tmp_path / "out")) == n_masks < 100
    summary = predict(study, tmp_path / "in", out=tmp_path / "out")
    assert (summary.n_earlier, summary.n_masks) == (n_masks, 100)


def test_diverged_output_of_one_image_fails_that_image(
    study: Study, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.deploy.predictor import Predictor
    from harness.training.loop.errors import DivergedError

    real = Predictor.probabilities

    def probabilities(self: Predictor, images: Any) -> Any:
        if any(image.shape[0] == 40 for image in images):
            raise DivergedError("the network's outputs are not finite numbers")
        return real(self, images)

    monkeypatch.setattr(Predictor, "probabilities", probabilities)
    summary = predict(study, photos, out=tmp_path / "out")
    assert summary.failures == {"b.jpg": "the network's outputs are not finite numbers"}


def test_long_name_fails_alone(study: Study, photos: Path, tmp_path: Path) -> None:
    save(photos / f"{'x' * 250}.png", picture(1))
    summary = predict(study, photos, out=tmp_path / "out")
    assert list(summary.failures.values()) == ["its name is too long to be written; rename it"]
    assert summary.n_masks == 3


def test_second_process_is_refused(study: Study, photos: Path, tmp_path: Path) -> None:
    import fcntl

    predict(study, photos, out=tmp_path / "out")
    with (tmp_path / "out" / "predictions.jsonl").open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another harness predict writes into it"):
            predict(study, photos, out=tmp_path / "out")


@pytest.mark.usefixtures("three_threads")
def test_large_images_are_predicted_one_at_a_time(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading
    import time

    from harness.deploy.predict import workers
    from harness.deploy.predictor import Predictor

    monkeypatch.setattr(workers, "_WORKER_BYTES", 30_000)
    for k in range(6):
        save(tmp_path / "in" / f"{k}.png", picture(k, 64, 64))
    running, most = 0, 0
    lock, real = threading.Lock(), Predictor.probabilities

    def probabilities(self: Predictor, images: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        assert len(images) == 1
        result = real(self, images)
        with lock:
            running -= 1
        return result

    monkeypatch.setattr(Predictor, "probabilities", probabilities)
    assert predict(study, tmp_path / "in", out=tmp_path / "out").n_masks == 6
    assert most == 1


def test_no_mask_and_no_ledger_is_touched(study: Study, photos: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in study.paths.root.rglob("*") if p.is_file()}
    predict(study, photos, out=tmp_path / "out")
    after = {p: p.stat().st_mtime_ns for p in study.paths.root.rglob("*") if p.is_file()}
    assert before == after and not study.paths.test_ledger.exists()


@pytest.mark.parametrize("shape", [(3000, 40), (1, 5000)])
def test_overlay_of_a_large_image_is_reduced(
    study: Study, tmp_path: Path, shape: tuple[int, int]
) -> None:
    image = np.full((*shape, 3), 100, np.uint8)
    overlay = draw_prediction(image, np.ones(shape, np.uint8), study.tables.config.data)
    scale = 2048 / max(shape)
    assert overlay.shape == (max(1, round(shape[0] * scale)), round(shape[1] * scale), 3)
    assert (overlay != 100).any(axis=2).all()


def test_result_names_of_an_image(study: Study, tmp_path: Path) -> None:
    data = study.tables.config.data
    writer = ResultWriter(tmp_path, data, probabilities=True, overlays=True)
    names = [path.relative_to(tmp_path).as_posix() for path in writer.paths("sub/a")]
    assert names == ["masks/sub/a.png", "probabilities/sub/a.png", "overlays/sub/a.jpg"]


def test_mask_of_a_geotiff_is_a_geotiff_of_the_same_place(study: Study, tmp_path: Path) -> None:
    keys = (1, 1, 0, 1, 3072, 0, 1, 32633)
    scale, corner = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 412345.25, 5654321.75, 0.0)
    (tmp_path / "photos").mkdir()
    tifffile.imwrite(
        tmp_path / "photos" / "field.tif",
        picture(1),
        photometric="rgb",
        extratags=[
            (33550, 12, 3, scale, True),
            (33922, 12, 6, corner, True),
            (34735, 3, len(keys), keys, True),
        ],
    )
    tifffile.imwrite(tmp_path / "photos" / "plain.tif", picture(2), photometric="rgb")
    out = tmp_path / "out"
    summary = predict(study, tmp_path / "photos", out=out)
    assert summary.n_masks == 2 and (out / "masks" / "plain.png").exists()
    assert not (out / "masks" / "field.png").exists()
    (prediction,) = study.predictor().predict([picture(1)])
    with tifffile.TiffFile(out / "masks" / "field.tif") as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert page.geotiff_tags["ProjectedCSTypeGeoKey"] == 32633
        assert page.tags["ModelPixelScaleTag"].value == scale
        assert page.tags["ModelTiepointTag"].value == corner
        np.testing.assert_array_equal(file.asarray(), 255 * prediction.mask)
    assert predict(study, tmp_path / "photos", out=out).n_earlier == 2
