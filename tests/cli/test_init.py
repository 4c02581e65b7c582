"""`harness init` writes a space and a study.yaml that `check` and `run` accept."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.cli.app import main
from harness.config.study import StudyConfig
from harness.core import strict_yaml
from harness.core.paths import Workspace
from harness.data.datasets.synthetic import generate_dataset
from harness.search.definition.network_checks import legal_names
from harness.space.reading.load_space import find_space, read_space
from harness.space.space import SearchSpace


def init(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["init", *words])
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def written(workspace: Path, name: str) -> tuple[StudyConfig, SearchSpace]:
    path = workspace / "studies" / name / "study.yaml"
    value = strict_yaml.load_yaml(path.read_text(encoding="utf-8"), source=str(path)).value
    space = find_space(name, Workspace(workspace))
    assert space == workspace / "search_spaces" / f"{name}.yaml"
    return StudyConfig.from_mapping(value), read_space(space, legal=legal_names())


def write_pairs(folder: Path, masks: list[np.ndarray], *, channels: int = 3) -> Path:
    """Pairs of noise and these masks."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number, mask in enumerate(masks):
        shape = mask.shape if channels == 1 else (*mask.shape, 3)
        image = rng.integers(0, 255, shape, np.uint8)
        assert cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        assert cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
    return folder


def test_two_class_folder(
    workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = init(capsys, str(polyps))
    assert code in (0, None)
    config, space = written(workspace, "polyps")
    assert (config.id, config.data.task, config.data.root) == (None, "binary", str(polyps))
    assert config.split.fractions == (0.6, 0.3, 0.1)  # 24 images: as many for validation as allowed
    assert {"model.arch", "optim.lr", "loss.ce"} <= {one.key for one in space.parameters}
    assert space.fixed["data.image_size"] == 64 and space.fixed["train.epochs"] == 100
    assert out.splitlines()[-1] == "next: harness check --space polyps.yaml --study polyps"
    text = (workspace / "search_spaces" / "polyps.yaml").read_text(encoding="utf-8")
    assert "these 24 images" in text and re.search(r"image has \d+ x \d+ pixels", text)


def test_several_classes_and_grey_images_are_described(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.arange(40)[:, None] + np.zeros((1, 40), int)
    folder = write_pairs(
        tmp_path / "my cells!",
        [((rows + k) // 10 % 4).astype(np.uint8) for k in range(6)],
        channels=1,
    )
    code, _, err = init(capsys, str(folder))
    assert code in (0, None), err
    config, space = written(workspace, "my-cells")
    assert (config.data.task, config.data.channels) == ("multiclass", 1)
    assert len(config.data.classes) == 4
    assert "loss.ce" in {one.key for one in space.parameters}


@pytest.mark.parametrize("existing", ["studies/polyps/study.yaml", "search_spaces/polyps.yaml"])
def test_existing_file_is_never_overwritten(
    workspace: Path, polyps: Path, existing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / existing
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    code, _, err = init(capsys, str(polyps))
    assert code == 2
    assert f"{path}: exists already" in " ".join(err.split())
    assert [p.read_text() for p in workspace.rglob("*.yaml")] == ["mine"]


def test_name_of_a_data_set_stays_a_name(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate_dataset(workspace / "data" / "stones", count=30, size=32, seed=1)
    code, out, _ = init(capsys, "stones", "--study", "first", "--workspace", str(workspace))
    assert code in (0, None)
    config, _ = written(workspace, "first")
    assert config.data.root == "stones"
    assert f"--study first --workspace {workspace}" in out


def test_pairs_that_cannot_be_used_are_left_out_on_request(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pairs(tmp_path / "my cells", [255 * np.eye(40, dtype=np.uint8)] * 6)
    (folder / "images" / "3.png").write_bytes(b"")
    code, _, err = init(capsys, str(folder))
    assert code == 2 and "leave it out with --skip-bad" in err
    place = tmp_path / "a place"
    code, out, _ = init(capsys, str(folder), "--skip-bad", "--workspace", str(place))
    assert code in (0, None) and out.startswith("5 pairs, binary")
    assert f"--study my-cells --skip-bad --workspace '{place}'" in out


def test_keys_of_the_space_are_aligned(
    workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(capsys, str(polyps))
    text = (workspace / "search_spaces" / "polyps.yaml").read_text(encoding="utf-8")
    searched = [line for line in text.splitlines() if re.match(r"  [a-z._]+: +\{", line)]
    assert len(searched) >= 5 and {line.index("{") for line in searched} == {22}


@pytest.mark.slow
def test_check_and_run_accept_the_files(workspace: Path, tmp_path: Path) -> None:
    from tests.conftest import harness_command

    folder = generate_dataset(tmp_path / "stones", count=70, size=32, seed=1)
    assert harness_command(workspace, "init", str(folder)).returncode == 0
    quick = ["--set", "model.encoder_weights=null", "--set", "train.epochs=1"]
    quick += ["--set", "data.image_size=32"]
    done = harness_command(
        workspace, "check", "--space", "stones.yaml", "--study", "stones", *quick
    )
    assert done.returncode == 0, done.stdout + done.stderr
    done = harness_command(workspace, "run", "--space", "stones.yaml", "--trials", "1", *quick)
    assert done.returncode == 0, done.stderr
    assert "next: harness confirm --study stones" in done.stderr
