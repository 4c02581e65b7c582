"""Studies that follow on each other, as a user types them: repetitions, --from, from:."""

import csv
from pathlib import Path

import mlflow
import pytest

from harness.core import strict_yaml
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from tests.conftest import TINY, harness_command

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_seeds_then_rates_then_a_value_taken(workspace: Path, polyps: Path) -> None:
    spaces = workspace / "search_spaces"
    spaces.mkdir()
    (spaces / "seeds.yaml").write_text(strict_yaml.dump_yaml({"fixed": TINY["fixed"]}))
    (spaces / "rates.yaml").write_text(strict_yaml.dump_yaml(TINY))
    data = ["--data", str(polyps)]

    # a space without parameters: one configuration on three seeds
    done = harness_command(
        workspace, "run", "--space", "seeds", *data, "--trials", "3", "--pruner", "none"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("repeats #0") == 2
    seeds = StudyPaths(workspace / "studies" / "seeds")
    records = read_records(seeds)
    assert [record.repeats for record in records] == [None, 0, 0]
    assert len({record.seed for record in records}) == 3
    assert len({record.value for record in records}) > 1
    report = harness_command(workspace, "report", "--study", "seeds")
    assert report.returncode == 0, report.stderr
    assert "2 degrees of freedom" in " ".join(report.stdout.split())
    assert "is not significant" in seeds.report_html.read_text(encoding="utf-8")

    # a study over learning rates begins with them: they all have the default rate
    words = ["run", "--space", "rates", *data, "--from", "seeds", "--pruner", "none"]
    done = harness_command(workspace, *words, "--trials", "1")
    assert done.returncode == 0, done.stderr
    assert "3 trials of seeds fit and are imported; no trial is excluded" in done.stderr
    rates = StudyPaths(workspace / "studies" / "rates")
    assert [r.imported for r in read_records(rates)] == ["seeds/0", "seeds/1", "seeds/2", None]
    again = harness_command(workspace, *words, "--trials", "1")
    assert "1 trial is finished, 1 was requested: nothing to do" in again.stderr
    assert len(read_records(rates)) == 4
    with rates.trials_csv.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["imported"] for row in rows] == ["seeds/0", "seeds/1", "seeds/2", ""]
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiments = [client.get_experiment_by_name(name) for name in ("seeds", "rates")]
    runs = client.search_runs([one.experiment_id for one in experiments if one is not None])
    tags = sorted(
        (run.data.tags["harness.trial"], run.data.tags.get("harness.repeats"))
        for run in runs
        if "harness.trial" in run.data.tags
    )
    assert tags == [("rates/3", None), ("seeds/0", None), ("seeds/1", "0"), ("seeds/2", "0")]

    # what does not fit is refused before anything is written
    words = ["run", "--space", "rates", "--study", "longer", *data, "--from", "seeds"]
    refused = harness_command(workspace, *words, "--set", "train.epochs=3")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "train.epochs was 2 there and is 3 here: 3 trials (0, 1, 2)" in refused.stderr
    assert not (workspace / "studies" / "longer").exists()

    # the best of them hands its rate on
    words = ["run", "--space", "seeds", "--study", "taken", *data, "--trials", "1"]
    done = harness_command(workspace, *words, "--set", "optim.lr=from:rates")
    assert done.returncode == 0, done.stderr
    written = strict_yaml.load_yaml(
        (workspace / "studies/taken/study.yaml").read_text(), source="s"
    )
    best = min(read_records(rates), key=lambda record: (record.value, record.number))
    assert written.value["taken"]["optim.lr"]["trial"] == best.number
    assert written.value["fixed"]["optim.lr"] == best.params["optim.lr"]
