"""`harness data inspect` and `harness data clean`: outputs and exit codes."""

import json
from pathlib import Path

import albumentations as A  # noqa: N812 (its own convention)
import cv2
import numpy as np
import pytest

from harness.cli.app import main
from tests.data.make import folder, picture, save
from tests.inspection.datasets import mixed


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["data", *words])
    assert isinstance(left.value.code, int)
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_fine_data_is_0_and_prints_a_block(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(workspace / "data/d", 3)
    code, out, _ = run(capsys, "inspect", "d")
    assert code == 0
    assert "3 pairs, 0 unusable" in out
    assert "The files fit these settings:\ndata:\n  root: d\n  task: binary" in out
    assert len(list((workspace / "data/cache/looks").glob("*.npz"))) == 1


def test_a_file_of_steps_is_found_where_run_finds_it(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(workspace / "d", 2)
    (workspace / "search_spaces").mkdir(exist_ok=True)
    steps = A.Compose([A.HorizontalFlip(p=1.0)])
    A.save(steps, workspace / "search_spaces/mine.yaml", data_format="yaml")
    code, _, err = run(capsys, "inspect", "d", "--augment", "mine.yaml", "--sheet", "x.png")
    assert code == 0 and "sheet: x.png" in err


def test_a_tilde_is_the_home_folder_in_every_option(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As no shell replaces that of `--html=~/x.html`."""
    home = workspace / "home"
    monkeypatch.setenv("HOME", str(home))
    folder(home / "d", 2)
    steps = A.Compose([A.HorizontalFlip(p=1.0)])
    A.save(steps, home / "mine.yaml", data_format="yaml")
    drawn = ("--augment=~/mine.yaml", "--sheet=~/x.png", "--html=~/x.html")
    assert run(capsys, "inspect", "~/d", *drawn, "--workspace=~/ws")[0] == 0
    assert run(capsys, "clean", "~/d", "~/clean", "--workspace=~/ws")[0] == 0
    assert run(capsys, "synthesize", "~/drawn", "--count=3", "--size=32")[0] == 0
    written = ("x.png", "x.html", "clean/cleaned.csv", "drawn/images", "ws/data/cache/looks")
    assert [name for name in written if not (home / name).exists()] == []
    assert not (workspace / "~").exists()


def test_bad_files_are_2_and_can_be_skipped(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed(workspace / "d")
    code, out, _ = run(capsys, "inspect", "d")
    assert code == 2 and "images/bad.png" in out
    code, _, err = run(capsys, "inspect", "d", "--skip-bad")
    assert code == 0 and "1 pair left out, 9 used" in err


def test_a_long_list_of_bad_files_hides_nothing_else(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(workspace / "d", 26)
    for index in range(23):
        (workspace / f"d/images/{index:03d}.png").write_bytes(b"no picture")
    (workspace / "d/masks/025.png").write_bytes((workspace / "d/masks/024.png").read_bytes())
    (workspace / "d/images/025.png").write_bytes((workspace / "d/images/024.png").read_bytes())
    code, out, _ = run(capsys, "inspect", "d")
    assert code == 2
    assert "23 pairs, the first:" in out and "21 more" in out
    assert "images/001.png" in out and "images/002.png" not in out
    assert "exact copies" in out


def test_json_alone_is_on_stdout(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixed(workspace / "d")
    code, out, _ = run(capsys, "inspect", "d", "--json")
    found = json.loads(out)
    assert (code, found["name"], found["statistics"]["n_bad"]) == (2, "d", 1)


def test_page_and_sheet_are_written(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(workspace / "d", 2)
    words = ("--html", "x.html", "--augment", "light", "--sheet", "x.png")
    code, _, _ = run(capsys, "inspect", "d", *words)
    assert code == 0
    assert "Augmentation: light" in (workspace / "x.html").read_text(encoding="utf-8")
    assert cv2.imread("x.png").shape == (512, 1536, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--augment", "light"), "--augment: needs an output; add --html FILE or --sheet FILE.png"),
        (("--sheet", "x.png"), "--sheet: needs an augmentation to draw; add --augment"),
        (("--augment", "light", "--sheet", "x.gif"), "must end in .png"),
        (("--augment", "lihgt", "--sheet", "x.png"), "did you mean light?"),
        (("--study", "nothing"), "--study nothing: neither a study"),
    ],
)
def test_mistakes(
    workspace: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    folder(workspace / "d", 1)
    code, _, err = run(capsys, "inspect", "d", *words)
    assert code == 2 and said in err and "Traceback" not in err


def test_meaning_comes_from_a_study_file(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(workspace / "d", 1)
    (workspace / "study.yaml").write_text("data: {classes: [mucosa, polyp]}\n", encoding="utf-8")
    code, out, _ = run(capsys, "inspect", "d", "--study", "study.yaml", "--json")
    assert code == 0
    assert [share["name"] for share in json.loads(out)["statistics"]["shares"]] == [
        *("mucosa", "polyp")
    ]
    (workspace / "study.yaml").write_text("data: {clases: [a, b]}\n", encoding="utf-8")
    code, _, err = run(capsys, "inspect", "d", "--study", "study.yaml")
    assert code == 2 and "did you mean classes?" in err


def test_clean_refuses_bad_files_unless_skipped(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed(workspace / "d")
    code, _, err = run(capsys, "clean", "d", "new")
    assert code == 2 and "bad.png" in err and "--skip-bad" in err
    assert not (workspace / "new").exists()
    code, out, err = run(capsys, "clean", "d", "new", "--skip-bad")
    assert code == 0 and "8 pairs written, 2 left out" in err
    assert out.startswith("data:\n  root: new\n")
    code, _, err = run(capsys, "clean", "d", "new", "--skip-bad")
    assert code == 2 and "new: is not empty" in err


@pytest.mark.parametrize("command", ["inspect", "clean"])
def test_help_has_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0 and f"Example: harness data {command}" in out


def test_augment_is_drawn_at_the_size_that_the_study_trains_at(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A crop to 64 fits a study at 64; at 256, where nothing is said, it is refused."""
    folder(workspace / "d", 2)
    A.save(A.Compose([A.RandomResizedCrop((64, 64))]), "mine.yaml", data_format="yaml")
    words = ("inspect", "d", "--augment", "mine.yaml", "--sheet", "x.png")
    code, _, err = run(capsys, *words)
    assert code == 2 and "gives 64 x 64 pixels" in " ".join(err.split())
    study = workspace / "studies" / "s" / "study.yaml"
    study.parent.mkdir(parents=True)
    study.write_text("data: {root: d}\nfixed: {data.image_size: 64}\n", encoding="utf-8")
    assert run(capsys, *words, "--study", "s")[0] == 0
    study.write_text("data: {root: d}\n", encoding="utf-8")
    space = "parameters:\n  data.image_size: {choices: [[64, 64], 96]}\n"
    (study.parent / "space.yaml").write_text(space, encoding="utf-8")
    assert run(capsys, *words, "--study", "s")[0] == 0


@pytest.mark.parametrize("command", ["clean", "inspect"])
def test_skip_bad_where_all_is_bad_is_2(
    workspace: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    folder(workspace / "d", 3)
    for path in (workspace / "d" / "images").iterdir():
        path.write_bytes(b"no picture")
    target = ("c",) if command == "clean" else ()
    code, out, err = run(capsys, command, "d", *target, "--skip-bad")
    assert code == 2 and not (workspace / "c").exists()
    said = {"clean": err, "inspect": out}[command]
    words = {"clean": "none of its 3 pairs can be used; the first: ", "inspect": "3 unusable"}
    assert words[command] in " ".join(said.split())


def test_sample_says_that_it_is_one_and_keeps_the_cache(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(workspace / "data/d", 9)
    run(capsys, "inspect", "d")
    cache = next((workspace / "data/cache/looks").glob("*.npz"))
    before = cache.read_bytes()
    code, out, _ = run(capsys, "inspect", "d", "--sample", "4", "--html", "x.html")
    assert code == 0
    assert "d: 4 pairs, 0 unusable; a random sample of 9 pairs (seed 0)" in out
    assert "4 pairs were read; a random sample of 9 pairs (seed 0)" in Path("x.html").read_text()
    assert cache.read_bytes() == before
    assert "sample" not in run(capsys, "inspect", "d", "--sample", "9")[1]


def test_training_sizes_that_lose_objects_are_a_warning(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A grid of specks in 600 px vanishes at 64 px, the only size of the study."""
    mask = np.zeros((600, 600), np.uint8)
    for y in range(8, 600, 24):
        for x in range(8, 600, 24):
            mask[y : y + 6, x : x + 6] = 255
    for index in range(2):
        save(workspace / f"d/images/{index}.png", picture(index, 600, 600))
        save(workspace / f"d/masks/{index}.png", mask)
    study = workspace / "studies/small"
    study.mkdir(parents=True)
    (study / "study.yaml").write_text("fixed: {data.image_size: 64}\n")
    _, out, _ = run(capsys, "inspect", "d", "--study", "small", "--json")
    found = json.loads(out)
    (ceiling,) = found["ceilings"]["ceilings"]
    assert (ceiling["height"], ceiling["dice"]) == (64, 0.0)
    (warning,) = [f for f in found["findings"] if f["topic"] == "training size"]
    assert "images of up to 600 px lose 100.0 points of Dice" in warning["what"]
    assert warning["remedy"].endswith("data.tile.size: 128")
    assert "64 x 64" in run(capsys, "inspect", "d", "--study", "small")[1]
