"""Looks at sealed images from end to end: what is entered, what is opened, what is measured."""

import csv
import shutil
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F  # noqa: N812

import harness
from harness.cli import main
from harness.config.study import TrialConfig
from harness.core import files
from harness.core.errors import DataError, UserError
from harness.core.paths import StudyPaths, TrialPaths
from harness.data.files import image_io
from harness.data.files.decode import ImageFile
from harness.data.files.source import DataSource
from harness.data.splits.splits import read_split
from harness.evaluation.confirm.plan import ConfirmationPlan, PlannedRun
from harness.evaluation.held_out import measure
from harness.evaluation.held_out.ledger import (
    HeldOutResult,
    HeldOutTest,
    LedgerFailure,
    LedgerFinish,
    read_held_out_ledger,
)
from harness.models.build import build_network
from harness.models.serialization import save_network
from harness.report.page.page import write_report
from harness.training.metrics.image_scores import read_scores
from tests.conftest import harness_command, in_every_process
from tests.evaluation.confirming import N_IMAGES, begun, trained
from tests.report.studies import Builder
from tests.test_sealed import WATCH

pytestmark = pytest.mark.slow  # a second or two each

SMALL: dict[str, Any] = {
    "model.arch": "Unet",
    "model.encoder_name": "resnet18",
    "model.encoder_weights": None,
    "model.encoder_depth": 3,
}
CONFIG = TrialConfig.from_flat({"train.epochs": 4, "data.image_size": 32} | SMALL)


def give_model(trial: TrialPaths, seed: int = 0) -> None:
    """A network that was not trained, with answers on both sides of 0.5."""
    torch.manual_seed(seed)
    network = build_network(CONFIG.model, classes=1, in_channels=3)
    trial.model.mkdir(parents=True)
    save_network(network, trial.model)


@pytest.fixture
def study(tmp_path: Path) -> Builder:
    """Three trials of which the second has kept its weights; images 1 to 7 validate, 8 is test."""
    study = Builder(tmp_path, n_images=9)
    for number, loss in enumerate([0.5, 0.3, 0.4]):
        study.trial(number, [0.9, loss], SMALL)
    give_model(study.paths.trial(1))
    return study


def look_at(study: Builder, **options: Any) -> HeldOutTest:
    (look,) = harness.open_study("tiny", workspace=study.root).test(device="cpu", **options)
    return look


def value(look: HeldOutTest, metric: str, meaning: str, at: str) -> HeldOutResult:
    (found,) = [
        r
        for r in look.results
        if (r.metric, r.meaning, r.at, r.of, r.stratum) == (metric, meaning, at, "", "")
    ]
    return found


def probability(folder: Path, image_path: Path) -> np.ndarray:
    """Torch, OpenCV and smp alone: the probability map of an image at its own size."""
    image = cv2.cvtColor(cv2.imread(str(image_path)), cv2.COLOR_BGR2RGB)
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
    x = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    network = smp.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = network((x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
    own = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
    return torch.sigmoid(own)[0, 0].numpy()


def truth(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127


def dice(said: np.ndarray, y: np.ndarray) -> float:
    return float(2 * (said & y).sum() / (said.sum() + y.sum()))


def test_a_look_is_what_a_recomputation_says(study: Builder) -> None:
    look = look_at(study, trial=1)
    folder, root = study.paths.trial(1).model, study.data_root
    p, y = probability(folder, root / "images/p08.png"), truth(root / "masks/p08.png")
    assert p.shape == (40, 50)
    expected = dice(p >= 0.5, y)
    assert value(look, "dice", "image", "0.5").value == pytest.approx(expected, abs=1e-6)
    assert value(look, "dice", "pixels", "0.5").value == pytest.approx(expected, abs=1e-6)
    iou = (y & (p >= 0.5)).sum() / (y | (p >= 0.5)).sum()
    assert value(look, "iou", "image", "0.5").value == pytest.approx(iou, abs=1e-6)

    names = [f"p0{k}" for k in range(1, 8)]
    pairs = [
        (probability(folder, root / f"images/{n}.png"), truth(root / f"masks/{n}.png"))
        for n in names
    ]
    steps = [round(0.05 + 0.01 * k, 2) for k in range(91)]
    means = {t: np.mean([dice(q >= t, z) for q, z in pairs]) for t in steps}
    best = max(means.values())
    ties = [t for t in steps if means[t] > best - 1e-12]
    t = look.start.chosen.thresholds["foreground"]
    assert t == min(ties, key=lambda one: (abs(one - 0.5), one))
    assert look.start.chosen.n_images == 7
    chosen = dice(p >= t, y)
    assert value(look, "dice", "image", "chosen").value == pytest.approx(chosen, abs=1e-6)


def test_everything_is_entered_and_rows_are_kept(study: Builder) -> None:
    look = look_at(study, trial=1)
    assert read_held_out_ledger(study.paths).tests == (look,)
    assert list(look.start.weights) == ["1"]
    assert (look.start.data.name, look.start.data.n_images) == ("test", 1)
    assert isinstance(look.end, LedgerFinish)
    place = study.paths.test_run(1)
    assert look.end.scores_sha256 == files.file_sha256(place.scores_csv)
    scores = read_scores(place.scores_csv)
    assert scores.image == ("images/p08.png",) and scores.row.tolist() == [8]
    assert scores.extra_columns["height"].tolist() == [40] and scores.extra_columns[
        "objects"
    ].tolist() == [1]
    assert int(scores.tp[0] + scores.fp[0] + scores.fn[0] + scores.tn[0]) == 40 * 50
    assert all(place.image(name).is_file() for name in ("worst", "median", "best"))


def test_the_second_look_is_the_second(study: Builder) -> None:
    assert [look_at(study, trial=1).number for _ in range(2)] == [1, 2]
    ledger = read_held_out_ledger(study.paths)
    assert ledger.count_tests() == 2
    assert ledger.tests[0].results == ledger.tests[1].results
    assert len(study.paths.test_ledger.read_text().splitlines()) == 4


def test_the_look_is_entered_before_the_first_image_is_read(
    study: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it entered later, a killed process would leave no trace of what it saw."""
    load = image_io.load_image_file

    def watched(source: DataSource, name: str, max_pixels: float) -> ImageFile:
        if name == "images/p08.png":
            (look,) = read_held_out_ledger(study.paths).tests
            assert look.end is None
            assert look.start.chosen.thresholds
            raise KeyboardInterrupt
        return load(source, name, max_pixels)

    monkeypatch.setattr(image_io, "load_image_file", watched)
    with pytest.raises(KeyboardInterrupt):
        look_at(study, trial=1)
    (look,) = read_held_out_ledger(study.paths).tests
    assert isinstance(look.end, LedgerFailure) and look.end.error == "KeyboardInterrupt"


def test_a_look_that_fails_on_the_way_counts(study: Builder) -> None:
    (study.data_root / "masks" / "p08.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"masks/p08\.png"):
        look_at(study, trial=1)
    ledger = read_held_out_ledger(study.paths)
    assert ledger.count_tests() == 1
    assert isinstance(ledger.tests[0].end, LedgerFailure) and "p08.png" in ledger.tests[0].end.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has no confirmation; confirm it first: harness confirm --study tiny .*--trial N"),
        ({"ensemble": True}, "has no confirmation"),
        ({"ensemble": True, "trial": 1}, "leave out one of the two"),
        ({"trial": 9}, "--trial 9: study tiny has no such trial; its trials are 0 to 2"),
        ({"trial": 0}, "deleted: only the best 5 .*; weights are available of trial 1"),
        ({"trial": 1, "on": {"../x": "tiny"}}, "invalid name; use 1 to 64"),
        ({"trial": 1, "on": {"other": "tiny"}}, "9 of its 9 images are in the study's split"),
    ],
)
def test_what_must_be_changed_first_opens_nothing(
    study: Builder, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        look_at(study, **options)
    assert not study.paths.test_ledger.exists()
    assert not study.paths.test_run(1).root.parent.exists()


def test_missing_test_images_are_named_before_a_look(study: Builder) -> None:
    (study.data_root / "images" / "p08.png").unlink()
    with pytest.raises(DataError, match=r"images/p08\.png: missing"):
        look_at(study, trial=1)
    assert read_held_out_ledger(study.paths).tests == ()


def test_further_data_sets_leave_the_test_images_closed(study: Builder, tmp_path: Path) -> None:
    other = Builder(tmp_path / "elsewhere", n_images=4)
    for path in other.data_root.glob("images/*.png"):  # other content than the study's
        picture = cv2.imread(str(path))
        assert picture is not None
        cv2.imwrite(str(path), 255 - picture)
    for path in (study.data_root / "images").glob("p08.png"):
        path.unlink()  # not needed
    look = look_at(study, trial=1, on={"colon.1": other.data_root})
    assert (look.start.data.name, look.start.data.n_images) == ("colon.1", 4)
    ledger = read_held_out_ledger(study.paths)
    assert (ledger.count_tests(), ledger.count_tests("colon.1")) == (0, 1)
    assert ledger.sentence() == "test runs: 0; colon.1: 1"


def test_flips_are_entered_and_change_the_probabilities(study: Builder) -> None:
    plain, flipped = look_at(study, trial=1), look_at(study, trial=1, tta=True)
    assert (plain.start.tta, flipped.start.tta) == (False, True)
    sums = [read_scores(study.paths.test_run(k).scores_csv).sum_p[0] for k in (1, 2)]
    assert sums[0] != sums[1]


def confirm(study: Builder, **kind: int) -> None:
    """Trial 1 trained again as two runs; the first is the better one on validation images."""
    runs = tuple(PlannedRun(trial=1, part=k, seed=50 + k) for k in range(2))
    plan = ConfirmationPlan(top=1, runs=runs, **kind)
    begun(study.paths, plan)
    for number, loss in enumerate([0.3, 0.4]):
        trained(study.paths, plan, number, [loss] * N_IMAGES)
        trial = study.paths.confirm.trial(number)
        give_model(trial, seed=number)
        trial.config_yaml.write_bytes(study.paths.trial(1).config_yaml.read_bytes())


def test_the_confirmed_choice_is_what_is_looked_at(study: Builder) -> None:
    confirm(study, seeds=2)
    look = look_at(study)
    assert list(look.start.weights) == ["confirm/0"]
    folder = study.paths.confirm.trial(0).model
    p = probability(folder, study.data_root / "images/p08.png")
    expected = dice(p >= 0.5, truth(study.data_root / "masks/p08.png"))
    assert value(look, "dice", "image", "0.5").value == pytest.approx(expected, abs=1e-6)


def test_the_ensemble_averages_all_confirmed_seeds(study: Builder) -> None:
    confirm(study, seeds=2)
    look = look_at(study, ensemble=True)
    assert list(look.start.weights) == ["confirm/0", "confirm/1"]
    image = study.data_root / "images/p08.png"
    p = np.mean([probability(study.paths.confirm.trial(k).model, image) for k in (0, 1)], axis=0)
    assert read_scores(study.paths.test_run(1).scores_csv).sum_p[0] == pytest.approx(
        p.sum(), abs=1e-3
    )
    expected = dice(p >= 0.5, truth(study.data_root / "masks/p08.png"))
    assert value(look, "dice", "image", "0.5").value == pytest.approx(expected, abs=1e-6)


def test_each_image_is_judged_by_weights_that_were_not_trained_on_it(
    study: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds: rows 0 to 3 validate in the first, 4 to 7 in the second."""
    confirm(study, folds=2)
    text = study.paths.split_csv.read_text(encoding="utf-8")
    header, *lines = list(csv.reader(text.splitlines()))
    for fold in range(2):
        path = study.paths.confirm.split_for({"fold": str(fold)})
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(header)
            for k, line in enumerate(lines):
                of = "" if k == 8 else str(k // 4)
                role = "test" if k == 8 else "val" if k // 4 == fold else "train"
                writer.writerow([*line[:2], role, of, *line[4:]])
        read_split(path)
    asked: list[tuple[tuple[int, ...], list[int]]] = []
    real = measure.ImageEvaluator.predict_groups

    def noted(self: measure.ImageEvaluator, groups: Any, text: str) -> Any:
        asked.extend((places, [row.row for row in images.rows]) for places, images in groups)
        return real(self, groups, text)

    monkeypatch.setattr(measure.ImageEvaluator, "predict_groups", noted)
    look = look_at(study, ensemble=True)
    assert asked == [((0,), [0, 1, 2, 3]), ((1,), [4, 5, 6, 7])]
    assert look.start.chosen.n_images == 8


def test_confirmed_weights_that_are_gone_are_named(study: Builder) -> None:
    confirm(study, seeds=2)
    shutil.rmtree(study.paths.confirm.trial(0).model)
    with pytest.raises(UserError, match=r"weights of confirming trial 0 are missing; .*--trial N"):
        look_at(study)


def test_report_tells_of_looks_and_opens_no_test_image(study: Builder) -> None:
    write_report(study.paths, study.data_root)
    page = study.paths.report_html.read_text(encoding="utf-8")
    assert "1 test image has never been opened. Run harness test --study tiny to evaluate" in page
    assert "1 test image never opened" in page
    look_at(study, trial=1)
    look_at(study, trial=1, tta=True)
    for name in ("images/p08.png", "masks/p08.png"):
        (study.data_root / name).unlink()
    write_report(study.paths, study.data_root)
    page = study.paths.report_html.read_text(encoding="utf-8")
    assert "1 test image opened (test runs: 2)" in page
    assert "never opened" not in page
    assert ">test runs: 2<" in page
    assert "More than one test run on the test images" in page
    assert "weights of trial 1, averaged over four flips" in page
    first = value(read_held_out_ledger(study.paths).tests[0], "dice", "256", "256").value
    assert f'data-order="{first!r}"' in page


def say(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """A command in this process: code, standard output, standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(list(words))
    said = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, said.out, said.err


def test_the_one_command_that_opens_them_counts_its_looks(
    study: Builder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.root)
    harness.open_study("tiny").sync()
    words = ["test", "--study", "tiny", "--device", "cpu"]
    code, _, err = say(capsys, *words)
    assert code == 2 and "harness confirm --study tiny" in err and "--trial N" in err
    assert not study.paths.test_ledger.exists()

    log = study.root / "opened.log"
    env = in_every_process(study.root / "watch", WATCH) | {"OPEN_LOG": str(log)}
    first = harness_command(study.root, *words, "--trial", "1", **env)
    assert first.returncode == 0, first.stderr
    opened = log.read_text(encoding="utf-8").splitlines()
    entered = opened.index(str(study.paths.test_ledger))
    for name in ("images/p08.png", "masks/p08.png"):
        assert str(study.data_root / name) in opened[entered:]
        assert str(study.data_root / name) not in opened[:entered]
    assert first.stdout.endswith("test runs: 1\n")
    assert "this is test run" not in first.stdout

    code, out, _ = say(capsys, *words, "--trial", "1")
    assert code == 0
    assert out.endswith("test runs: 2\nthis is test run 2: select nothing by its result\n")
    check_mlflow(study.root, study.paths)


def check_mlflow(workspace: Path, paths: StudyPaths) -> None:
    """Both looks are on the run of the study, by their numbers, with the ledger."""
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`harness.role` = 'study'")
    looks = {
        look.number: result.value
        for look in read_held_out_ledger(paths).tests
        for result in look.results
        if (result.metric, result.meaning, result.stratum) == ("dice", "256", "")
    }
    history = client.get_metric_history(run.info.run_id, "test/dice_256")
    assert sorted((one.step, one.value) for one in history) == sorted(looks.items())
    names = [one.path for one in client.list_artifacts(run.info.run_id)]
    assert "test-looks.jsonl" in names
