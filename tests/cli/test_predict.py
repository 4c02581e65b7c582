"""`harness predict` on the command line: forms of --ensemble, messages, exit codes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli.app import main
from tests.conftest import harness_command
from tests.data.make import picture, save
from tests.deploy.made_study import made_study


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["predict", "--study", "made", *words])
    return int(left.value.code or 0)


@pytest.fixture
def photos(workspace: Path) -> Path:
    made_study(workspace)
    save(workspace / "photos" / "a.png", picture(1))
    save(workspace / "photos" / "b.png", picture(2))
    return workspace / "photos"


def test_prints_what_was_chosen_and_where_the_masks_are(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("photos", "--out", "out") == 0
    out, err = capsys.readouterr()
    assert out == "2 masks in out; table: out/predictions.csv\n"
    assert "trial 0, leading but not confirmed" in err


def test_bad_file_gives_exit_code_1_and_one_line(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(photos / "page.png", b"<html></html>")
    (photos / "notes.txt").write_text("no image")
    assert run("photos", "--out", "out") == 1
    out, err = capsys.readouterr()
    assert out.startswith("2 masks in out, 1 file failed;")
    assert err.splitlines().count("page.png: not a JPEG, PNG, BMP, TIFF or WebP image") == 1
    assert "1 file ignored, no images: photos/notes.txt" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "ensemble"),
    [
        (["--ensemble", "photos"], "confirmed"),
        (["photos", "--ensemble"], "confirmed"),
        (["--ensemble", "--tta", "photos"], "confirmed"),
        (["--ensemble", "confirmed", "photos"], "confirmed"),
        (["--ensemble", "best", "photos"], "best"),
        (["--ensemble=best", "photos"], "best"),
        (["--", "photos"], None),
    ],
)
def test_forms_of_ensemble(
    photos: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], ensemble: str | None
) -> None:
    from harness.api.study import Study

    given: dict[str, Any] = {}

    def predict(study: Study, files: list[str], **options: Any) -> Any:
        given.update(files=files, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "predict", predict)
    run("--out", "out", *words)
    assert (given["files"], given.get("ensemble")) == (["photos"], ensemble)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos", "--out", "photos"], "photos: is the folder of the images; choose another"),
        (["absent", "--out", "out"], "absent: no such file or folder"),
        (["photos", "--out", "out", "--ensemble=most"], "--ensemble most: unknown ensemble"),
        (["photos", "--out", "out", "--ensemble"], "has no confirmation; confirm it first"),
        (["photos", "--out", "out", "--trial", "7"], "--trial 7: study made has no such trial"),
        (["photos", "--out", "photos/a.png"], "photos/a.png: is a file; choose a folder"),
    ],
)
def test_mistake_is_one_error_and_exit_code_2(
    photos: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(*words) == 2
    assert message in capsys.readouterr().err


def test_interrupt_says_how_to_continue(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.api.study import Study

    def predict(study: Study, files: list[str], **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "predict", predict)
    assert run("photos", "--out", "out") == 130
    assert capsys.readouterr().err == "interrupted; the same command continues where it stopped\n"


def test_two_images_of_one_name_are_refused_and_the_others_predicted(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(photos / "A.jpg", picture(3))
    save(photos / "c.png", picture(4))
    assert run("photos", "--out", "out") == 1
    text = capsys.readouterr().err
    assert "A.jpg: a.png would have a result of the same name; rename one of them" in text
    assert "a.png: A.jpg would have a result of the same name; rename one of them" in text
    masks = {path.stem for path in Path("out/masks").iterdir()}
    assert "c" in masks and not masks & {"a", "A"}


def test_image_that_gets_a_namesake_keeps_its_mask(photos: Path) -> None:
    assert run("photos", "--out", "out") == 0
    mask = Path("out/masks/a.png").read_bytes()
    save(photos / "a.jpg", picture(3))
    assert run("photos", "--out", "out") == 1
    assert Path("out/masks/a.png").read_bytes() == mask


@pytest.mark.slow
def test_killed_three_times_and_continued_each_file_has_one_mask(photos: Path) -> None:
    """SIGKILL twice, Ctrl-C once; the record names each file, with no torn line."""
    for k in range(400):
        save(photos / f"{k:03d}.png", picture(k, 300, 400))
    workspace = photos.parent
    # With all results an image takes long enough that the signal arrives before the last one.
    words = ["predict", "--study", "made", "photos", "--out", "out"]
    words += ["--overlays", "--probabilities"]
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
        before = n_masks(workspace)
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", *words],
            cwd=workspace, env=os.environ, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while n_masks(workspace) < before + 15 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -number), err
    assert "interrupted; the same command continues where it stopped" in err
    assert 45 <= n_masks(workspace) < 402
    finished = harness_command(workspace, *words)
    assert finished.returncode == 0, finished.stderr
    assert n_masks(workspace) == 402
    lines = (workspace / "out" / "predictions.jsonl").read_text().splitlines()[1:]
    # A kill between a mask and its record repeats that batch, no other file.
    assert 402 <= len(lines) <= 402 + 3 * 16
    assert len((workspace / "out" / "predictions.csv").read_text().splitlines()) == 403
    assert not list((workspace / "out" / "masks").glob("*.tmp"))


def n_masks(workspace: Path) -> int:
    return len(list((workspace / "out" / "masks").glob("[!.]*.png")))
