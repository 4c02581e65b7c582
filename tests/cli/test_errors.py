"""What a user gets wrong: one clear message with the place, exit code 2, nothing half-written."""

import shutil
from pathlib import Path

import pytest

from harness.cli.app import main
from harness.core import strict_yaml
from tests.conftest import TINY


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and standard error of a command."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code, capsys.readouterr().err


def write_space(folder: Path, text: str | None = None, **changes: object) -> Path:
    space = folder / "space.yaml"
    content = {**TINY, **changes}
    space.write_text(strict_yaml.dump_yaml(content) if text is None else text, encoding="utf-8")
    return space


def assert_refused(
    arguments: list[str], words: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path for path in place.rglob("*") if "data" not in path.parts}
    code, said = run(arguments, capsys)
    assert code == 2, said
    assert "Traceback" not in said
    for word in words:
        assert word in said
    assert {path for path in place.rglob("*") if "data" not in path.parts} == before


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.arch=Unett", ["--set: model.arch", "did you mean Unet?"]),
        ("model.encoder_name=resnet35", ["model.encoder_name", "resnet35", "did you mean resnet"]),
        ("model.encoder_name=tu-resnet35", ["timm", "did you mean tu-resnet"]),
        ("optim.lrr=1", ["--set: optim.lrr: unknown setting; did you mean optim.lr?"]),
        ("train.epochs=many", ["--set: train.epochs", "many"]),
        ("train.epochs", ["--set train.epochs: must be KEY=VALUE"]),
        ("optim.lr=1e-3", ["--set: optim.lr: searched by this space"]),
        ("train.precision=fp16", ["train.precision: fp16 needs a CUDA device"]),
        ("model.options.decoder_chanels=[8, 8, 8]", ["did you mean", "decoder_channels"]),
    ],
)
def test_bad_setting(
    setting: str,
    words: list[str],
    workspace: Path,
    polyps: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space = write_space(workspace)
    command = ["run", "--space", str(space), "--data", str(polyps), "--set", setting]
    assert_refused(command, words, workspace, capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sampler", "tpee"], ["--sampler tpee", "did you mean tpe?"]),
        (["--pruner", "medium"], ["--pruner medium", "did you mean median?"]),
        (["--study", "../x"], ["study name '../x'", "A-Z a-z 0-9"]),
        (["--study", "x.confirm"], ["without .confirm at the end"]),
        (["--device", "cuda:99"], ["--device cuda:99: not available here"]),
        (["--device", "gpu"], ["--device gpu: unknown device; choose from auto, cpu"]),
        (["--data", "nowhere"], ["--data nowhere", "neither a folder nor a dataset"]),
        (["--data", "kvasir-sg"], ["did you mean kvasir-seg?"]),
        (
            ["--data", "kvasir-seg"],
            ["46.2 MB", "research and education only", "harness data download kvasir-seg"],
        ),
        (["--space", "missing.yaml"], ["missing.yaml: unknown search space"]),
        (["--space", "quickstrat.yaml"], ["did you mean quickstart.yaml?"]),
        (["--trials", "0"], ["--trials"]),
        (["--from", "nowhere"], ["--from nowhere: there is no study nowhere in"]),
        (
            ["--set", "train.epochs=from:nowhere"],
            ["--set: train.epochs: there is no study nowhere in"],
        ),
        (["--trails", "3"], ["--trails", "--trials"]),
    ],
)
def test_bad_option(
    options: list[str],
    words: list[str],
    workspace: Path,
    polyps: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space = write_space(workspace)
    given = {"--space": str(space), "--data": str(polyps)} | dict([options])  # type: ignore[list-item]
    command = ["run", *(word for pair in given.items() for word in pair)]
    assert_refused(command, words, workspace, capsys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("parameters: [unclosed", ["space.yaml:1"]),
        ("\x00", ["space.yaml"]),
        ("just words", ["space.yaml:1", "mapping"]),
        ("parameters:\n  optim.lrr: {low: 1, high: 2}\n", ["space.yaml:2: optim.lrr", "optim.lr?"]),
        ("parametres: {}\n", ["space.yaml:1: parametres", "parameters?"]),
        ("parameters:\n  optim.lr: {low: 1, low: 2}\n", ["space.yaml:2", "low"]),
        ("objective:\n  metric: val/dise\n", ["space.yaml:1: objective"]),
    ],
)
def test_bad_space(
    text: str, words: list[str], workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = write_space(workspace, text)
    command = ["run", "--space", str(space), "--data", str(polyps)]
    assert_refused(command, words, workspace, capsys)


def test_unknown_metric_names_the_nearest(
    workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = workspace / "studies" / "s" / "study.yaml"
    study.parent.mkdir(parents=True)
    study.write_text("objective: {metric: val/dise_loss}\n", encoding="utf-8")
    space = write_space(workspace)
    command = ["run", "--study", "s", "--space", str(space), "--data", str(polyps)]
    assert_refused(
        command,
        ["study.yaml", "objective.metric", "did you mean val/dice_loss?"],
        workspace,
        capsys,
    )


def test_image_without_mask_and_mask_without_image(
    workspace: Path, polyps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(polyps, broken)
    images, masks = sorted((broken / "images").iterdir()), sorted((broken / "masks").iterdir())
    images[0].unlink()
    masks[1].unlink()
    command = ["run", "--space", str(write_space(workspace)), "--data", str(broken)]
    assert_refused(command, [images[1].name, masks[0].name], workspace, capsys)


@pytest.mark.parametrize("left", [[], ["images"], ["images", "masks"]])
def test_empty_data_folder(
    left: list[str], workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    for name in ["", *left]:
        (empty / name).mkdir()
    command = ["run", "--space", str(write_space(workspace)), "--data", str(empty)]
    assert_refused(command, [str(empty)], workspace, capsys)


def test_undecodable_image_is_named_before_trial_0(
    workspace: Path, polyps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(polyps, broken)
    first = min((broken / "images").iterdir())
    first.write_bytes(first.read_bytes()[:300])
    command = ["run", "--space", str(write_space(workspace)), "--data", str(broken)]
    assert_refused(command, [first.name], workspace, capsys)


def test_weights_that_cannot_be_had(
    workspace: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = {**TINY["fixed"], "model.encoder_weights": "imagenet", "model.encoder_name": "vgg11"}
    space = write_space(workspace, fixed=fixed)
    command = ["run", "--space", str(space), "--data", str(polyps)]
    words = ["vgg11", "--set model.encoder_weights=null"]
    assert_refused(command, words, workspace, capsys)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["report", "--study", "nothing"], ["no study nothing"]),
        (["report"], ["--study"]),
        (["ui"], ["no mlflow.db"]),
        (["data", "download", "kvasir"], ["did you mean kvasir-seg?"]),
        (["run"], ["give --study, or a --space file"]),
    ],
)
def test_other_commands(
    command: list[str], words: list[str], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(command, words, workspace, capsys)


def test_no_space_at_all_is_one_configuration_and_needs_a_name(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(["run", "--trials", "2"], ["needs a name"], workspace, capsys)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run", "interrupted; the same command continues where it stopped\n"),
        ("lr-find", "interrupted\n"),
    ],
)
def test_only_a_study_is_said_to_continue(
    command: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.app.build_app", lambda _: interrupted)
    with pytest.raises(SystemExit, match="130"):
        main([command])
    assert capsys.readouterr().err == said
