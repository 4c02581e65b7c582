"""The shipped grid through the whole product, with small networks on small pictures."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import mlflow
import pytest

from harness import api
from harness.cli.app import main
from harness.core.errors import UserError
from harness.core.records import read_records
from harness.data.datasets.synthetic import generate_dataset

GRID = Path(__file__).resolve().parents[2] / "search_spaces" / "unetpp_grid.csv"
SETTINGS = {
    "model.arch": "UnetPlusPlus",
    "model.encoder_name": "mobilenet_v2",
    "model.encoder_weights": None,
    "data.image_size": 32,
    "train.epochs": 1,
}


def command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_18_rows_are_18_trials_and_again_none(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = generate_dataset(workspace / "polyps", count=12, size=32, seed=0)
    grid = ["run", "--space", "unetpp_grid.csv", "--data", str(data), "--pruner", "none"]
    grid += ["--label", "experiment_num", "--ignore", "tested_yet"]
    for key, value in SETTINGS.items():
        grid += ["--set", f"{key}={'null' if value is None else value}"]
    code, _, said = command(grid, capsys)
    assert code == 0, said
    paths = api.open_study("unetpp_grid", workspace=workspace).paths
    records = read_records(paths)
    assert [record.state for record in records] == ["complete"] * 18
    assert [record.labels for record in records] == [
        {"experiment_num": str(n)} for n in range(1, 19)
    ]
    rows = list(csv.DictReader(io.StringIO(GRID.read_text())))
    for row, record in zip(rows, records, strict=True):
        assert record.params["model.encoder_depth"] == int(row["encoder_depth"])
        assert record.params["optim.encoder_lr"] == float(row["encoder_lr"])
        assert record.params["optim.decoder_lr"] == float(row["decoder_lr"])
        attention = record.params["model.options.decoder_attention_type"]
        assert str(attention) == row["decoder_attention_type"]
    before = {path: path.stat().st_mtime_ns for path in paths.root.glob("trials/*/*")}

    code, _, said = command([*grid, "--trials", "30"], capsys)
    assert code == 0 and "all 18 rows of the space are trained: nothing to do" in said
    assert {path: path.stat().st_mtime_ns for path in paths.root.glob("trials/*/*")} == before

    runs = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = runs.get_experiment_by_name("unetpp_grid")
    found = runs.search_runs([experiment.experiment_id], "tags.`harness.role` = 'trial'")
    assert sorted(int(run.data.tags["label.experiment_num"]) for run in found) == [*range(1, 19)]
    table = list(csv.DictReader(io.StringIO(paths.trials_csv.read_text())))
    assert [row["label.experiment_num"] for row in table] == [str(n) for n in range(1, 19)]

    code, out, _ = command(["trials", "--study", "unetpp_grid", "--csv"], capsys)
    assert code == 0
    (workspace / "again.csv").write_text(out)
    with pytest.raises(UserError, match="study unetpp_grid has started"):
        api.run_study("unetpp_grid", space=workspace / "again.csv", workspace=workspace)
    code, out, _ = command(["trials", "--study", "unetpp_grid", "--json"], capsys)
    assert [one["labels"]["experiment_num"] for one in json.loads(out)][-1] == "18"

    # a study moves by copying its folder: what is recorded is enough to continue it
    moved = workspace / "elsewhere"
    shutil.copytree(workspace / "studies", moved / "studies")
    tables = api.open_study("unetpp_grid", workspace=moved).tables
    assert len(tables.space["rows"]) == 18


def test_config_and_trials_explain_themselves(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = command(["config", "optim.lr"], capsys)
    assert code == 0 and out.startswith("optim.lr  (number, above 0, at most 10; default 0.001)\n")
    code, out, _ = command(["config"], capsys)
    assert code == 0 and "model.encoder_depth  (whole number, at least 2, at most 5" in out
    assert "split.fractions" in out and "parameters.KEY.when" in out
    code, out, _ = command(["config", "--json-schema", "space"], capsys)
    assert json.loads(out)["title"] == "Search space"
    code, _, said = command(["config", "optim.lrr"], capsys)
    assert code == 2 and "optim.lrr: unknown setting; did you mean optim.lr?" in said
    code, _, said = command(["trials", "--study", "nothing"], capsys)
    assert code == 2 and "no study nothing" in said


def test_config_leaves_torch_alone() -> None:
    import subprocess

    code = (
        "import sys; from harness.cli.app import main\n"
        "try: main(['config'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
