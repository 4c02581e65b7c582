"""Clean-up from its choice on validation images to the ledger, MLflow and the report."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import harness
from harness.api.confirm import confirm_study
from harness.core.errors import ConfigError, DataError, UserError
from harness.core.paths import StudyPaths
from harness.data.files import image_io
from harness.data.files.decode import ImageFile
from harness.data.files.source import DataSource
from harness.data.splits.splits import Role, write_split
from harness.evaluation.confirm.confirm import freeze_confirmed_rule
from harness.evaluation.decision.frozen_rule import FrozenRule, read_rule
from harness.evaluation.held_out.ledger import LedgerFinish, read_held_out_ledger
from harness.evaluation.held_out.mlflow_metrics import ledger_metrics
from harness.report.page.page import write_report
from harness.report.tables.export import leaderboard_dict
from harness.report.tables.study_tables import load_study_tables
from harness.search.definition.options import RunOptions
from harness.training.metrics import native_size
from harness.training.metrics.image_scores import read_scores
from tests.evaluation.held_out.test_run import SMALL, confirm, give_model
from tests.report.studies import Builder

pytestmark = pytest.mark.slow  # a second or two each


class BrightPixels:
    """A network that finds the bright disc of each image, and a speck of 2 px in its corner."""

    def __init__(self, folder: Path, *_: Any) -> None:
        self.folder = folder

    def __call__(self, images: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        return [self.predict(image) for image in images]

    def predict(self, image: NDArray[Any]) -> NDArray[np.float32]:
        # Images of `Builder`: noise below 60 outside of the disc, at least 85 inside.
        p = np.where(image.min(axis=2) >= 70, 0.9, 0.1)
        p[39, 47:49] = 0.95  # no threshold removes them
        return p[None].astype(np.float32)


class Messages:
    """Progress that collects its stages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, text: str) -> None:
        self.lines.append(text)

    def bar(self, text: str) -> Any:
        self.lines.append(text)
        return lambda n_done, total: None


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """60 validation images, and a confirmed trial whose network leaves specks."""
    study = Builder(tmp_path, n_images=62)
    # Discs grow with the row: a small one is the test image, as the largest fill their images.
    roles: dict[int, Role] = {61: "val", 5: "test"}
    rows = [replace(row, role=roles.get(row.row, row.role)) for row in study.rows]
    write_split(study.paths.split_csv, rows)
    for number, loss in enumerate([0.5, 0.3]):
        study.trial(number, [0.9, loss], SMALL)
    give_model(study.paths.trial(1), seed=5)
    confirm(study, seeds=2)
    monkeypatch.setattr(native_size, "NativePredictor", BrightPixels)
    return study


def options_of(study: Builder) -> RunOptions:
    return RunOptions.from_arguments({"study": "tiny", "workspace": study.root, "device": "cpu"})


def decisions(paths: StudyPaths) -> list[Path]:
    return sorted((paths.root / "decisions").glob("*"))


def freeze(study: Builder) -> tuple[FrozenRule, list[str]]:
    progress = Messages()
    freeze_confirmed_rule(options_of(study), progress)  # type: ignore[arg-type]
    (path,) = decisions(study.paths)
    return read_rule(path), progress.lines


def look_at(study: Builder, **more: Any) -> Any:
    (look,) = harness.open_study("tiny", workspace=study.root).test(device="cpu", **more)
    return look


def test_the_end_of_a_confirmation_freezes_the_rule(study: Builder) -> None:
    rule, lines = freeze(study)
    (entry,) = rule.rule.classes
    assert (entry.min_size, entry.fill_holes, entry.largest_only) == (4, False, False)
    assert (list(rule.weights), rule.n_images, rule.tta) == (["confirm/0"], 60, False)
    assert lines[-2] == (
        "decision rule of confirm/0, chosen on 60 validation images: foreground p ≥ 0.50, "
        "min_size 4"
    )
    assert lines[-1].startswith("clean-up: foreground min_size 4: mean Dice 0.9")
    (path,) = decisions(study.paths)
    before = path.read_bytes()
    assert freeze(study)[1] == lines[-2:], "read, not chosen again"
    assert path.read_bytes() == before


def test_a_test_run_uses_and_records_the_frozen_rule(study: Builder) -> None:
    rule, _ = freeze(study)
    for path in (study.data_root / "images").glob("p0[1-4].png"):
        path.unlink()  # validation images are not needed any more
    look = look_at(study)
    assert look.start.rule == rule.rule
    assert look.start.chosen.thresholds == {"foreground": 0.5}
    assert look.start.chosen.n_images == 60
    (step,) = look.end.steps
    values = {
        (r.metric, r.at): r.value
        for r in look.results
        if r.meaning == "image" and not r.of and not r.stratum
    }
    scores = read_scores(study.paths.test_run(1).scores_csv)
    tp, fp, fn = int(scores.tp[0]), int(scores.fp[0]), int(scores.fn[0])
    assert fp >= 2
    before, after = 2 * tp / (2 * tp + fp + fn), 2 * tp / (2 * tp + fp - 2 + fn)
    assert values["dice", "0.5"] == values["dice", "chosen"] == pytest.approx(before)
    assert values["dice", "cleaned"] == pytest.approx(after)
    assert (step.step, step.value, step.n, step.low) == ("min_size", 4, 1, None)
    assert (step.before, step.after) == (pytest.approx(before), pytest.approx(after))
    assert scores.extra_columns["fp_cleaned"].tolist() == [fp - 2]

    ledger = read_held_out_ledger(study.paths)
    assert ledger.tests == (look,) and ledger.damaged_lines == ()
    metrics = {metric.key: metric.value for metric in ledger_metrics(ledger)}
    assert metrics["test/dice_cleaned"] == pytest.approx(after)
    assert metrics["test/dice"] == pytest.approx(before)


def test_the_rule_is_frozen_before_a_test_image_is_read(
    study: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = image_io.load_image_file

    def watched(source: DataSource, name: str, max_pixels: float) -> ImageFile:
        if name == "images/p05.png":
            (path,) = decisions(study.paths)
            assert read_rule(path).rule.classes[0].min_size == 4
            raise KeyboardInterrupt
        return load(source, name, max_pixels)

    monkeypatch.setattr(image_io, "load_image_file", watched)
    with pytest.raises(KeyboardInterrupt):
        look_at(study)


def test_flips_and_other_weights_have_rules_of_their_own(study: Builder) -> None:
    look_at(study)
    look_at(study, tta=True)
    look_at(study, trial=1)
    rules = [read_rule(path) for path in decisions(study.paths)]
    assert sorted((rule.tta, *rule.weights) for rule in rules) == [
        (False, "1"),
        (False, "confirm/0"),
        (True, "confirm/0"),
    ]


def test_a_damaged_rule_opens_no_test_image(study: Builder) -> None:
    freeze(study)
    (path,) = decisions(study.paths)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"delete the file, and the rule is chosen again"):
        look_at(study)
    assert read_held_out_ledger(study.paths).tests == ()
    write_report(study.paths, None)
    assert "no decision rule that can be read" in study.paths.report_html.read_text("utf-8")


def test_the_rule_of_other_weights_is_refused(study: Builder) -> None:
    freeze(study)
    (path,) = decisions(study.paths)
    values = json.loads(path.read_text(encoding="utf-8"))
    values["weights"] = {"confirm/0": "0" * 64}
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ConfigError, match="chosen for other weights"):
        look_at(study)


def test_validation_images_that_are_gone_do_not_lose_a_confirmation(
    study: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study.data_root / "images" / "p06.png").unlink()
    with pytest.raises(DataError, match=r"p06\.png"):
        freeze(study)
    monkeypatch.setattr("harness.api.confirm.run_confirmation", lambda *_: None)
    monkeypatch.setattr("harness.api.confirm.measure_native_size", lambda *_: None)
    monkeypatch.setattr("harness.api.confirm.mirror_confirmation", lambda *_, **__: None)
    progress = Messages()
    workspace = harness.open_study("tiny", workspace=study.root).workspace
    confirmation = confirm_study(study.paths, workspace, device="cpu", progress=progress)  # type: ignore[typeddict-item]
    assert confirmation.choice is not None
    assert study.paths.confirm.ranking_csv.is_file()
    assert "chosen when it is first needed, not now" in progress.lines[-1]
    assert "p06.png" in progress.lines[-1]
    assert decisions(study.paths) == []


def test_without_a_choice_nothing_is_frozen(tmp_path: Path) -> None:
    study = Builder(tmp_path)
    study.trial(0, [0.5], SMALL)
    freeze_confirmed_rule(options_of(study), Messages())  # type: ignore[arg-type]
    assert decisions(study.paths) == []
    with pytest.raises(UserError, match="has no confirmation"):
        look_at(study)


def test_report_and_export_show_what_the_steps_brought(study: Builder) -> None:
    write_report(study.paths, None)
    assert "Decision rule" not in study.paths.report_html.read_text("utf-8")
    rule, _ = freeze(study)
    look = look_at(study)
    assert isinstance(look.end, LedgerFinish)
    write_report(study.paths, None)
    page = study.paths.report_html.read_text("utf-8")
    confirmed = page.split('id="confirmation"')[1].split("<section")[0]
    assert "Decision rule of confirm/0, chosen on 60 validation images" in confirmed
    assert "foreground p ≥ 0.50, min_size 4." in confirmed
    assert (
        "They also chose the steps, so gains of steps that are used are too optimistic" in confirmed
    )
    (effect,) = [effect for effect in rule.steps if effect.is_kept]
    assert f'data-order="{effect.gain!r}"' in confirmed
    tested = page.split('id="test"')[1].split("</section")[0]
    assert "after clean-up" in tested and "effect of each clean-up step" in tested
    exported = leaderboard_dict(load_study_tables(study.paths))
    assert exported["decision_rule"] == rule.model_dump(mode="json")
    assert exported["test_looks"][-1]["steps"] == [look.end.steps[0].model_dump(mode="json")]
