"""Large TIFFs are predicted by window, with the results of images that are decoded entirely."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from harness.api.study import Study
from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.data.files import large_image
from harness.data.files.decide import decide_mask, without_cleanup
from harness.data.files.large_image import LargeImage, open_large_image
from harness.data.files.source import FolderSource
from harness.data.windows.large_windows import LargeImageWindows
from harness.data.windows.window import Window
from harness.deploy.predict.large_images import predict_large, quantize, read_overview
from harness.deploy.predict.rows import mean_confidence
from harness.deploy.predict.workers import PredictionWorkers
from harness.deploy.predictor import Predictor
from harness.evaluation.held_out.weights import select_weights
from tests.deploy.made_study import made_study
from tests.deploy.predict.test_run import predict, rows

SHAPE = (210, 150)


def image() -> NDArray[np.uint8]:
    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (14, 10, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture
def tiles(tmp_path: Path) -> Study:
    return made_study(tmp_path / "ws", **{"data.tile.size": 32})


@pytest.fixture
def read_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of rows that were read at once; every TIFF counts as large."""
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    found: list[int] = []
    read = LargeImage.read_image

    def counted(self: LargeImage, wanted: slice, *arguments: Any) -> Any:
        found.append(wanted.stop - wanted.start)
        return read(self, wanted, *arguments)

    monkeypatch.setattr(LargeImage, "read_image", counted)
    return found


@contextmanager
def opened(path: Path) -> Iterator[LargeImageWindows]:
    with open_large_image(FolderSource(path.parent), path.name, 1e6) as large:
        assert large is not None
        yield LargeImageWindows(large, StudyDataConfig())


def test_masks_and_numbers_are_those_of_an_image_in_memory(
    tiles: Study, tmp_path: Path, read_rows: list[int]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    tifffile.imwrite(photos / "a.tif", image(), tile=(32, 32), compression="lzw")
    cv2.imwrite(str(photos / "b.png"), image()[..., ::-1])
    out = tmp_path / "out"
    summary = predict(tiles, photos, out=out, probabilities=True, overlays=True)
    assert (summary.n_masks, summary.failures) == (2, {})
    for folder in ("masks", "probabilities"):
        first, second = (
            cv2.imread(str(out / folder / f"{stem}.png"), cv2.IMREAD_UNCHANGED) for stem in "ab"
        )
        np.testing.assert_array_equal(first, second)
        assert first.shape == SHAPE
        assert first.min() < first.max()
    by_window, entire = rows(out)
    for column in set(entire) - {"file", "seconds"}:
        assert by_window[column] == entire[column]
    assert len(read_rows) > 10
    assert max(read_rows) <= 256  # of bands of the overview; windows have 32


@pytest.mark.parametrize("options", [{"ensemble": "best"}, {"tta": True}, {}])
@pytest.mark.parametrize("cleans", [False, True])
def test_ensembles_flips_and_clean_up_have_the_masks_of_an_image_in_memory(
    options: dict[str, Any],
    cleans: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = made_study(
        tmp_path / "ws", n_trials=2 if "ensemble" in options else 1, **{"data.tile.size": 32}
    )
    predictor = study.predictor(trial=0, tta="tta" in options)
    entry = ClassDecision(threshold=0.5, min_size=9, fill_holes=True) if cleans else None
    deployment = predictor.deployment
    if entry is not None:
        rule = DecisionRule(task="binary", classes=(entry,))
        frozen = deployment.rule.model_copy(update={"rule": rule})
        deployment = replace(deployment, rule=frozen)
    if "ensemble" in options:
        others = select_weights(deployment.context.paths, 1)
        deployment = replace(deployment, weights=(*deployment.weights, *others))
    predictor = Predictor(deployment)
    tifffile.imwrite(tmp_path / "a.tif", image(), tile=(32, 32), compression="lzw")
    (expected,) = predictor.predict([image()])
    monkeypatch.setattr(large_image, "WHOLE_PIXELS", 1000)
    with opened(tmp_path / "a.tif") as source:
        result = predict_large(predictor, source, keep_probabilities=True)
    np.testing.assert_array_equal(result.mask, expected.mask)
    assert result.planes is not None
    # Flips are averaged by window, whose sums have another order: 1e-7 in p.
    tolerance = 1 if "tta" in options else 0
    expected_planes = quantize(expected.probabilities)
    np.testing.assert_allclose(result.planes, expected_planes, rtol=0, atol=tolerance)
    confidence = mean_confidence(expected.probabilities, expected.mask, StudyDataConfig())
    assert result.mean_confidence == pytest.approx(confidence, abs=1e-6)
    changed = decide_mask(expected.probabilities, without_cleanup(deployment.rule.rule))
    assert np.array_equal(changed, expected.mask) != cleans
    with opened(tmp_path / "a.tif") as source:
        kept = predict_large(predictor, source, keep_probabilities=False)
    assert kept.planes is None


def test_images_above_max_pixels_are_predicted_in_parts_of_that_size(
    tiles: Study, tmp_path: Path, read_rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    tifffile.imwrite(photos / "a.tif", image(), tile=(32, 32))
    start = PredictionWorkers.__init__

    def limited(self: PredictionWorkers, *arguments: Any) -> None:
        start(self, *arguments)
        self._max_pixels = 32 * 32

    monkeypatch.setattr(PredictionWorkers, "__init__", limited)
    summary = predict(tiles, photos, out=tmp_path / "out")
    assert (summary.n_masks, summary.failures) == (1, {})
    assert set(read_rows) == {32}


def test_damaged_large_image_costs_no_other_its_mask(
    tiles: Study, tmp_path: Path, read_rows: list[int]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    tifffile.imwrite(photos / "a.tif", image(), rowsperstrip=10, compression="lzw")
    content = bytearray((photos / "a.tif").read_bytes())
    content[2000:4000] = bytes(2000)
    (photos / "bad.tif").write_bytes(content)
    summary = predict(tiles, photos, out=tmp_path / "out")
    assert summary.n_masks + len(summary.failures) == 2
    assert "a.tif" not in str(sorted(summary.failures))
    assert read_rows


def test_windows_are_those_of_the_image(tmp_path: Path, read_rows: list[int]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image(), rowsperstrip=7)
    with opened(tmp_path / "a.tif") as source:
        assert source.shape(0) == (*SHAPE, 3)
        for top, left in ((0, 0), (0, 60), (33, 5), (170, 110)):
            window = Window(top, left, 40, 40)
            expected = image()[window.slices]
            np.testing.assert_array_equal(source.read_image(0, window), expected)
    assert len(read_rows) == 3  # the second window lies in the rows of the first


def test_overview_is_an_area_average(tmp_path: Path, read_rows: list[int]) -> None:
    large = np.zeros((4096, 64, 3), np.uint8)
    large[::2] = 100
    large[2048:] = 200
    tifffile.imwrite(tmp_path / "a.tif", large, rowsperstrip=64)
    with opened(tmp_path / "a.tif") as source:
        overview = read_overview(source)
    assert overview.shape == (2048, 32, 3)
    assert (overview[:1024] == 50).all()
    assert (overview[1024:] == 200).all()
    assert max(read_rows) <= 256
