"""Models of a study on disk: which one is shown, what is said of it, what stays in memory."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import harness
from harness.config.progress import LineProgress
from harness.core.errors import DataError, UserError
from harness.data.files import decode
from harness.deploy.app import study_models
from harness.deploy.app.study_models import StudyModels
from harness.search.definition.options import RunOptions
from tests.deploy.app.serving import running_app
from tests.deploy.made_study import made_study
from tests.deploy.networks import NetworkStudy

pytestmark = pytest.mark.slow  # torch and saved networks


@pytest.fixture
def study(tmp_path: Path, polyps: Path) -> harness.Study:
    return made_study(tmp_path, data={"root": str(polyps)}, n_trials=3)


def open_models(study: harness.Study, trial: int | None = None, **more: Any) -> StudyModels:
    root = study.workspace.root
    options = RunOptions.from_arguments({"study": study.name, "workspace": root, "device": "cpu"})
    return StudyModels(options, trial, more.get("compare"), LineProgress())


def test_the_leading_trial_is_shown_and_not_called_confirmed(study: harness.Study) -> None:
    models = open_models(study)
    assert models.choices[0].key == "0" and models.choices[0].title.endswith("(leading)")
    assert [choice.key for choice in models.choices] == ["0", "1", "2"]
    assert "leading but not confirmed" in models.reason
    numbers = dict(models.numbers)
    assert "not confirmed" in numbers["validation"] and "confirmed" not in numbers
    assert numbers["test"] == "not measured on the test images yet"
    assert numbers["decision"].startswith("p ≥ 0.5; chosen on ")


def test_a_requested_trial_comes_first(study: harness.Study) -> None:
    models = open_models(study, 2, compare=1)
    assert [choice.key for choice in models.choices] == ["2", "0", "1"]
    assert models.compared == "1" and models.load("2").facts.key == "2"


def test_a_compared_trial_must_exist(study: harness.Study) -> None:
    with pytest.raises(UserError, match="no such trial"):
        open_models(study, compare=7)


def test_at_most_two_models_are_in_memory(
    study: harness.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = open_models(study)
    loaded: list[str] = []
    original = study_models.StudyModel

    def count(key: str, title: str, deployment: Any) -> Any:
        loaded.append(key)
        return original(key, title, deployment)

    monkeypatch.setattr(study_models, "StudyModel", count)
    for key in ("1", "0", "1", "2", "1", "0"):
        assert models.load(key).facts.key == key
        assert len(models._loaded) <= 2
    # 2 took the room of 0, which was used longest ago, and 0 then that of 2.
    assert loaded == ["1", "2", "0"]
    with pytest.raises(KeyError):
        models.load("9")


def test_the_page_gives_the_mask_of_the_command(study: harness.Study, polyps: Path) -> None:
    image = next((polyps / "images").iterdir())
    (mask,) = study.predictor(device="cpu").predict([cv2.imread(str(image))[..., ::-1].copy()])
    with running_app(open_models(study)) as app:
        answer = app.request("POST", "/api/batch?model=0&index=0", image.read_bytes())
        _, arrays = answer.frame
    (png,) = arrays.values()
    stored = cv2.imdecode(np.array(png), cv2.IMREAD_UNCHANGED)
    assert (stored == 255 * mask.mask).all()


def test_samples_are_validation_images_with_their_masks(tmp_path: Path) -> None:
    study = NetworkStudy(tmp_path)
    models = open_models(harness.open_study("net", workspace=tmp_path), 0)
    assert models.sample_names == [f"images/{k}.png" for k in range(1, 5)]
    assert re.match("4 of 4 validation images", models.sample_note)
    sample = models.read_sample(0)
    assert sample.truth is not None and sample.truth.shape == sample.image.shape[:2] == (180, 285)
    with pytest.raises(IndexError):
        models.read_sample(4)
    (study.root / "data" / "shapes" / "images" / "1.png").write_bytes(b"changed")
    with pytest.raises(DataError, match=r"^this sample is missing or has changed"):
        models.read_sample(0)


def test_sample_above_the_limit_of_the_page_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    NetworkStudy(tmp_path)
    monkeypatch.setattr(study_models, "MAX_VALUES", 50_000)  # the samples have 285 x 180 pixels
    models = open_models(harness.open_study("net", workspace=tmp_path), 0)
    with pytest.raises(DataError, match=r"^this sample has more than 50,000 pixels, the limit of"):
        models.read_sample(0)


def test_no_test_image_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    NetworkStudy(tmp_path)
    opened: list[str] = []
    original = decode.load_image_file

    def watch(source: Any, name: Any, max_pixels: float) -> Any:
        opened.append(str(name))
        return original(source, name, max_pixels)

    monkeypatch.setattr("harness.data.files.image_io.load_image_file", watch)
    models = open_models(harness.open_study("net", workspace=tmp_path), 0)
    with running_app(models) as app:
        for k in range(len(models.sample_names)):
            app.request("POST", f"/api/predict?model=0&sample={k}")
    assert "images/1.png" in opened
    assert not [name for name in opened if name.startswith(("images/5", "masks/5"))]


def test_without_the_images_there_are_no_samples(tmp_path: Path) -> None:
    NetworkStudy(tmp_path)
    study = harness.open_study("net", workspace=tmp_path)
    open_models(study, 0)  # freezes the rule
    (tmp_path / "data" / "shapes").rename(tmp_path / "gone")
    models = open_models(study, 0)
    assert models.sample_names == [] and "not on this machine" in models.sample_note
