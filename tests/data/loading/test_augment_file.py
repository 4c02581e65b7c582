"""Files of albumentations' own YAML: what it saved is read, what has no effect is refused."""

import inspect
import warnings
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import pytest
from albumentations.core.serialization import SERIALIZABLE_REGISTRY

from harness.core.errors import ConfigError
from harness.data.loading.augment import build_augmentation
from harness.data.loading.augment_file import read_steps
from tests.data.make import picture, square


def saved(folder: Path, *steps: Any, p: float = 1.0) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        A.save(A.Compose(list(steps), p=p), str(folder / "mine.yaml"), data_format="yaml")
    return "mine.yaml"


def written(folder: Path, steps: str, version: str = A.__version__) -> Path:
    text = f"__version__: {version}\ntransform: {{__class_fullname__: Compose, p: 1.0, transforms: "
    (folder / "mine.yaml").write_text(f"{text}[{steps}]}}\n", encoding="utf-8")
    return folder / "mine.yaml"


def test_file_of_albumentations_gives_its_steps(tmp_path: Path) -> None:
    name = saved(tmp_path, A.HorizontalFlip(p=1.0), A.Transpose(p=1.0))
    image, mask = picture(0, 32, 32), square(32, 32)
    changed, moved = build_augmentation(name, folder=tmp_path)(image, mask, 3)
    np.testing.assert_array_equal(changed, image[:, ::-1].swapaxes(0, 1))
    np.testing.assert_array_equal(moved, mask[:, ::-1].T)


def test_the_probability_of_the_whole_is_kept(tmp_path: Path) -> None:
    """p=0.25 of a Compose of one certain flip: 100 of 400 pictures, deviation 8.7."""
    augment = build_augmentation(saved(tmp_path, A.HorizontalFlip(p=1.0), p=0.25), folder=tmp_path)
    image = picture(0, 8, 8)
    flips = sum(not np.array_equal(augment(image, square(8, 8), k)[0], image) for k in range(400))
    assert 65 <= flips <= 135


def step_names() -> list[str]:
    """Every step of the installed version that can be made, at a size where it needs one."""
    return sorted(name for name in SERIALIZABLE_REGISTRY if made(name) is not None)


def made(name: str) -> Any:
    kind = SERIALIZABLE_REGISTRY[name]
    wanted = {"size": (64, 64), "height": 64, "width": 64, "min_height": 64, "min_width": 64}
    given = {k: v for k, v in wanted.items() if k in inspect.signature(kind).parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            step = kind(**given)
            step.to_dict()
        except Exception:  # a base class, or one that needs more
            return None
    return step


@pytest.mark.parametrize("name", step_names())
def test_whatever_the_installed_version_saves_is_read(tmp_path: Path, name: str) -> None:
    step = made(name)
    steps, _ = read_steps(tmp_path / saved(tmp_path, step))
    again = [one.to_dict()["transform"] for one in steps]
    assert again == [step.to_dict()["transform"]]


def test_more_than_sixty_steps_are_read() -> None:
    assert len(step_names()) > 60
    assert {"ShiftScaleRotate", "PadIfNeeded", "SafeRotate", "RGBShift"} <= set(step_names())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "must contain a Compose"),
        (
            "transform: {__class_fullname__: Compose, transforms: "
            "[{__class_fullname__: Flipp, p: 1}]}",
            "it has no step 'Flipp'",
        ),
        (
            "transform: {__class_fullname__: Compose, transforms: "
            "[{__class_fullname__: HorizontalFlip, p: 0.5, probability: 1}]}",
            "does not know probability of HorizontalFlip; HorizontalFlip takes p$",
        ),
        (
            "transform: {__class_fullname__: Compose, transforms: "
            "[{__class_fullname__: os.system, p: 1.0}]}",
            "os.system",
        ),
        (
            "transform: {__class_fullname__: Compose, transforms: "
            "[{__class_fullname__: HorizontalFlip}]}",
            "HorizontalFlip: has no p; add the probability",
        ),
        (
            "transform: {__class_fullname__: Compose, transforms: [{p: 1.0}]}",
            "a step without __class_fullname__",
        ),
        ("transform: {__class_fullname__: Compose}", "Compose must list its steps under transf"),
        ("[", "mine.yaml:1"),
    ],
)
def test_file_that_cannot_be_built_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        build_augmentation("mine.yaml", folder=tmp_path)
    assert "mine.yaml" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("HorizontalFlip", "Compose must list its steps under transforms, each with __class_fu"),
        ("{__class_fullname__: OneOf, p: 1.0, transforms: null}", "OneOf must list its steps"),
        (
            "{__class_fullname__: OneOf, p: 0.5, transforms: "
            "[{__class_fullname__: HorizontalFlip, p: 0.0}]}",
            "OneOf: no step in it has a p above 0$",
        ),
        (
            "{__class_fullname__: OneOf, p: 0.5, transforms: "
            "[{__class_fullname__: RandomResizedCrop, height: 64, width: 64, p: 1.0}]}",
            "cannot build it: RandomResizedCrop: size: Field required$",
        ),
        (
            "{__class_fullname__: HorizontalFlip, p: 2}",
            "HorizontalFlip: p: Input should be less than or equal to 1$",
        ),
    ],
)
def test_the_step_that_cannot_be_built_and_why_are_named(
    tmp_path: Path, steps: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_steps(written(tmp_path, steps))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"mine\.yaml: not a text in UTF-8: invalid start byte"):
        read_steps(tmp_path / "mine.yaml")


def test_an_argument_that_its_step_saves_and_ignores_must_have_the_saved_value(
    tmp_path: Path,
) -> None:
    """SafeRotate saves `scale` and takes none: another value would act nowhere."""
    path = tmp_path / saved(tmp_path, A.SafeRotate(p=0.5))
    text = path.read_text(encoding="utf-8")
    assert "rotate:" in text and "balanced_scale: false" in text
    read_steps(path)
    path.write_text(text.replace("balanced_scale: false", "balanced_scale: true"))
    with pytest.raises(ConfigError, match="does not know balanced_scale of SafeRotate; SafeRotate"):
        read_steps(path)


def test_unknown_arguments_are_found_inside_compositions(tmp_path: Path) -> None:
    inner = "{__class_fullname__: VerticalFlip, p: 1.0, speed: 3}"
    path = written(tmp_path, f"{{__class_fullname__: OneOf, p: 0.5, transforms: [{inner}]}}")
    with pytest.raises(ConfigError, match="does not know speed of VerticalFlip"):
        read_steps(path)


OLD = """__version__: 1.3.0
transform:
  __class_fullname__: albumentations.core.composition.Compose
  bbox_params: null
  p: 1.0
  transforms:
  - {__class_fullname__: albumentations.augmentations.transforms.HorizontalFlip,
     always_apply: false, p: 0.5}
  - __class_fullname__: albumentations.core.composition.OneOf
    p: 0.3
    transforms:
    - {__class_fullname__: albumentations.augmentations.transforms.VerticalFlip,
       always_apply: true, p: 0.5}
"""


def test_what_an_old_file_needs_is_said_and_enough(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_steps(path)
    assert str(caught.value) == (
        f"{path}: albumentations {A.__version__} does not know always_apply of HorizontalFlip, "
        "always_apply of VerticalFlip (the file was saved by '1.3.0': correct it as described, or "
        f"build the steps in Python with {A.__version__} and save them again); remove "
        "always_apply (where it was true, write p: 1.0)"
    )
    mended = OLD.replace("always_apply: false, ", "").replace(
        "always_apply: true, p: 0.5", "p: 1.0"
    )
    path.write_text(mended, encoding="utf-8")
    flip, one_of = read_steps(path)[0]
    assert isinstance(flip, A.HorizontalFlip) and flip.p == 0.5
    assert isinstance(one_of, A.OneOf) and one_of.transforms[0].p == 1.0


def test_a_step_that_is_gone_names_the_version(tmp_path: Path) -> None:
    gone = "{__class_fullname__: albumentations.augmentations.transforms.Flip, p: 0.5}"
    with pytest.raises(ConfigError, match=r"no step 'Flip' \(the file was saved by '1\.4\.0'"):
        read_steps(written(tmp_path, gone, "1.4.0"))
