"""Sample images of a bundle: which, by whose permission, and as what."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness.config.progress import LineProgress
from harness.core import files
from harness.core.errors import DataError, UserError
from harness.data.files.image_io import read_image as read_study_image
from harness.deploy.app.bundle_models import BundleModels, read_description
from harness.deploy.card.licences import UNKNOWN_TERMS
from harness.deploy.export import samples as samples_module
from harness.deploy.export.bundle import export_bundle
from harness.deploy.export.samples import has_samples
from harness.deploy.predictor import Predictor
from harness.deploy.runner.predict import Model, read_image
from harness.training.metrics.image_scores import scores_from_entries, write_scores
from tests.deploy.networks import NetworkStudy

DICE = {1: 0.9, 2: 0.3, 3: 0.8, 4: 0.7}  # of the validation images, by row


def scored(root: Path, **options: Any) -> NetworkStudy:
    study = NetworkStudy(root, **options)
    entries = [
        (row, f"images/{row}.png", 1, 1.0, 1.0, 1.0, round(100 * d), *[round(100 * (1 - d))] * 2, 9)
        for row, d in DICE.items()
    ]
    write_scores(study.paths.trial(0).scores_csv, scores_from_entries(entries))
    return study


def export(study: NetworkStudy, folder: Path, **options: Any) -> dict[str, Any]:
    export_bundle(study.deployment, folder, parity_images=1, progress=LineProgress(), **options)
    spec: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return spec


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> tuple[NetworkStudy, Path]:
    root = tmp_path_factory.mktemp("sampled")
    study = scored(root)
    export(study, root / "bundle", samples=True)
    return study, root / "bundle"


def test_typical_best_and_worst_image_are_in_the_bundle(sampled: tuple[NetworkStudy, Path]) -> None:
    study, folder = sampled
    spec = json.loads((folder / "model.json").read_text())
    assert [(s["kind"], s["file"], s["image"]) for s in spec["samples"]] == [
        ("typical", "samples/typical.png", "images/3.png"),
        ("best", "samples/best.png", "images/1.png"),
        ("worst", "samples/worst.png", "images/2.png"),
    ]
    assert [s["dice"] for s in spec["samples"]] == pytest.approx([0.8, 0.9, 0.3])
    for sample in spec["samples"]:
        original = read_study_image(study.root / "data" / "shapes" / sample["image"], 1e8)
        np.testing.assert_array_equal(read_image(folder / sample["file"], spec), original)


def test_masks_are_those_of_the_bundle_and_hashes_those_of_the_files(
    sampled: tuple[NetworkStudy, Path],
) -> None:
    study, folder = sampled
    spec, model = json.loads((folder / "model.json").read_text()), Model(folder)
    for sample in spec["samples"]:
        image = read_image(folder / sample["file"], spec)
        stored = cv2.imread(
            str(folder / "samples" / "masks" / Path(sample["file"]).name), cv2.IMREAD_UNCHANGED
        )
        np.testing.assert_array_equal(stored, 255 * model.predict(image)[0])
        assert (stored == 255 * Predictor(study.deployment).predict([image])[0].mask).mean() > 0.999
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "model.json"]
    names = {path.relative_to(folder).as_posix(): files.file_sha256(path) for path in paths}
    assert spec["files"] == names
    assert {"samples/worst.png", "samples/masks/worst.png"} <= set(names)


def test_card_names_the_samples_and_the_terms(sampled: tuple[NetworkStudy, Path]) -> None:
    text = (sampled[1] / "MODEL_CARD.md").read_text()
    section = text.partition("## Samples")[2].partition("\n## ")[0]
    assert "`samples/worst.png` | worst | `images/2.png` | 0.3000" in section
    assert f"Terms of the images: {UNKNOWN_TERMS}" in section


def test_page_offers_the_samples(sampled: tuple[NetworkStudy, Path]) -> None:
    folder = sampled[1]
    models, spec = BundleModels(folder), json.loads((folder / "model.json").read_text())
    assert models.sample_names[0] == "typical: images/3.png"
    assert "3 validation images" in models.sample_note
    sample = models.read_sample(2)
    worst = read_image(folder / "samples" / "worst.png", spec)
    np.testing.assert_array_equal(sample.image, worst)
    assert sample.truth is None
    with pytest.raises(IndexError):
        models.read_sample(3)


@pytest.mark.parametrize("damage", ["changed", "absent", "link"])
def test_damaged_sample_is_one_sentence(
    sampled: tuple[NetworkStudy, Path], tmp_path: Path, damage: str
) -> None:
    copy = shutil.copytree(sampled[1], tmp_path / "bundle")
    path = copy / "samples" / "typical.png"
    if damage == "changed":
        path.write_bytes((copy / "samples" / "worst.png").read_bytes())
    else:
        path.unlink()
    if damage == "link":
        path.symlink_to(tmp_path / "secret.png")
        shutil.copy(copy / "samples" / "worst.png", tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"this sample (has changed|is missing)"):
        BundleModels(copy).read_sample(0)


@pytest.mark.parametrize("name", ["../secret.png", "samples/../../a.png", "/etc/passwd", "a.png"])
def test_sample_elsewhere_is_refused(
    sampled: tuple[NetworkStudy, Path], tmp_path: Path, name: str
) -> None:
    spec = json.loads((sampled[1] / "model.json").read_text())
    spec["samples"][0]["file"] = name
    (tmp_path / "model.json").write_text(json.dumps(spec))
    with pytest.raises(UserError, match=r"samples\.0\.file"):
        read_description(tmp_path)


def test_files_in_the_folder_of_samples_are_not_replaced(
    sampled: tuple[NetworkStudy, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(sampled[1], tmp_path / "bundle")
    (copy / "samples" / "own.png").write_bytes(b"a user's")
    with pytest.raises(UserError, match=r"files that are not of the bundle \(samples/own.png\)"):
        export(sampled[0], copy, force=True)


def test_images_of_a_user_are_not_included_without_a_request(
    sampled: tuple[NetworkStudy, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = sampled[0].deployment
    assert not has_samples(deployment, None) and not has_samples(deployment, False)
    assert has_samples(deployment, True)
    monkeypatch.setattr(samples_module, "SYNTHETIC", "shapes")  # as if harness had generated them
    assert has_samples(deployment, None) and not has_samples(deployment, False)


def test_requested_samples_that_are_missing_are_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = scored(tmp_path)
    deployment = study.deployment
    shutil.rmtree(tmp_path / "data" / "shapes" / "images")
    with pytest.raises(UserError, match=r"^--samples: the validation images are missing"):
        export_bundle(deployment, tmp_path / "out", samples=True, progress=LineProgress())
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(samples_module, "SYNTHETIC", "shapes")
    assert not has_samples(deployment, None)


def test_other_channels_are_arrays_and_images_without_scores_are_spread(tmp_path: Path) -> None:
    study = NetworkStudy(tmp_path, channels=5, task="multilabel")
    spec = export(study, tmp_path / "bundle", samples=True)
    assert [(s["file"], s["image"], s["dice"]) for s in spec["samples"]] == [
        ("samples/first.npy", "images/1.tif", None),
        ("samples/middle.npy", "images/3.tif", None),
        ("samples/last.npy", "images/4.tif", None),
    ]
    assert (tmp_path / "bundle" / "samples" / "masks" / "first-round.png").is_file()
    assert BundleModels(tmp_path / "bundle").read_sample(1).image.shape[2] == 5
