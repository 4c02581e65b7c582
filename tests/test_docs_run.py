"""The Python blocks of README and docs run, one page after the other, in one small workspace."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.core import strict_yaml
from harness.core.records import read_records
from harness.data.datasets.synthetic import generate_dataset
from tests.conftest import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[1]
# In this order, as some pages use what an earlier one has written.
RUN = ["README.md", "docs/check.md", "docs/predict.md", "docs/test.md", "docs/objective.md"]
RUN += ["docs/mlflow.md", "docs/export.md"]
ELSEWHERE = {
    "docs/parts.md": "tests/test_parts_docs.py",
    "docs/colab.md": "needs Colab",
}
# Models in the registry are served by tests/tracking; forty trials would take too long.
LEFT_OUT = "models:/encoders@champion"
SHORTER = {"trials=40": "trials=1", "trials=6": "trials=2"}


def blocks(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_every_page_with_python_is_run_here_or_elsewhere() -> None:
    pages = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))]
    assert {page for page in ["README.md", *pages] if blocks(page)} == {*RUN, *ELSEWHERE}


def run(block: str) -> dict[str, Any]:
    for long, short in SHORTER.items():
        block = block.replace(long, short)
    names: dict[str, Any] = {}
    exec(compile(block, "<docs>", "exec"), names)
    return names


def test_pages_run(workspace: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = workspace / "search_spaces"
    spaces.mkdir()
    for name in ("quickstart", "encoders"):
        (spaces / f"{name}.yaml").write_text(strict_yaml.dump_yaml(TINY), encoding="utf-8")
    for name in ("synthetic", "polyps"):
        shutil.copytree(polyps, workspace / "data" / name)
    example = generate_dataset(workspace / "example", count=3, size=48, seed=9)
    images = sorted((example / "images").iterdir())
    for folder in ("photos", "images"):
        (workspace / folder).mkdir()
    shutil.copy(images[0], "photos/a.jpg")
    shutil.copy(images[0], "images/1.jpg")
    study = harness.run_study("encoders", space=TINY, data="polyps", trials=2, pruner="none")
    study.confirm(top=2, seeds=2)
    best = read_records(study.paths)[0]
    trial = study.paths.trial(7).model
    trial.parent.mkdir(parents=True)
    shutil.copytree(study.paths.trial(best.number).model, trial)

    for page in RUN:
        for block in blocks(page):
            if LEFT_OUT in block:
                continue
            if page == "docs/test.md":  # after the page that writes its predictions there
                shutil.copy(min((example / "masks").iterdir()), "masks/1.png")
            if page == "docs/objective.md":  # another study than the one of the other pages
                block = block.replace("run_study(", 'run_study("dice", data="polyps", ')
            if page == "docs/export.md":
                study.export("bundle", format="onnx")
                shutil.copy(images[0], "bundle/photo.jpg")
                monkeypatch.chdir("bundle")
                monkeypatch.syspath_prepend(Path.cwd())
            run(block)
    for module in ("predict", "image_files"):
        sys.modules.pop(module, None)
