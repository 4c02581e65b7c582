"""The page in Chromium with no network but this machine: drop, sliders, comparison, downloads."""

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision
from harness.data.files.decide import clean_plane, decide_mask
from harness.deploy.app.served_model import SampleImage
from harness.deploy.predict.outputs import encode_mask
from harness.deploy.predict.rows import measure_prediction
from harness.deploy.prediction import Prediction
from tests.data.make import encode
from tests.deploy.app.paging import (
    downloaded,
    give_files,
    open_page,
    pixels,
    requested,
    settle_frame,
    show_view,
    text_of,
    wait,
)
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
from tests.report.browsing import BROWSER, errors

pytestmark = BROWSER

CLEAN = {"fill_holes": True, "min_size": 6}


def smooth(seed: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """Image whose channels form blobs with holes and specks."""
    noise = np.random.default_rng(seed).normal(size=(*size, 3))
    blurred = cv2.GaussianBlur(noise, (0, 0), 1.6)
    scaled = (blurred - blurred.min()) / (blurred.max() - blurred.min())
    return np.rint(255 * scaled).astype(np.uint8)


IMAGE, SAMPLE = smooth(0), smooth(1)
PICTURE = encode(".png", IMAGE)
TRUTH = (SAMPLE[..., 0] > 140).astype(np.uint8)
P = channel_probabilities(IMAGE, BINARY)


@pytest.fixture(scope="module")
def app() -> Iterator[RunningApp]:
    with running_app(ChannelModels(clean=CLEAN, samples=[SampleImage(SAMPLE, TRUTH)])) as running:
        yield running


@pytest.fixture
def page(driver: Any, app: RunningApp) -> Iterator[Any]:
    """The page with a dropped image; afterwards it has asked this server only, without errors."""
    open_page(driver, app)
    give_files(driver, [("polyp 1.png", PICTURE)])
    yield driver
    addresses = [url for url in requested(driver) if not url.startswith("about:")]
    assert addresses and all(url.startswith((app.url, f"blob:{app.url}")) for url in addresses)
    # Chromium advises these tests on reading a canvas, which the page itself never does.
    assert [line for line in errors(driver) if "willReadFrequently" not in line] == []


def mask_of(driver: Any, side: str = "main") -> NDArray[np.bool_]:
    """The mask that a two-class page shows."""
    show_view(driver, "mask")
    shown = pixels(driver, side)
    assert set(np.unique(shown)) <= {0, 255}
    return shown[..., 0] == 255


def set_range(driver: Any, selector: str, value: float) -> None:
    driver.execute_script(
        """const range = document.querySelector(arguments[0]);
           range.value = arguments[1];
           range.dispatchEvent(new Event('input', { bubbles: true }))""",
        selector,
        str(value),
    )
    settle_frame(driver)


def decided(threshold: float, **clean: Any) -> NDArray[np.bool_]:
    entry = ClassDecision(threshold=threshold, **clean)
    return clean_plane(P[0] >= np.float32(threshold), entry)


def test_a_dropped_image_is_decided_by_the_rule(page: Any) -> None:
    assert text_of(page, "#result-title") == "polyp 1.png"
    assert (mask_of(page) == decided(0.42, **CLEAN)).all()
    show_view(page, "image")
    assert (pixels(page) == IMAGE).all()
    assert "polyp" in text_of(page, "#status")


def test_the_threshold_acts_at_once_and_goes_back(page: Any) -> None:
    for threshold in (0.3, 0.55, 0.7, 0.99):
        set_range(page, "#threshold-main-0", threshold)
        assert (mask_of(page) == decided(threshold, **CLEAN)).all()
    page.execute_script("document.querySelector('[data-side=main] .reset').click()")
    settle_frame(page)
    assert (mask_of(page) == decided(0.42, **CLEAN)).all()
    assert not page.execute_script(
        "return document.querySelector('[data-side=main] .reset').checkVisibility()"
    )


def test_the_clean_up_can_be_left_out(page: Any) -> None:
    assert (decided(0.42) != decided(0.42, **CLEAN)).any()
    page.execute_script("document.querySelector('#clean').click()")
    settle_frame(page)
    assert (mask_of(page) == decided(0.42)).all()


def test_the_opacity_mixes_class_and_image(page: Any) -> None:
    set_range(page, "#opacity", 0)
    show_view(page, "overlay")
    inside = cv2.erode(decided(0.42, **CLEAN).astype(np.uint8), np.ones((5, 5))) == 1
    assert inside.any() and (pixels(page)[inside] == IMAGE[inside]).all()
    set_range(page, "#opacity", 60)
    mixed = 0.4 * IMAGE[inside] + 0.6 * np.array([0, 190, 140])
    assert np.abs(pixels(page)[inside] - mixed).max() <= 1
    # The contour keeps the colour whatever the opacity is, and outside there is the image.
    outside = ~decided(0.42, **CLEAN)
    assert (pixels(page)[outside] == IMAGE[outside]).all()


def test_probabilities_have_the_colours_of_the_report(page: Any) -> None:
    show_view(page, "probability")
    greys = np.arange(256, dtype=np.uint8)[None]
    colours = cv2.applyColorMap(greys, cv2.COLORMAP_CIVIDIS)[0, :, ::-1]
    assert np.abs(pixels(page).astype(int) - colours[IMAGE[..., 0]]).max() <= 3
    assert page.execute_script("return document.querySelector('.scale').checkVisibility()")


def test_the_numbers_are_those_of_predictions_csv(page: Any) -> None:
    mask = decided(0.42, **CLEAN)
    row = measure_prediction(Prediction(mask.astype(np.uint8), P), BINARY)
    text = text_of(page, "[data-side=main] .tiles").replace("\n", " ")
    assert f"Share {100 * row['share_polyp']:.2f} %" in text
    assert f"Area {row['area_px_polyp']:,} px" in text
    assert f"Objects {row['objects_polyp']}" in text
    assert f"Confidence {row['mean_confidence']:.3f}" in text
    assert "Dice" not in text
    assert "network" in text_of(page, "[data-side=main] .latency")


def test_two_models_side_by_side(page: Any) -> None:
    page.execute_script(
        """const select = document.querySelector('#compare');
           select.value = 'b';
           select.dispatchEvent(new Event('change'))"""
    )
    wait(page, "document.querySelector('[data-side=other]').checkVisibility()")
    settle_frame(page)
    first, second = decided(0.42, **CLEAN), decided(0.6, **CLEAN)
    assert (mask_of(page) == first).all() and (mask_of(page, "other") == second).all()
    dice = 2 * (first & second).sum() / (first.sum() + second.sum())
    text = text_of(page, "#agreement")
    assert f"agree on {100 * (first == second).mean():.2f} %" in text
    assert f"polyp {dice:.3f}" in text
    set_range(page, "#threshold-other-0", 0.42)
    assert "100.00 %" in text_of(page, "#agreement")
    page.execute_script(
        """const select = document.querySelector('#compare');
           select.value = '';
           select.dispatchEvent(new Event('change'))"""
    )
    settle_frame(page)
    assert not page.execute_script(
        "return document.querySelector('[data-side=other]').checkVisibility()"
    )


def test_a_comparison_can_start_with_the_page(driver: Any) -> None:
    with running_app(ChannelModels(compared="b")) as app:
        open_page(driver, app)
        give_files(driver, [("a.png", PICTURE)])
        assert (mask_of(driver, "other") == decided(0.6)).all()


def test_a_sample_has_dice_and_outline_of_its_annotation(page: Any) -> None:
    page.execute_script("document.querySelector('[data-sample]').click()")
    wait(page, "document.querySelector('#result-title').innerText.includes('sample-0')")
    settle_frame(page)
    p = channel_probabilities(SAMPLE, BINARY)
    mask = decide_mask(p, rule_of(BINARY, "a", **CLEAN))
    dice = 2 * (mask & TRUTH).sum() / (mask.sum() + TRUTH.sum())
    text = text_of(page, "[data-side=main] .tiles").replace("\n", " ")
    assert f"Dice {dice:.3f}" in text
    show_view(page, "image")
    assert (pixels(page) == SAMPLE).all()
    page.execute_script("document.querySelector('#truth').click()")
    settle_frame(page)
    is_yellow = (pixels(page) == [250, 230, 60]).all(axis=2)
    edge = TRUTH.astype(bool) & (cv2.erode(TRUTH, cv2.getStructuringElement(1, (3, 3))) == 0)
    assert (is_yellow == edge).all()


def test_the_downloaded_mask_is_that_of_predict(page: Any, downloads: Path) -> None:
    set_range(page, "#threshold-main-0", 0.5)
    page.execute_script("document.querySelector('.save-mask').click()")
    expected = encode_mask(decided(0.5, **CLEAN).astype(np.uint8), BINARY)
    assert [downloaded(downloads, "polyp_1-mask.png")] == expected


def test_the_downloaded_overlay_is_the_one_shown(page: Any, downloads: Path) -> None:
    show_view(page, "overlay")
    shown = pixels(page)
    show_view(page, "mask")
    page.execute_script("document.querySelector('.save-overlay').click()")
    data = np.frombuffer(downloaded(downloads, "polyp_1-overlay.png"), np.uint8)
    assert (cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1] == shown).all()


def test_several_files_become_a_zip(page: Any, downloads: Path) -> None:
    files = [("../up.png", PICTURE), ("=bad.png", b"no image"), ("c.png", encode(".png", SAMPLE))]
    give_files(page, files)
    wait(page, "document.querySelector('#batch-link').checkVisibility()")
    assert text_of(page, "#batch-text") == "2 predicted, 1 with a problem."
    assert "=bad.png: not a JPEG" in text_of(page, "#batch-problems")
    page.execute_script("document.querySelector('#batch-link').click()")
    data = downloaded(downloads, "polyps-masks.zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        masks = ["masks/0001_up.png", "masks/0003_c.png"]
        assert archive.namelist() == [*masks, "predictions.csv"]
        expected = encode_mask(decided(0.42, **CLEAN).astype(np.uint8), BINARY)
        assert [archive.read(masks[0])] == expected
        rows = list(csv.DictReader(io.StringIO(archive.read("predictions.csv").decode())))
    assert [row["file"] for row in rows][1:] == ["'=bad.png", "c.png"]
    assert [bool(row["error"]) for row in rows] == [False, True, False]


def test_a_pasted_picture_is_shown(page: Any) -> None:
    give_files(page, [("pasted.png", encode(".png", SAMPLE))], "paste")
    assert text_of(page, "#result-title") == "pasted.png"
    show_view(page, "image")
    assert (pixels(page) == SAMPLE).all()


def test_a_hostile_name_and_file_are_text(page: Any) -> None:
    name = "<img src=x onerror=window.bad=1>.png"
    give_files(page, [(name, b"<svg onload=window.bad=2>")])
    assert text_of(page, "#error") == f"{name}: not a JPEG, PNG, BMP, TIFF or WebP image"
    give_files(page, [(name, PICTURE)])
    assert text_of(page, "#result-title") == name
    assert page.execute_script("return window.bad") is None
    # The refused file is an answer of status 422, which the browser logs; nothing else is.
    assert all("422" in line for line in errors(page))


def test_a_server_that_is_gone_is_one_sentence(driver: Any) -> None:
    with running_app(ChannelModels()) as app:
        open_page(driver, app)
    give_files(driver, [("a.png", PICTURE)])
    assert "the server does not answer" in text_of(driver, "#error")


@pytest.mark.parametrize("data", [MULTICLASS, MULTILABEL], ids=["multiclass", "multilabel"])
def test_several_classes(driver: Any, downloads: Path, data: StudyDataConfig) -> None:
    p = channel_probabilities(IMAGE, data)
    mask = decide_mask(p, rule_of(data, "a", min_size=5))
    row = measure_prediction(Prediction(mask, p), data)
    with running_app(ChannelModels(data, {"min_size": 5})) as app:
        open_page(driver, app)
        give_files(driver, [("cells.png", PICTURE)])
        table = text_of(driver, "[data-side=main] table")
        assert f"Confidence\n{row['mean_confidence']:.3f}" in text_of(driver, ".tiles")
        driver.execute_script("document.querySelector('.save-mask').click()")
        suffix = "zip" if data.task == "multilabel" else "png"
        saved = downloaded(downloads, f"cells-mask.{suffix}")
    for name in data.classes:
        share, area, objects = (row[f"{key}_{name}"] for key in ("share", "area_px", "objects"))
        assert f"{name}\t{100 * share:.2f} %\t{area:,} px\t{objects}" in table
    if data.task == "multiclass":
        assert [saved] == encode_mask(mask, data)
    else:
        with zipfile.ZipFile(io.BytesIO(saved)) as archive:
            files = [archive.read(name) for name in archive.namelist()]
        assert files == encode_mask(mask, data)


def test_the_clean_up_of_the_page_is_that_of_the_command(driver: Any, app: RunningApp) -> None:
    """60 random planes under every combination of steps, against OpenCV's components."""
    open_page(driver, app)
    rng = np.random.default_rng(5)
    cases = []
    for case in range(60):
        shape = (int(rng.integers(1, 24)), int(rng.integers(1, 24)))
        plane = rng.random(shape) < rng.uniform(0.2, 0.8)
        rule = ClassDecision(
            threshold=0.5,
            fill_holes=bool(case & 1),
            largest_only=bool(case & 2),
            min_size=int(rng.integers(0, 8)) if case & 4 else 0,
        )
        cases.append((plane, rule))
    results = driver.execute_async_script(
        """const [cases, done] = arguments;
           import('/static/decide.js').then(({ cleanMask }) => done(
             cases.map(({ values, height, width, rule }) => {
               const mask = Uint8Array.from(values);
               const objects = cleanMask(mask, width, height, rule);
               return { mask: [...mask], objects };
             })))""",
        [
            {
                "values": plane.astype(int).ravel().tolist(),
                "height": plane.shape[0],
                "width": plane.shape[1],
                "rule": rule.model_dump(),
            }
            for plane, rule in cases
        ],
    )
    for (plane, rule), result in zip(cases, results, strict=True):
        expected = clean_plane(plane, rule)
        assert (np.array(result["mask"]).reshape(plane.shape) == expected).all(), rule
        n_labels, _ = cv2.connectedComponents(expected.astype(np.uint8), connectivity=8)
        assert result["objects"] == n_labels - 1
