"""Description of a study in MLflow."""

from pathlib import Path

from harness.config.study_files import read_study_config
from harness.core.records import read_records
from harness.tracking.study_note import is_own_note, study_note, trial_note
from tests.report.studies import Builder


def note_of(study: Builder) -> list[str]:
    return study_note(
        study.paths, read_study_config(study.paths), read_records(study.paths)
    ).splitlines()


def test_five_lines_and_the_best_trials(tmp_path: Path) -> None:
    study = Builder(tmp_path)
    study.trial(0, [0.4], {"model.arch": "Unet"})
    study.trial(1, [0.25], {"model.arch": "FPN"})
    study.trial(2, [0.5], state="pruned")
    assert note_of(study) == [
        "- Question: Which encoder earns its memory?",
        "- Data: tiny",
        "- Trials: 2 complete, 1 pruned",
        "- Best val/dice&#95;loss: 0.2500 (trial 1)",
        "- Report: report.html of the run tiny; on disk studies/tiny/report.html",
        "",
        "| trial | val/dice&#95;loss | Dice | IoU | configuration |",
        "|---|---|---|---|---|",
        "| 1 | 0.2500 | 0.7500 | 0.3750 | FPN |",
        "| 0 | 0.4000 | 0.6000 | 0.3000 | Unet |",
    ]


def test_text_of_users_is_no_markup(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"question": "<b>a</b>\n|[x](http://e.example)"})
    assert note_of(study)[0] == (
        "- Question: &#60;b&#62;a&#60;/b&#62; &#124;&#91;x&#93;(http://e.example)"
    )
    assert note_of(study)[3:] == [
        "- Best val/dice&#95;loss: no complete trial",
        "- Report: report.html of the run tiny; on disk studies/tiny/report.html",
    ]


def test_a_note_of_a_person_stays(tmp_path: Path) -> None:
    study = Builder(tmp_path)
    assert is_own_note("\n".join(note_of(study)))
    assert is_own_note("")
    assert not is_own_note("Our comparison of May")


def test_note_of_a_trial_without_an_epoch_has_no_table(tmp_path: Path) -> None:
    study = Builder(tmp_path)
    study.trial(0, [], {"model.arch": "a|b"}, state="failed")
    record = read_records(study.paths)[0].model_copy(update={"best": {}, "costs": {}})
    assert trial_note(record).splitlines() == [
        f"- State: failed, no epoch of {record.epochs} planned",
        "- Configuration: a&#124;b",
    ]
    assert is_own_note(trial_note(record))
